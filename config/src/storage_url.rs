//! Where the objects are, as the settings spell it: the data folder, another folder, or a bucket of S3.

use std::path::PathBuf;

use crate::value::Value;

/// Where the objects are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub enum StorageUrl {
    /// In the data folder. Written as nothing.
    #[default]
    DataDir,
    /// In a folder of its own: `file:///path` or `/path`.
    Folder(PathBuf),
    /// In a bucket: `s3://bucket` or `s3://bucket/prefix`.
    S3 {
        /// The bucket: 3 to 63 small letters, digits, dots and hyphens.
        bucket: String,
        /// What all keys begin with, without slashes at its ends; may be empty.
        prefix: String,
    },
}

impl Value for StorageUrl {
    const KIND: &'static str = "s3://bucket/prefix or folder, empty when unset";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::DataDir);
        }
        if let Some(rest) = text.strip_prefix("s3://") {
            return bucket(rest).ok_or_else(|| {
                "use s3://bucket or s3://bucket/prefix; a bucket has 3 to 63 small letters, digits, dots and hyphens, \
                 a prefix letters, digits, and any of - _ . = / without empty parts"
                    .to_owned()
            });
        }
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self::Folder(path.into()));
        }
        Err("use s3://bucket/prefix, or a folder that begins with /".to_owned())
    }

    fn write(&self) -> String {
        match self {
            Self::DataDir => String::new(),
            Self::Folder(path) => path.to_string_lossy().into_owned(),
            Self::S3 { bucket, prefix } if prefix.is_empty() => format!("s3://{bucket}"),
            Self::S3 { bucket, prefix } => format!("s3://{bucket}/{prefix}"),
        }
    }
}

fn bucket(rest: &str) -> Option<StorageUrl> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let is_of_bucket = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    };
    let is_bucket = (3..=63).contains(&bucket.len()) && bucket.bytes().all(is_of_bucket);
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte);
        !matches!(part, "" | "." | "..") && part.bytes().all(is_plain)
    };
    let is_prefix = prefix.is_empty() || prefix.split('/').all(is_part);
    (is_bucket && is_prefix).then(|| StorageUrl::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

/// The address of a store that speaks S3: `https://host[:port]`, or `http://` where the network is trusted. It holds no
/// path, and no name or password: those would be shown with the settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
pub struct StoreEndpoint(String);

impl StoreEndpoint {
    /// The address as it was written, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Option<StoreEndpoint> {
    const KIND: &'static str = "https://host:port, empty when unset";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let expected = "use https://host:port or http://host:port, without path, name and password";
        let text = text.strip_suffix('/').unwrap_or(text);
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or(expected)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_plain) {
            return Err(expected.to_owned());
        }
        Ok(Some(StoreEndpoint(text.to_owned())))
    }

    fn write(&self) -> String {
        self.as_ref()
            .map_or_else(String::new, |endpoint| endpoint.0.clone())
    }
}

#[cfg(test)]
mod tests;
