//! From settings to objects: a folder, or a bucket of S3.

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::client::HttpConnector;
use streamhouse_config::StorageUrl;
use streamhouse_config::s3::S3Settings;
use streamhouse_config::value::Value;
use streamhouse_runtime::Ambient;

use super::again::Condemned;
use super::class::{AtOnce, Patience};
use super::folder::Folder;
use super::guard::Guard;
use super::{
    Inner, Objects, OpenFolderError, OpenS3Error, PART_BYTES_FOLDER, PART_BYTES_REMOTE,
    ParseS3PlaceError, S3Limits, S3Place, s3,
};
#[cfg(any(test, feature = "test-support"))]
use crate::s3_server::S3Server;

/// The objects cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenObjectsError {
    /// They are in a folder, and it cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenFolderError),
    /// They are in a bucket, and its settings or credentials are wrong.
    #[error(transparent)]
    S3(#[from] OpenS3Error),
}

impl Objects {
    /// Opens what `storage.url` names: a bucket as `s3` says, a folder, or `in_data_dir`, the folder that is used if the
    /// setting names none. Waits for the disk. Asks nothing of a bucket yet: that is for [`Objects::probe`] and
    /// [`Objects::claim`].
    ///
    /// # Errors
    /// See [`OpenObjectsError`].
    pub fn open(
        url: &StorageUrl,
        s3: &S3Settings,
        in_data_dir: &Path,
        ambient: Ambient,
    ) -> Result<Self, OpenObjectsError> {
        match url {
            StorageUrl::DataDir => Ok(Self::open_folder(in_data_dir, ambient)?),
            StorageUrl::Folder(path) => Ok(Self::open_folder(path, ambient)?),
            StorageUrl::S3 { bucket, prefix } => {
                let place = place(bucket, prefix, s3);
                Ok(Self::open_s3(&place, S3Limits::from(s3), ambient)?)
            }
        }
    }
}

impl Objects {
    /// Opens a local folder as object store, with fsync. Creates it if it does not exist, and removes what unfinished
    /// uploads of earlier processes left. Waits for the disk. One process at a time: the caller holds the lock of the
    /// data directory.
    ///
    /// # Errors
    /// The folder cannot be created, read or made durable.
    pub fn open_folder(path: &Path, ambient: Ambient) -> Result<Self, OpenFolderError> {
        let (folder, store) = Folder::open(path)?;
        let guard = Guard::new(ambient, Patience::Folder, AtOnce::default());
        let inner = Inner {
            store,
            guard,
            folder: Some(folder),
            wire: None,
            place: path.display().to_string(),
            part_bytes: PART_BYTES_FOLDER,
            condemned: Condemned::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Opens a bucket as object store. Credentials come from the process's environment, as with Amazon's own tools. Asks
    /// nothing of the store yet: [`Objects::probe`] shows whether bucket, credentials and rights are right, and
    /// [`Objects::claim`] whether another cluster is there already. Reads the profile files, which waits for the disk.
    ///
    /// # Errors
    /// The profile or the settings are wrong.
    pub fn open_s3(
        place: &S3Place,
        limits: S3Limits,
        ambient: Ambient,
    ) -> Result<Self, OpenS3Error> {
        let environment = s3::process_environment();
        Self::open_s3_over(place, limits, &environment, s3::network(), ambient)
    }

    pub(crate) fn open_s3_over(
        place: &S3Place,
        limits: S3Limits,
        environment: &s3::Environment,
        connector: Arc<dyn HttpConnector>,
        ambient: Ambient,
    ) -> Result<Self, OpenS3Error> {
        let (store, wire) = s3::connect(place, environment, connector)?;
        let patience = Patience::Remote(limits.attempt_timeout);
        let at_once = AtOnce {
            uploads: limits.uploads_at_once.max(1),
            reads: limits.reads_at_once.max(1),
        };
        let inner = Inner {
            store,
            guard: Guard::new(ambient, patience, at_once),
            folder: None,
            wire: Some(wire),
            place: place.to_string(),
            part_bytes: PART_BYTES_REMOTE,
            condemned: Condemned::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The objects of `store`, whose own retries must be off.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, ambient: Ambient) -> Self {
        Self::with_parts(store, ambient, PART_BYTES_REMOTE)
    }

    /// As [`Objects::new`], with parts of `part_bytes`: a simulation sees small objects go up in pieces.
    #[cfg(any(test, feature = "test-support"))]
    #[must_use]
    pub fn in_parts(store: Arc<dyn ObjectStore>, ambient: Ambient, part_bytes: usize) -> Self {
        Self::with_parts(store, ambient, part_bytes)
    }

    /// The bucket of `server`, asked without a socket: in the ambient world alone, so a simulation can run it.
    ///
    /// # Errors
    /// The settings are wrong, which they are not.
    #[cfg(any(test, feature = "test-support"))]
    pub fn on_s3_server(server: &S3Server, ambient: Ambient) -> Result<Self, OpenS3Error> {
        let place = S3Place {
            bucket: server.bucket_name().to_owned(),
            prefix: "streamhouse/test".to_owned(),
            endpoint: Some("http://s3.test".to_owned()),
            region: None,
            is_virtual_hosted: false,
        };
        let environment = s3::Environment::from([
            ("AWS_ACCESS_KEY_ID".to_owned(), server.key_id().to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned()),
        ]);
        let limits = S3Limits::default();
        let connector = Arc::new(server.clone());
        Self::open_s3_over(&place, limits, &environment, connector, ambient)
    }

    fn with_parts(store: Arc<dyn ObjectStore>, ambient: Ambient, part_bytes: usize) -> Self {
        let guard = Guard::new(ambient, Patience::REMOTE, AtOnce::default());
        let inner = Inner {
            place: store.to_string(),
            store,
            guard,
            folder: None,
            wire: None,
            part_bytes,
            condemned: Condemned::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// An empty store in memory.
    #[cfg(any(test, feature = "test-support"))]
    #[must_use]
    pub fn in_memory(ambient: Ambient) -> Self {
        Self::new(Arc::new(object_store::memory::InMemory::new()), ambient)
    }
}

impl From<&S3Settings> for S3Limits {
    fn from(settings: &S3Settings) -> Self {
        Self {
            attempt_timeout: settings.attempt_timeout,
            uploads_at_once: settings.uploads_in_flight as usize,
            reads_at_once: settings.reads_in_flight as usize,
        }
    }
}

impl S3Place {
    /// Reads `s3://bucket` or `s3://bucket/prefix`; the rest is as the environment says.
    ///
    /// # Errors
    /// The scheme is another one, or bucket or prefix are not spelled as `storage.url` wants them.
    pub fn parse(text: &str) -> Result<Self, ParseS3PlaceError> {
        match StorageUrl::read(text) {
            Ok(StorageUrl::S3 { bucket, prefix }) => Ok(Self {
                bucket,
                prefix,
                endpoint: None,
                region: None,
                is_virtual_hosted: false,
            }),
            Ok(StorageUrl::DataDir | StorageUrl::Folder(_)) | Err(_) => {
                Err(ParseS3PlaceError::of(text))
            }
        }
    }
}

fn place(bucket: &str, prefix: &str, settings: &S3Settings) -> S3Place {
    let endpoint = settings.endpoint.as_ref();
    S3Place {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: endpoint.map(|endpoint| endpoint.as_str().to_owned()),
        region: settings.region.clone(),
        is_virtual_hosted: !settings.path_style,
    }
}

#[cfg(test)]
mod tests;
