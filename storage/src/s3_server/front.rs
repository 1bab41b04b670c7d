//! The server without a socket: the client's requests are handed over as they are, and time is the ambient one.

use std::io;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};

use super::request::Asked;
use super::{Reply, S3Server};

impl HttpConnector for S3Server {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for S3Server {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX)
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let asked = Asked::new(parts.method.as_str(), &parts.uri, &parts.headers, body);
        match self.answer(asked).await {
            Some(reply) => Ok(response(&reply)),
            None => Err(HttpError::new(
                HttpErrorKind::Connect,
                io::Error::from(io::ErrorKind::ConnectionRefused),
            )),
        }
    }
}

/// The answer; one that is cut off just ends, which the client has to notice by itself.
fn response(reply: &Reply) -> HttpResponse {
    let kept = reply.cut_after.unwrap_or(reply.body.len());
    let mut response = HttpResponse::new(HttpResponseBody::from(reply.body.slice(..kept)));
    *response.status_mut() = status(reply);
    for (name, value) in &reply.headers {
        if let Some(value) = header(value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    response
}

pub(super) fn status(reply: &Reply) -> StatusCode {
    StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn header(value: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(value).ok()
}
