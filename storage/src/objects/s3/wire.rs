//! What goes over the wire: counts each request for the class that asked, as the store's owner is billed for it, and
//! turns answers that the client has no word for into errors that the guard understands.
//!
//! The client makes several requests of one call (pages of a listing, parts) and has no place for the class in some of
//! them; so the class travels with the task that polls the call ([`on_behalf_of`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use parking_lot::Mutex;

use crate::objects::ObjectClass;

/// Of an error's text this much is kept.
const TEXT_CHARS_MAX: usize = 300;

tokio::task_local! {
    /// Who asks the store.
    static ASKED_BY: ObjectClass;
}

/// Does `work`, all of whose requests are counted for `class`.
pub(in crate::objects) fn on_behalf_of<F: Future>(
    class: ObjectClass,
    work: F,
) -> impl Future<Output = F::Output> {
    ASKED_BY.scope(class, work)
}

/// An answer of the store that is not one of success, and that the client would not tell from others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::objects) enum Complaint {
    /// Fewer requests, please. Whether this one was carried out, not every store says.
    #[error("the object store asks for fewer requests (status {status})")]
    SlowDown { status: u16 },
    /// The request is wrong and would be refused again.
    #[error("the object store refused the request (status {status}): {text}")]
    Refused {
        status: u16,
        /// S3's word for the reason; empty if the answer has none.
        code: String,
        text: String,
    },
}

/// What was sent to the store since the start, as its access log would count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// Objects and parts of objects that were sent.
    pub puts: u64,
    /// Reads of objects.
    pub gets: u64,
    /// Looks at objects without their bytes.
    pub heads: u64,
    /// Pages of listings.
    pub lists: u64,
    /// Deletions, and uploads given up.
    pub deletes: u64,
    /// Beginnings and ends of uploads in parts.
    pub posts: u64,
    /// Bytes of objects that were sent, with each attempt.
    pub bytes_sent: u64,
    /// Bytes of objects that answers promised.
    pub bytes_received: u64,
}

/// One number per field of [`WireCounts`].
#[derive(Debug, Default)]
struct Counters {
    puts: AtomicU64,
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    posts: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

/// The wire to one store.
#[derive(Debug)]
pub(in crate::objects) struct Wire {
    bucket: String,
    endpoint: String,
    /// Host and port of the store: requests for credentials go elsewhere and are not counted.
    authority: String,
    counters: [Counters; ObjectClass::ALL.len()],
    /// The host that was asked for credentials and has not given any. Held for a look only.
    credentials_from: Mutex<Option<String>>,
}

impl Wire {
    /// The wire to `bucket` at `endpoint`.
    pub(super) fn to(bucket: &str, endpoint: &str) -> Self {
        let rest = endpoint
            .split_once("://")
            .map_or(endpoint, |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default().to_owned();
        Self {
            bucket: bucket.to_owned(),
            endpoint: endpoint.to_owned(),
            authority,
            counters: std::array::from_fn(|_| Counters::default()),
            credentials_from: Mutex::new(None),
        }
    }

    pub(in crate::objects) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(in crate::objects) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The host that was asked for credentials last, if it has not given any.
    pub(in crate::objects) fn waits_for_credentials(&self) -> Option<String> {
        self.credentials_from.lock().clone()
    }

    pub(in crate::objects) fn counts(&self, class: ObjectClass) -> WireCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters[class.index()];
        WireCounts {
            puts: read(&counters.puts),
            gets: read(&counters.gets),
            heads: read(&counters.heads),
            lists: read(&counters.lists),
            deletes: read(&counters.deletes),
            posts: read(&counters.posts),
            bytes_sent: read(&counters.bytes_sent),
            bytes_received: read(&counters.bytes_received),
        }
    }

    fn leads_to(&self, request: &HttpRequest) -> bool {
        let authority = request.uri().authority();
        authority.is_some_and(|authority| authority.as_str() == self.authority)
    }

    /// The numbers of whoever asks. Every request of ours says who; one of nobody's would be the clean-up's.
    fn asked(&self) -> &Counters {
        let class = ASKED_BY.try_with(|class| *class);
        &self.counters[class.unwrap_or(ObjectClass::Garbage).index()]
    }

