//! Single objects and listings.

use std::fmt::Write;
use std::ops::{Bound, Range};

use super::bucket::{Bucket, Object, attributes};
use super::request::{Asked, Page};
use super::{Reply, error, reply};

impl Bucket {
    pub(super) fn put(
        &mut self,
        key: String,
        asked: &Asked,
        must_be_new: bool,
        now_ms: i64,
    ) -> Reply {
        if must_be_new && self.get(&key).is_some() {
            return error(412, "PreconditionFailed");
        }
        let etag = self.store(key, asked.body.clone(), attributes(asked), now_ms);
        reply(200, vec![("etag", etag)], "")
    }

    pub(super) fn read(&self, key: &str, range: impl FnOnce(u64) -> Option<Range<u64>>) -> Reply {
        let Some(object) = self.get(key) else {
            return error(404, "NoSuchKey");
        };
        let size = object.body.len() as u64;
        let Some(range) = range(size) else {
            return reply(200, headers(object), object.body.clone());
        };
        let end = range.end.min(size);
        let within = (usize::try_from(range.start), usize::try_from(end));
        let (Ok(first), Ok(behind)) = within else {
            return error(416, "InvalidRange");
        };
        if first >= behind {
            return error(416, "InvalidRange");
        }
        let mut headers = headers(object);
        headers.push((
            "content-range",
            format!("bytes {first}-{}/{size}", behind - 1),
        ));
        reply(206, headers, object.body.slice(first..behind))
    }

    pub(super) fn head(&self, key: &str) -> Reply {
        let Some(object) = self.get(key) else {
            return reply(404, Vec::new(), "");
        };
        let mut headers = headers(object);
        headers.push(("content-length", object.body.len().to_string()));
        reply(200, headers, "")
    }

    pub(super) fn delete(&mut self, key: &str) -> Reply {
        self.objects.remove(key);
        reply(204, Vec::new(), "")
    }

    /// One page. The token of the next one is the last key of this one.
    pub(super) fn list(&self, name: &str, page: &Page) -> Reply {
        let start = match page.after.as_str().max(page.prefix.as_str()) {
            after if after == page.after && !after.is_empty() => Bound::Excluded(after.to_owned()),
            prefix => Bound::Included(prefix.to_owned()),
        };
        let behind = self
            .objects
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&page.prefix));
        let mut found: Vec<_> = behind.take(self.page_keys + 1).collect();
        let is_truncated = found.len() > self.page_keys;
        found.truncate(self.page_keys);
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{name}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{}</MaxKeys><IsTruncated>{is_truncated}</IsTruncated>",
            escaped(&page.prefix),
            found.len(),
            self.page_keys,
        );
        if let (true, Some((last, _))) = (is_truncated, found.last()) {
            push(
                &mut xml,
                format_args!(
                    "<NextContinuationToken>{}</NextContinuationToken>",
                    escaped(last)
                ),
            );
        }
        for (key, object) in found {
            push(
                &mut xml,
                format_args!(
                    "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                    escaped(key),
                    timestamp(object.modified_ms),
                    escaped(&object.etag),
                    object.body.len(),
                ),
            );
        }
        xml.push_str("</ListBucketResult>");
        reply(
            200,
            vec![("content-type", "application/xml".to_owned())],
            xml,
        )
    }
}

fn headers(object: &Object) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("etag", object.etag.clone()),
        ("accept-ranges", "bytes".to_owned()),
    ];
    headers.extend(object.attributes.iter().cloned());
    headers
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes every text");
}

pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Milliseconds since 1970 as `2026-01-02T03:04:05.678Z`.
fn timestamp(wall_ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let (mut days, ms) = (wall_ms.div_euclid(DAY_MS), wall_ms.rem_euclid(DAY_MS));
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let (day, ms) = (days + 1, ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests;
