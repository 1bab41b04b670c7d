//! What the bucket holds: objects by key, and uploads that are not finished.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::request::Asked;
use super::uploads::Upload;

/// How many keys a page of a listing holds at most.
const PAGE_KEYS: usize = 1_000;

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) body: Bytes,
    pub(super) etag: String,
    pub(super) modified_ms: i64,
    pub(super) attributes: Vec<Attribute>,
}

/// A header that is kept with the object and given back with it.
pub(super) type Attribute = (&'static str, String);

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) uploads: BTreeMap<u64, Upload>,
    pub(super) uploads_begun: u64,
    pub(super) page_keys: usize,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            uploads_begun: 0,
            page_keys: PAGE_KEYS,
        }
    }
}

impl Bucket {
    pub(super) fn get(&self, key: &str) -> Option<&Object> {
        self.objects.get(key)
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    pub(super) fn open_uploads(&self) -> usize {
        self.uploads.len()
    }

    /// Makes an object visible; says its ETag.
    pub(super) fn store(
        &mut self,
        key: String,
        body: Bytes,
        attributes: Vec<Attribute>,
        now_ms: i64,
    ) -> String {
        let etag = etag(&body);
        let object = Object {
            body,
            etag: etag.clone(),
            modified_ms: now_ms,
            attributes,
        };
        self.objects.insert(key, object);
        etag
    }
}

/// The attributes that a request gives its object.
pub(super) fn attributes(asked: &Asked) -> Vec<Attribute> {
    const KEPT: [&str; 2] = ["x-amz-meta-put-id", "content-type"];
    let kept = KEPT.into_iter().filter_map(|name| {
        let value = asked.header(name)?;
        Some((name, value.to_owned()))
    });
    kept.collect()
}

/// The same for the same bytes.
pub(super) fn etag(body: &Bytes) -> String {
    format!("\"{:08x}{:x}\"", crc32c::crc32c(body), body.len())
}