    fn count(&self, request: &HttpRequest) {
        let is_listing = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("list-type="));
        let counters = self.asked();
        let counter = match request.method().as_str() {
            "GET" if is_listing => &counters.lists,
            "GET" => &counters.gets,
            "HEAD" => &counters.heads,
            "PUT" => {
                let bytes = request.body().content_length() as u64;
                counters.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
                &counters.puts
            }
            "DELETE" => &counters.deletes,
            _ => &counters.posts,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn count_answer(&self, asked: &Asked, response: &HttpResponse) {
        if !asked.is_read || !response.status().is_success() {
            return;
        }
        let length = response.headers().get("content-length");
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let received = &self.asked().bytes_received;
        received.fetch_add(length.unwrap_or(0), Ordering::Relaxed);
    }
}

/// Makes connections whose requests go over the wire.
#[derive(Debug)]
pub(super) struct WireConnector {
    inner: Arc<dyn HttpConnector>,
    wire: Arc<Wire>,
}

impl WireConnector {
    pub(super) fn new(inner: Arc<dyn HttpConnector>, wire: Arc<Wire>) -> Self {
        Self { inner, wire }
    }
}

impl HttpConnector for WireConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(WireService {
            inner: self.inner.connect(options)?,
            wire: Arc::clone(&self.wire),
        }))
    }
}

#[derive(Debug)]
struct WireService {
    inner: HttpClient,
    wire: Arc<Wire>,
}

/// What is remembered of a request while its answer is awaited.
struct Asked {
    is_read: bool,
    has_body_in_answer: bool,
}

#[async_trait]
impl HttpService for WireService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !self.wire.leads_to(&request) {
            return self.ask_for_credentials(request).await;
        }
        self.wire.count(&request);
        let is_listing = request.uri().query().is_some();
        let asked = Asked {
            is_read: request.method() == "GET" && !is_listing,
            has_body_in_answer: request.method() != "HEAD",
        };
        let response = self.inner.execute(request).await?;
        self.wire.count_answer(&asked, &response);
        judge(&asked, response).await
    }
}

impl WireService {
    /// Another host's answer is not ours to judge; but whether one came, the owner of the store wants to know.
    async fn ask_for_credentials(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        *self.wire.credentials_from.lock() = Some(host);
        let response = self.inner.execute(request).await?;
        if response.status().is_success() {
            *self.wire.credentials_from.lock() = None;
        }
        Ok(response)
    }
}

/// The answer, or what the client would not understand of it.
async fn judge(asked: &Asked, response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let status = response.status().as_u16();
    let complaint = match status {
        429 | 503 => Complaint::SlowDown { status },
        // "No such object" and "no such bucket" are one status, and the first is an answer.
        404 if asked.has_body_in_answer => {
            let (response, text) = read(response).await?;
            match code(&text) {
                "NoSuchBucket" => refused(status, &text),
                _ => return Ok(response),
            }
        }
        // The store has waited for the body in vain; the next request may do better.
        400 => {
            let (response, text) = read(response).await?;
            match code(&text) {
                "RequestTimeout" => return Ok(response),
                _ => refused(status, &text),
            }
        }
        // The client has words for the others: exists, not changed.
        300..=303 | 305..=399 | 401 | 403 | 405 | 411 | 413 | 416 | 501 => {
            let (_, text) = read(response).await?;
            refused(status, &text)
        }
        _ => return Ok(response),
    };
    Err(HttpError::new(HttpErrorKind::Unknown, complaint))
}

fn refused(status: u16, text: &str) -> Complaint {
    Complaint::Refused {
        status,
        code: code(text).to_owned(),
        text: said(text),
    }
}

/// The answer once more, and its text.
async fn read(response: HttpResponse) -> Result<(HttpResponse, String), HttpError> {
    let (parts, body) = response.into_parts();
    let bytes = body.bytes().await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let response = HttpResponse::from_parts(parts, HttpResponseBody::from(bytes));
    Ok((response, text))
}

/// What a human needs of an error's text. Not all of it: some stores repeat the request they were sent, session token
/// and all.
fn said(text: &str) -> String {
    let named = ["Code", "Message", "Region", "Endpoint"];
    let mut said = Vec::new();
    for name in named {
        if let Some(value) = between(text, name) {
            said.push(value);
        }
    }
    let said = match said.is_empty() {
        // A proxy speaks, which knows no secrets.
        true => text.trim().to_owned(),
        false => said.join(", "),
    };
    said.chars().take(TEXT_CHARS_MAX).collect()
}

/// S3's word for what is wrong.
fn code(text: &str) -> &str {
    between(text, "Code").unwrap_or_default()
}

fn between<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>"))
        .map(|(value, _)| value)
}

#[cfg(test)]
mod tests;
