//! What a request asks for: method, path, query and headers made into one of the operations that the server knows.

use std::ops::Range;

use axum::http::{HeaderMap, Uri};
use bytes::Bytes;

/// The operations of S3 that the server knows, as a bill would count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum S3Operation {
    /// `PutObject`.
    Put,
    /// `GetObject`.
    Get,
    /// `HeadObject`.
    Head,
    /// `DeleteObject`.
    Delete,
    /// `ListObjectsV2`, one page.
    List,
    /// `CreateMultipartUpload`.
    Begin,
    /// `UploadPart`.
    Part,
    /// `CompleteMultipartUpload`.
    Complete,
    /// `AbortMultipartUpload`.
    Abort,
    /// Something else, which is refused.
    Other,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// As it stands in the request line, percent-encoded.
    pub(super) path: String,
    pub(super) query: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Asked {
    pub(super) fn new(method: &str, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Self {
        let headers = headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        Self {
            method: method.to_owned(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            headers: headers.collect(),
            body,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Access key and region that the signature names. What was signed is not verified.
    pub(super) fn signer(&self) -> Option<(&str, &str)> {
        let (_, scope) = self.header("authorization")?.split_once("Credential=")?;
        let mut parts = scope.split('/');
        let (key_id, _date, region) = (parts.next()?, parts.next()?, parts.next()?);
        Some((key_id, region))
    }

    /// Whether the object must not exist yet.
    pub(super) fn creates(&self) -> bool {
        self.header("if-none-match") == Some("*")
    }

    /// The range of bytes that is asked for, of an object of `size` bytes. The end may lie behind that of the object.
    pub(super) fn range(&self, size: u64) -> Option<Range<u64>> {
        let (first, last) = self
            .header("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        if first.is_empty() {
            return Some(size.saturating_sub(last.parse().ok()?)..size);
        }
        let end = match last {
            "" => u64::MAX,
            last => last.parse::<u64>().ok()?.checked_add(1)?,
        };
        Some(first.parse().ok()?..end)
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&');
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(known, _)| *known == name)?;
        decoded(&value.replace('+', " "))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.parameter(name)?.parse().ok()
    }
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) prefix: String,
    /// Only keys behind this one.
    pub(super) after: String,
}

/// What a request is about.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Put { key: String },
    Get { key: String },
    Head { key: String },
    Delete { key: String },
    List(Page),
    Begin { key: String },
    Part { key: String, upload: u64, part: u32 },
    Complete { key: String, upload: u64 },
    Abort { key: String, upload: u64 },
    NoBucket,
    NotUnderstood,
}

impl Target {
    pub(super) fn of(asked: &Asked, bucket_name: &str) -> Self {
        let Some(path) = decoded(&asked.path) else {
            return Self::NotUnderstood;
        };
        let path = path.trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        if bucket != bucket_name {
            return Self::NoBucket;
        }
        if key.is_empty() {
            return Self::of_bucket(asked);
        }
        let key = key.to_owned();
        let upload = asked.number("uploadId");
        match (asked.method.as_str(), upload, asked.number("partNumber")) {
            ("PUT", Some(upload), Some(part)) => Self::Part { key, upload, part },
            ("PUT", None, None) if asked.header("x-amz-copy-source").is_none() => Self::Put { key },
            ("GET", None, None) => Self::Get { key },
            ("HEAD", None, None) => Self::Head { key },
            ("DELETE", None, None) => Self::Delete { key },
            ("POST", None, None) if asked.parameter("uploads").is_some() => Self::Begin { key },
            ("POST", Some(upload), None) => Self::Complete { key, upload },
            ("DELETE", Some(upload), None) => Self::Abort { key, upload },
            _ => Self::NotUnderstood,
        }
    }

    fn of_bucket(asked: &Asked) -> Self {
        let is_listing =
            asked.method == "GET" && asked.parameter("list-type").as_deref() == Some("2");
        if !is_listing || asked.parameter("delimiter").is_some() {
            return Self::NotUnderstood;
        }
        let after = asked
            .parameter("continuation-token")
            .or_else(|| asked.parameter("start-after"));
        Self::List(Page {
            prefix: asked.parameter("prefix").unwrap_or_default(),
            after: after.unwrap_or_default(),
        })
    }

    pub(super) fn operation(&self) -> S3Operation {
        match self {
            Self::Put { .. } => S3Operation::Put,
            Self::Get { .. } => S3Operation::Get,
            Self::Head { .. } => S3Operation::Head,
            Self::Delete { .. } => S3Operation::Delete,
            Self::List(_) => S3Operation::List,
            Self::Begin { .. } => S3Operation::Begin,
            Self::Part { .. } => S3Operation::Part,
            Self::Complete { .. } => S3Operation::Complete,
            Self::Abort { .. } => S3Operation::Abort,
            Self::NoBucket | Self::NotUnderstood => S3Operation::Other,
        }
    }

    pub(super) fn key(&self) -> &str {
        match self {
            Self::Put { key }
            | Self::Get { key }
            | Self::Head { key }
            | Self::Delete { key }
            | Self::Begin { key }
            | Self::Part { key, .. }
            | Self::Complete { key, .. }
            | Self::Abort { key, .. } => key,
            Self::List(page) => &page.prefix,
            Self::NoBucket | Self::NotUnderstood => "",
        }
    }
}

/// Percent-encoded text as it is meant; none if it is not text.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
