//! Creating an object that must not exist yet, and knowing whether it was ours that came to be.
//!
//! The store decides who is first (`If-None-Match: *`). Its answer can be lost, or be given to a copy of the request
//! that a proxy repeated, so "exists" is a question, not an answer: each object that is created carries a random number
//! of its writer, and the writer looks whose number is there. Since the same number under the same key is the same
//! write, a create whose outcome is unknown may be repeated, other than a put.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, Attributes, GetOptions, ObjectStoreExt, PutMode, PutOptions,
    PutPayload,
};

use super::guard::{Cause, Failure, Operation, Repeat, Request};
use super::{CreateError, ObjectClass, ObjectKey, Objects, StoreError};

/// The name under which an object carries the number of its writer (`x-amz-meta-put-id`).
const PUT_ID: &str = "put-id";
/// How often a create of unknown outcome is tried in all.
const ROUNDS: u32 = 4;

/// What became of a create.
#[derive(Debug)]
pub(super) enum Creation {
    Ours,
    Theirs,
    DidNotHappen(StoreError),
    MayHaveHappened(StoreError),
}

/// Whose object is under the key.
enum Owner {
    Us,
    Somebody,
    /// Nobody's: there is none, so far.
    Nobody,
    Unknown(StoreError),
}

/// One object on its way.
struct Creating<'a> {
    objects: &'a Objects,
    path: &'a Path,
    request: Request,
    payload: PutPayload,
    /// None if the store keeps no attributes; then only this process writes to it.
    put_id: Option<String>,
}

impl Objects {
    /// Stores an object whole, unless there is one under the key already: of all that try, whoever they are, exactly one
    /// succeeds.
    ///
    /// # Errors
    /// Somebody else was first; or says whether the object may exist.
    pub async fn create(
        &self,
        key: &ObjectKey,
        class: ObjectClass,
        body: Vec<Bytes>,
    ) -> Result<(), CreateError> {
        let key = *key;
        if let Err(error) = self.make_parents(&key).await {
            let source = std::sync::Arc::new(error);
            return Err(CreateError::DidNotHappen { key, source });
        }
        let shard = key.id().key_shard();
        let payload = body.into_iter().collect();
        match self.create_at(&key.path(), shard, class, payload).await {
            Creation::Ours => Ok(()),
            Creation::Theirs => Err(CreateError::Exists { key }),
            Creation::DidNotHappen(source) => Err(CreateError::DidNotHappen { key, source }),
            Creation::MayHaveHappened(source) => Err(CreateError::MayHaveHappened { key, source }),
        }
    }

    /// Creates an object under any path; `shard` stands for the path where the store's rates are looked up.
    pub(super) async fn create_at(
        &self,
        path: &Path,
        shard: u8,
        class: ObjectClass,
        payload: PutPayload,
    ) -> Creation {
        let chance = &self.inner.guard.ambient().chance;
        let is_folder = self.inner.folder.is_some();
        let creating = Creating {
            objects: self,
            path,
            request: Request {
                class,
                operation: Operation::Put,
                shard,
                bytes: payload.content_length() as u64,
                repeat: Repeat::NotReached,
            },
            payload,
            put_id: (!is_folder).then(|| format!("{:032x}", chance.next_u128())),
        };
        creating.run().await
    }
}

impl Creating<'_> {
    async fn run(&self) -> Creation {
        let guard = &self.objects.inner.guard;
        let mut is_unsure = false;
        let mut round = 0;
        loop {
            let failure = match self.put().await {
                Ok(()) => return Creation::Ours,
                Err(failure) => failure,
            };
            is_unsure |= failure.cause.may_have_happened();
            if failure.cause != Cause::Exists && !failure.cause.may_have_happened() {
                return ended(is_unsure, failure.source);
            }
            // A store that says "exists" may be answering a copy of our own request.
            let may_be_ours = is_unsure || self.put_id.is_some();
            match self.owner(may_be_ours).await {
                Owner::Us => {
                    guard.verified(self.request.class);
                    return Creation::Ours;
                }
                Owner::Somebody => {
                    guard.verified(self.request.class);
                    return Creation::Theirs;
                }
                Owner::Nobody => {}
                Owner::Unknown(source) => return Creation::MayHaveHappened(source),
            }
            round += 1;
            if round >= ROUNDS {
                return ended(is_unsure, failure.source);
            }
            let pause = guard.pause(round);
            guard.ambient().clock.sleep(pause).await;
        }
    }

    async fn put(&self) -> Result<(), Failure> {
        let store = &self.objects.inner.store;
        let put = || async {
            let mut options = PutOptions::from(PutMode::Create);
            if let Some(put_id) = &self.put_id {
                options.attributes = Attributes::from_iter([(
                    Attribute::Metadata(PUT_ID.into()),
                    AttributeValue::from(put_id.clone()),
                )]);
            }
            let put = store.put_opts(self.path, self.payload.clone(), options);
            put.await.map(drop)
        };
        self.objects.inner.guard.run(self.request, put).await
    }

    /// Looks whose object is there: by its number, or by its bytes if it has none.
    async fn owner(&self, may_be_ours: bool) -> Owner {
        let store = &self.objects.inner.store;
        let look = || async {
            let options = GetOptions {
                head: true,
                ..GetOptions::default()
            };
            store.get_opts(self.path, options).await
        };
        let found = match self.read(0, look).await {
            Ok(found) => found,
            Err(failure) if failure.cause == Cause::NotFound => return Owner::Nobody,
            Err(failure) => return Owner::Unknown(failure.source),
        };
        let is_as_long = found.meta.size == self.request.bytes;
        let put_id = found.attributes.get(&Attribute::Metadata(PUT_ID.into()));
        match (&self.put_id, put_id) {
            (Some(ours), Some(there)) if ours.as_str() == &**there && is_as_long => Owner::Us,
            (Some(_), Some(_)) => Owner::Somebody,
            _ if !is_as_long || !may_be_ours => Owner::Somebody,
            // The store has dropped the number, or keeps none.
            _ => self.owner_by_bytes().await,
        }
    }

    async fn owner_by_bytes(&self) -> Owner {
        let store = &self.objects.inner.store;
        let get = || async { store.get(self.path).await?.bytes().await };
        let ours = self
            .payload
            .iter()
            .fold(0, |sum, piece| crc32c::crc32c_append(sum, piece));
        match self.read(self.request.bytes, get).await {
            Ok(bytes)
                if bytes.len() as u64 == self.request.bytes && crc32c::crc32c(&bytes) == ours =>
            {
                Owner::Us
            }
            Ok(_) => Owner::Somebody,
            Err(failure) if failure.cause == Cause::NotFound => Owner::Nobody,
            Err(failure) => Owner::Unknown(failure.source),
        }
    }

    async fn read<T, F>(&self, bytes: u64, make: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let request = Request {
            operation: Operation::Get,
            bytes,
            repeat: Repeat::Always,
            ..self.request
        };
        self.objects.inner.guard.run(request, make).await
    }
}

fn ended(is_unsure: bool, source: StoreError) -> Creation {
    if is_unsure {
        Creation::MayHaveHappened(source)
    } else {
        Creation::DidNotHappen(source)
    }
}

#[cfg(test)]
mod tests;
