//! Reading batches back from the WAL, for fetches that fell behind the tail and for flushes.

use bytes::Bytes;
use streamhouse_protocol::ids::TopicPartition;

use crate::Log;
use crate::format::wal_record::WalHead;
use crate::shard::unrecorded::BatchPlace;

impl Log {
    /// Reads batches of one partition from the WAL, in one go on the blocking pool.
    ///
    /// # Errors
    /// What could not be read, in words.
    pub(crate) async fn wal_batches(
        &self,
        at: TopicPartition,
        wanted: Vec<BatchPlace>,
    ) -> Result<Vec<Bytes>, String> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let reader = self.clone();
        let reading = self
            .ambient
            .tasks
            .blocking(move || reader.wal_batches_now(at, &wanted));
        reading
            .await
            .unwrap_or_else(|_| Err("the process is stopping".to_owned()))
    }

    fn wal_batches_now(
        &self,
        at: TopicPartition,
        wanted: &[BatchPlace],
    ) -> Result<Vec<Bytes>, String> {
        let locations: Vec<_> = wanted.iter().map(BatchPlace::location).collect();
        let wal = self.wal().ok_or("there is no WAL")?;
        let payloads = wal.read_all(&locations);
        let payloads = payloads.map_err(|error| error.to_string())?;
        let batches = payloads.into_iter().zip(wanted).map(|(payload, wanted)| {
            let (head, batch) = WalHead::decode(payload).map_err(|error| error.to_string())?;
            if head.at == at && head.offset == wanted.base_offset {
                Ok(batch)
            } else {
                Err("the WAL holds another batch at this place".to_owned())
            }
        });
        batches.collect()
    }
}
