//! The look at the object store at a broker's start: bucket, credentials, rights and clock are right, and the store
//! keeps `If-None-Match`. What is wrong is said with its remedy, before any client is told that the broker is there.
//!
//! Costs six requests. What it writes lies under a folder that is no key shard and is deleted at once.

use object_store::client::HttpError;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::create::Creation;
use super::guard::{Failure, NoAnswer, Operation, Repeat, Request};
use super::s3::wire::Complaint;
use super::{ObjectClass, Objects, StoreError};

/// Under this folder, which is no key shard, the objects of probes come and go.
const FOLDER: &str = "probe";
const CLASS: ObjectClass = ObjectClass::Checkpoint;

/// The object store cannot be used as it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProbeError {
    /// The store answers, but has no such bucket.
    #[error(
        "the object store has no bucket {bucket:?}; create it, or correct storage.url: {source}"
    )]
    NoBucket {
        /// The bucket.
        bucket: String,
        /// What the store said.
        source: StoreError,
    },
    /// The bucket is in another region than the requests are signed for.
    #[error(
        "bucket {bucket:?} is not in this region; set s3.region to the region that the object store names: {source}"
    )]
    WrongRegion {
        /// The bucket.
        bucket: String,
        /// What the store said.
        source: StoreError,
    },
    /// The store does not know the access key, or the secret does not fit it, or the session has ended.
    #[error(
        "the object store does not accept the credentials; check access key, secret and session token: {source}"
    )]
    WrongCredentials {
        /// What the store said.
        source: StoreError,
    },
    /// No credentials were found, and the service that gives them to this machine does not answer.
    #[error(
        "no credentials for the object store: {from} does not give any; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, a web identity, or give the instance a role: {source}"
    )]
    NoCredentials {
        /// The host that was asked.
        from: String,
        /// What it said.
        source: StoreError,
    },
    /// The credentials are right, and do not allow what a broker has to do.
    #[error(
        "the object store does not allow to {what} objects of bucket {bucket:?}; allow s3:PutObject, s3:GetObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket: {source}"
    )]
    AccessDenied {
        /// What was refused.
        what: &'static str,
        /// The bucket.
        bucket: String,
        /// What the store said.
        source: StoreError,
    },
    /// This machine's clock differs from the store's.
    #[error(
        "the clock of this machine differs too much from that of the object store; set it, and keep it set with NTP: {source}"
    )]
    ClockSkew {
        /// What the store said.
        source: StoreError,
    },
    /// Nobody answers at the endpoint.
    #[error(
        "the object store does not answer at {endpoint}; check s3.endpoint, the network and the certificate: {source}"
    )]
    Unreachable {
        /// Where it should be.
        endpoint: String,
        /// What happened instead.
        source: StoreError,
    },
    /// The store let two writers create one object. A fence cannot rest on it.
    #[error(
        "the object store does not keep If-None-Match: it let two writers create one object; use another store"
    )]
    NotExclusive,
    /// What was read is not what was written.
    #[error(
        "the object store gave back other bytes than it was given; use another store, or find the proxy that spoils them"
    )]
    Spoiled,
    /// The store refused for a reason of its own.
    #[error("the object store refuses to {what} an object: {source}")]
    Refused {
        /// What was refused.
        what: &'static str,
        /// What the store said.
        source: StoreError,
    },
}

/// The steps of a probe, as errors name them.
const CREATE: &str = "create";
const READ: &str = "read";
const DELETE: &str = "delete";

