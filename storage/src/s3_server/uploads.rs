//! Multipart uploads: nothing is visible before the last step, and that step is judged as strictly as Amazon judges it.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::bucket::{Attribute, Bucket, attributes, etag};
use super::objects::escaped;
use super::request::Asked;
use super::{Reply, error, reply};

/// Every part but the last is at least this long.
const PART_BYTES_MIN: usize = 5 * 1024 * 1024;
/// Part numbers are 1 to this.
const PARTS_MAX: u32 = 10_000;

#[derive(Debug)]
pub(super) struct Upload {
    key: String,
    attributes: Vec<Attribute>,
    parts: BTreeMap<u32, Bytes>,
}

impl Bucket {
    pub(super) fn begin_upload(&mut self, key: String, asked: &Asked) -> Reply {
        self.uploads_begun += 1;
        let id = self.uploads_begun;
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><InitiateMultipartUploadResult><Key>{}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
            escaped(&key)
        );
        let upload = Upload {
            key,
            attributes: attributes(asked),
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id, upload);
        reply(200, Vec::new(), xml)
    }

    pub(super) fn put_part(&mut self, key: &str, upload: u64, part: u32, body: &Bytes) -> Reply {
        let Some(found) = self.upload(key, upload) else {
            return error(404, "NoSuchUpload");
        };
        if !(1..=PARTS_MAX).contains(&part) {
            return error(400, "InvalidArgument");
        }
        found.parts.insert(part, body.clone());
        reply(200, vec![("etag", etag(body))], "")
    }

    pub(super) fn complete_upload(
        &mut self,
        key: String,
        upload: u64,
        body: &Bytes,
        now_ms: i64,
    ) -> Reply {
        let Some(found) = self.upload(&key, upload) else {
            return error(404, "NoSuchUpload");
        };
        let named = named_parts(&String::from_utf8_lossy(body));
        if named.is_empty() {
            return error(400, "MalformedXML");
        }
        if !named.is_sorted_by(|(first, _), (second, _)| first < second) {
            return error(400, "InvalidPartOrder");
        }
        let mut whole = BytesMut::new();
        for (index, (number, tag)) in named.iter().enumerate() {
            match found.parts.get(number) {
                Some(part) if etag(part) == *tag => {
                    if part.len() < PART_BYTES_MIN && index + 1 < named.len() {
                        return error(400, "EntityTooSmall");
                    }
                    whole.extend_from_slice(part);
                }
                Some(_) | None => return error(400, "InvalidPart"),
            }
        }
        let attributes = std::mem::take(&mut found.attributes);
        self.uploads.remove(&upload);
        let etag = self.store(key, whole.freeze(), attributes, now_ms);
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>",
            escaped(&etag)
        );
        reply(200, Vec::new(), xml)
    }

    pub(super) fn abort_upload(&mut self, key: &str, upload: u64) -> Reply {
        if self.upload(key, upload).is_none() {
            return error(404, "NoSuchUpload");
        }
        self.uploads.remove(&upload);
        reply(204, Vec::new(), "")
    }

    fn upload(&mut self, key: &str, id: u64) -> Option<&mut Upload> {
        self.uploads.get_mut(&id).filter(|upload| upload.key == key)
    }
}

/// The parts that the last step names, each with its ETag.
fn named_parts(xml: &str) -> Vec<(u32, String)> {
    let between = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(value.replace("&quot;", "\""))
    };
    let parts = xml.split("<Part>").skip(1).map(|part| {
        let number = between(part, "PartNumber")?.parse().ok()?;
        Some((number, between(part, "ETag")?))
    });
    parts.collect::<Option<Vec<_>>>().unwrap_or_default()
}
