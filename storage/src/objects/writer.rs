//! Storing an object in pieces: a flush of any size goes up in memory bounded by one part.

use bytes::{Bytes, BytesMut};
use object_store::{MultipartUpload, PutPayload};
use streamhouse_runtime::{Ambient, Monotonic, deadline};

use super::guard::{Cause, Failure, Operation, Repeat, Request};
use super::s3::wire::on_behalf_of;
use super::{ObjectClass, ObjectKey, Objects, PutError, put_error};

/// Pieces smaller than this are copied together, so that a part is not written in thousands of calls.
const PIECE_BYTES_MIN: usize = 8 * 1024;
/// How long giving up an upload may take; what is left then, the store's own clean-up removes.
const ABORT_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// An object on its way into the store. Holds at most one part (1 MiB for a folder, 8 MiB else) besides the pieces that
/// the caller keeps. An object that fits into one part is a single request. Dropping the writer gives the object up.
#[derive(Debug)]
pub struct ObjectWriter {
    objects: Objects,
    key: ObjectKey,
    class: ObjectClass,
    pieces: Vec<Bytes>,
    small: BytesMut,
    buffered: usize,
    written: u64,
    upload: Option<Box<dyn MultipartUpload>>,
    failed: Option<PutError>,
}

impl ObjectWriter {
    pub(super) fn new(objects: Objects, key: ObjectKey, class: ObjectClass) -> Self {
        Self {
            objects,
            key,
            class,
            pieces: Vec::new(),
            small: BytesMut::new(),
            buffered: 0,
            written: 0,
            upload: None,
            failed: None,
        }
    }

    /// The key of the object.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        self.key
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Appends `bytes`; waits while a full part goes up.
    ///
    /// # Errors
    /// Always [`PutError::DidNotHappen`]: nothing is visible before [`ObjectWriter::finish`]. The writer is of no use
    /// after it; start again with another one.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), PutError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.objects.inner.part_bytes - self.buffered;
            self.keep(bytes.split_to(room.min(bytes.len())));
            if self.buffered == self.objects.inner.part_bytes
                && let Err(error) = self.send_part().await
            {
                self.give_up();
                self.failed = Some(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes the object visible and durable; says its size in bytes.
    ///
    /// # Errors
    /// Says whether the object may exist.
    pub async fn finish(mut self) -> Result<u64, PutError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.upload.is_none() {
            let body = self.take_part();
            self.objects.put(&self.key, self.class, body).await?;
            return Ok(self.written);
        }
        if self.buffered > 0 {
            self.send_part().await?;
        }
        let Some(mut upload) = self.upload.take() else {
            return Ok(self.written);
        };
        let request = step(self.key, self.class, self.written, Repeat::Never);
        // The store decides once: a completion is never repeated, whatever became of it.
        let completed = {
            let completing = &mut Some(upload.complete());
            let complete = || {
                let completing = completing.take();
                async move { completing.expect("a completion runs once").await }
            };
            self.objects.inner.guard.run(request, complete).await
        };
        match completed {
            Ok(_) => Ok(self.written),
            Err(failure) => Err(self.not_completed(upload, failure).await),
        }
    }

    /// Removes what is left of an upload whose last step failed, as far as it is known.
    async fn not_completed(
        &mut self,
        upload: Box<dyn MultipartUpload>,
        mut failure: Failure,
    ) -> PutError {
        if self.objects.inner.folder.is_none() {
            if failure.cause == Cause::NotFound {
                // "No such upload" is also what a proxy hears that sends a completion twice.
                failure.cause = Cause::Unknown;
            }
            // Its parts are paid for until it is given up, which the drop does.
            self.upload = Some(upload);
        }
        let staged = self
            .objects
            .in_folder(self.key, |folder, key| folder.remove_staged(&key))
            .await;
        if let Err(error) = staged {
            tracing::warn!(key = %self.key, %error, "could not remove a failed upload; the next start does");
        }
        put_error(self.key, failure)
    }

    /// Gives the object up and waits until the store has dropped what went up.
    pub async fn abort(mut self) {
        if let Some(upload) = self.upload.take() {
            let ambient = self.objects.inner.guard.ambient().clone();
            abort_upload(ambient, self.key, self.class, upload).await;
        }
    }

    fn keep(&mut self, piece: Bytes) {
        self.buffered += piece.len();
        if piece.len() < PIECE_BYTES_MIN {
            self.small.extend_from_slice(&piece);
        } else {
            self.freeze_small();
            self.pieces.push(piece);
        }
    }

    fn freeze_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    fn take_part(&mut self) -> Vec<Bytes> {
        self.freeze_small();
        self.buffered = 0;
        std::mem::take(&mut self.pieces)
    }

    async fn send_part(&mut self) -> Result<(), PutError> {
        let did_not_happen = |key, source| PutError::DidNotHappen { key, source };
        let (key, class) = (self.key, self.class);
        let objects = self.objects.clone();
        let guard = &objects.inner.guard;
        if self.upload.is_none() {
            objects.make_parents(&key).await?;
            let begin = || objects.begin_upload(key);
            // A second upload of the same key disturbs nothing: only a completed one is visible.
            let begun = guard.run(step(key, class, 0, Repeat::Always), begin).await;
            self.upload = Some(begun.map_err(|failure| did_not_happen(key, failure.source))?);
        }
        let payload: PutPayload = self.take_part().into_iter().collect();
        let bytes = payload.content_length() as u64;
        let Some(upload) = self.upload.as_mut() else {
            return Ok(());
        };
        let sending = &mut Some(upload.put_part(payload));
        let send = || {
            let sending = sending.take();
            async move { sending.expect("a part is sent once").await }
        };
        let sent = guard
            .run(step(key, class, bytes, Repeat::Never), send)
            .await;
        sent.map_err(|failure| did_not_happen(key, failure.source))
    }

    /// Lets a task tell the store, if tasks can still run; a folder's file goes with the upload itself.
    fn give_up(&mut self) {
        if let Some(upload) = self.upload.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            let ambient = self.objects.inner.guard.ambient().clone();
            let abort = abort_upload(ambient.clone(), self.key, self.class, upload);
            // Nobody waits for it: the object is not visible either way.
            drop(ambient.tasks.spawn("abort-upload", abort));
        }
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// One step of an upload.
fn step(key: ObjectKey, class: ObjectClass, bytes: u64, repeat: Repeat) -> Request {
    Request {
        class,
        operation: Operation::Put,
        shard: key.id().key_shard(),
        bytes,
        repeat,
    }
}

async fn abort_upload(
    ambient: Ambient,
    key: ObjectKey,
    class: ObjectClass,
    mut upload: Box<dyn MultipartUpload>,
) {
    let limit: Monotonic = ambient.clock.monotonic() + ABORT_LIMIT;
    let abort = on_behalf_of(class, upload.abort());
    match deadline(ambient.clock.as_ref(), limit, abort).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%key, %error, "an upload could not be given up"),
        None => tracing::debug!(%key, "giving up an upload took too long"),
    }
}