impl Objects {
    /// Creates, reads and deletes a small object, and tries to create it twice. A folder was checked when it was opened:
    /// nothing is done.
    ///
    /// This shows that a store knows `If-None-Match`, not that it keeps it when writers race; that is what
    /// [`Objects::race_for_keys`] is for.
    ///
    /// # Errors
    /// See [`ProbeError`]; each names its remedy.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        if self.inner.folder.is_some() {
            return Ok(());
        }
        let number = self.inner.guard.ambient().chance.next_u128();
        let path = Path::from(format!("{FOLDER}/{number:032x}"));
        let probed = self.probe_at(&path).await;
        let deleted = self.delete_at(&path, CLASS).await;
        probed?;
        deleted.map_err(|failure| self.judge(DELETE, failure.source))
    }

    async fn probe_at(&self, path: &Path) -> Result<(), ProbeError> {
        let first = PutPayload::from(format!("{path} first").into_bytes());
        let second = PutPayload::from(format!("{path} second").into_bytes());
        match self.create_at(path, 0, CLASS, first.clone()).await {
            Creation::Ours => {}
            // Nobody else knows the number, so the store gave the object to nobody.
            Creation::Theirs => return Err(ProbeError::NotExclusive),
            Creation::DidNotHappen(source) | Creation::MayHaveHappened(source) => {
                return Err(self.judge(CREATE, source));
            }
        }
        match self.create_at(path, 0, CLASS, second).await {
            Creation::Theirs => {}
            Creation::Ours => return Err(ProbeError::NotExclusive),
            Creation::DidNotHappen(source) | Creation::MayHaveHappened(source) => {
                return Err(self.judge(CREATE, source));
            }
        }
        let read = self.read_at(path, CLASS).await;
        let read = read.map_err(|failure| self.judge(READ, failure.source))?;
        if first.iter().flatten().eq(read.iter()) {
            Ok(())
        } else {
            Err(ProbeError::Spoiled)
        }
    }

    /// Reads a small object under any path, whole.
    pub(super) async fn read_at(
        &self,
        path: &Path,
        class: ObjectClass,
    ) -> Result<bytes::Bytes, Failure> {
        let store = &self.inner.store;
        let get = || async { store.get(path).await?.bytes().await };
        self.inner
            .guard
            .run(small(class, Operation::Get), get)
            .await
    }

    /// Deletes an object under any path; one that is not there is deleted.
    pub(super) async fn delete_at(&self, path: &Path, class: ObjectClass) -> Result<(), Failure> {
        let delete = || async {
            match self.inner.store.delete(path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                outcome => outcome,
            }
        };
        self.inner
            .guard
            .run(small(class, Operation::Delete), delete)
            .await
    }

    /// What `source` means for the one who has set the store up.
    pub(super) fn judge(&self, what: &'static str, source: StoreError) -> ProbeError {
        let wire = self.inner.wire.as_deref();
        let bucket = wire.map_or_else(String::new, |wire| wire.bucket().to_owned());
        if let Some(Complaint::Refused { status, code, .. }) = complaint(&*source) {
            return match (code.as_str(), *status) {
                ("NoSuchBucket", _) => ProbeError::NoBucket { bucket, source },
                (
                    "PermanentRedirect"
                    | "TemporaryRedirect"
                    | "AuthorizationHeaderMalformed"
                    | "IllegalLocationConstraintException",
                    _,
                )
                | (_, 300..=399) => ProbeError::WrongRegion { bucket, source },
                ("RequestTimeTooSkewed" | "RequestExpired", _) => ProbeError::ClockSkew { source },
                (
                    "InvalidAccessKeyId"
                    | "SignatureDoesNotMatch"
                    | "ExpiredToken"
                    | "InvalidToken"
                    | "TokenRefreshRequired"
                    | "InvalidSecurity",
                    _,
                )
                | (_, 401) => ProbeError::WrongCredentials { source },
                (_, 403) => ProbeError::AccessDenied {
                    what,
                    bucket,
                    source,
                },
                _ => ProbeError::Refused { what, source },
            };
        }
        if let Some(from) = wire.and_then(|wire| wire.waits_for_credentials()) {
            return ProbeError::NoCredentials { from, source };
        }
        if !is_silence(&*source) {
            return ProbeError::Refused { what, source };
        }
        let endpoint = wire.map_or_else(String::new, |wire| wire.endpoint().to_owned());
        ProbeError::Unreachable { endpoint, source }
    }
}

/// A request for a small object under any path. Its rate is that of the first key shard.
fn small(class: ObjectClass, operation: Operation) -> Request {
    Request {
        class,
        operation,
        shard: 0,
        bytes: 0,
        repeat: Repeat::Always,
    }
}

fn complaint<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Complaint> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Whether the trouble lies between us and the store, and not in what the store said.
fn is_silence(error: &(dyn std::error::Error + 'static)) -> bool {
    chain(error).any(|error| {
        error.is::<HttpError>() || error.is::<std::io::Error>() || error.is::<NoAnswer>()
    })
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests;
