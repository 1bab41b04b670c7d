//! Producer ids: handed out one by one from blocks that the metadata store gives out once.
//!
//! Invariant: an id is never handed out twice, by no broker and not after a restart; what is left of a block when the
//! process ends is lost, which costs nothing.

use std::ops::Range;
use std::sync::Arc;

use streamhouse_metadata::{MetadataStore, StoreError};
use streamhouse_protocol::ids::ProducerId;
use tokio::sync::Mutex;

/// Ids in a block (Kafka: `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
const BLOCK: u32 = 1000;

/// Where producer ids come from.
#[derive(Debug)]
pub struct ProducerIds {
    store: Arc<dyn MetadataStore>,
    /// The rest of the block. Held while the next block is fetched, so that one fetch serves all who wait.
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// Ids of `store`. The first block is fetched when the first id is asked for.
    #[must_use]
    pub fn new(store: Arc<dyn MetadataStore>) -> Self {
        Self {
            store,
            block: Mutex::new(0..0),
        }
    }

    /// An id that nobody had. A block whose outcome is unknown is never used.
    pub async fn next(&self) -> Result<ProducerId, StoreError> {
        let mut block = self.block.lock().await;
        loop {
            if let Some(id) = block.next() {
                return Ok(ProducerId(id));
            }
            *block = self.store.allocate_producer_ids(BLOCK).await?;
        }
    }
}
