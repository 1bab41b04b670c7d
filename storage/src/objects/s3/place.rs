//! Where the objects are: bucket, prefix, endpoint and region, as the settings spell them.

use std::fmt;
use std::time::Duration;

use super::Environment;
use crate::objects::class::AtOnce;

/// A bucket and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Place {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; may be empty. One cluster, one prefix.
    pub prefix: String,
    /// `https://host[:port]` or `http://host[:port]`. None: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, or else Amazon's.
    pub endpoint: Option<String>,
    /// None: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, or else `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket is part of the host name (and of `endpoint`), not the first part of the path.
    pub is_virtual_hosted: bool,
}

/// What one broker may ask of a bucket at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S3Limits {
    /// How long the first attempt of a small request may take. Later ones get twice as long; large ones (over 512 KiB)
    /// besides the time that their bytes take at 10 MB/s.
    pub attempt_timeout: Duration,
    /// How many uploads of produce requests run at once.
    pub uploads_at_once: usize,
    /// How many reads for consumers close to the end of the log run at once; a quarter as many of old data come on top.
    pub reads_at_once: usize,
}

impl Default for S3Limits {
    fn default() -> Self {
        let AtOnce { uploads, reads } = AtOnce::default();
        Self {
            attempt_timeout: Duration::from_secs(2),
            uploads_at_once: uploads,
            reads_at_once: reads,
        }
    }
}

impl fmt::Display for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prefix.as_str(), &self.bucket) {
            ("", bucket) => write!(f, "s3://{bucket}"),
            (prefix, bucket) => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// A text that is not a bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a bucket; spell it as s3://bucket or s3://bucket/prefix")]
pub struct ParseS3PlaceError {
    text: String,
}

impl ParseS3PlaceError {
    pub(in crate::objects) fn of(text: &str) -> Self {
        Self {
            text: text.chars().take(200).collect(),
        }
    }
}

impl S3Place {
    /// The endpoint without the bucket (unless the bucket is part of the host).
    pub(super) fn endpoint(&self, environment: &Environment, region: &str) -> String {
        let variable = |name: &str| environment.get(name).map(String::as_str);
        let spelled = self
            .endpoint
            .as_deref()
            .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
            .or_else(|| variable("AWS_ENDPOINT_URL"));
        match spelled {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None if self.is_virtual_hosted => {
                format!("https://{}.s3.{region}.amazonaws.com", self.bucket)
            }
            None => format!("https://s3.{region}.amazonaws.com"),
        }
    }
}

#[cfg(test)]
mod tests;
