//! Where the objects are: bucket, prefix, endpoint and region, as the settings spell them.

use super::Environment;

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

/// A text that is not a bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a bucket; spell it as s3://bucket or s3://bucket/prefix")]
pub struct ParseS3PlaceError {
    text: String,
}

impl S3Place {
    /// Reads `s3://bucket` or `s3://bucket/prefix`; the rest is as the environment says.
    ///
    /// # Errors
    /// The scheme is another one, the bucket's name is not one (3 to 63 letters, digits, dots and hyphens), or the
    /// prefix holds an empty part, `.` or `..`.
    pub fn parse(text: &str) -> Result<Self, ParseS3PlaceError> {
        let parsed = || {
            let rest = text.strip_prefix("s3://")?;
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            let is_part = |part: &str| {
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte);
                !matches!(part, "" | "." | "..") && part.bytes().all(is_plain)
            };
            let is_prefix = prefix.is_empty() || prefix.split('/').all(is_part);
            (is_bucket(bucket) && is_prefix).then(|| Self {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
                endpoint: None,
                region: None,
                is_virtual_hosted: false,
            })
        };
        parsed().ok_or_else(|| ParseS3PlaceError {
            text: text.chars().take(200).collect(),
        })
    }

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

fn is_bucket(name: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    };
    (3..=63).contains(&name.len()) && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests;
