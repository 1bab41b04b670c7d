//! What goes over the wire: counts each request as the store's owner is billed for it, and turns answers that the
//! client has no word for into errors that the guard understands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};

/// Of an error's text this much is kept.
const TEXT_CHARS_MAX: usize = 500;

/// An answer of the store that is not one of success, and that the client would not tell from others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::objects) enum Complaint {
    /// Fewer requests, please. Whether this one was carried out, not every store says.
    #[error("the object store asks for fewer requests (status {status})")]
    SlowDown { status: u16 },
    /// The request is wrong and would be refused again.
    #[error("the object store refused the request (status {status}): {text}")]
    Refused { status: u16, text: String },
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
}

/// The wire to one store.
#[derive(Debug)]
pub(in crate::objects) struct Wire {
    /// Host and port of the store: requests for credentials go elsewhere and are not counted.
    authority: String,
    puts: AtomicU64,
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    posts: AtomicU64,
}

impl Wire {
    /// The wire to `endpoint`.
    pub(super) fn to(endpoint: &str) -> Self {
        let rest = endpoint
            .split_once("://")
            .map_or(endpoint, |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default().to_owned();
        Self {
            authority,
            puts: AtomicU64::new(0),
            gets: AtomicU64::new(0),
            heads: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
            posts: AtomicU64::new(0),
        }
    }

    pub(in crate::objects) fn counts(&self) -> WireCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WireCounts {
            puts: read(&self.puts),
            gets: read(&self.gets),
            heads: read(&self.heads),
            lists: read(&self.lists),
            deletes: read(&self.deletes),
            posts: read(&self.posts),
        }
    }

    fn leads_to(&self, request: &HttpRequest) -> bool {
        let authority = request.uri().authority();
        authority.is_some_and(|authority| authority.as_str() == self.authority)
    }

    fn count(&self, request: &HttpRequest) {
        let is_listing = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("list-type="));
        let counter = match request.method().as_str() {
            "GET" if is_listing => &self.lists,
            "GET" => &self.gets,
            "HEAD" => &self.heads,
            "PUT" => &self.puts,
            "DELETE" => &self.deletes,
            _ => &self.posts,
        };
        counter.fetch_add(1, Ordering::Relaxed);
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

#[async_trait]
impl HttpService for WireService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !self.wire.leads_to(&request) {
            return self.inner.execute(request).await;
        }
        self.wire.count(&request);
        let response = self.inner.execute(request).await?;
        let status = response.status().as_u16();
        let complaint = match status {
            429 | 503 => Complaint::SlowDown { status },
            // The client has words for the others: not found, exists, not allowed.
            400 | 405 | 411 | 413 | 416 | 501 => Complaint::Refused {
                status,
                text: text(response).await,
            },
            _ => return Ok(response),
        };
        Err(HttpError::new(HttpErrorKind::Unknown, complaint))
    }
}

/// The beginning of an answer's text, for a human.
async fn text(response: HttpResponse) -> String {
    match response.into_body().bytes().await {
        Ok(bytes) => String::from_utf8_lossy(&bytes)
            .chars()
            .take(TEXT_CHARS_MAX)
            .collect(),
        Err(error) => error.to_string(),
    }
}
