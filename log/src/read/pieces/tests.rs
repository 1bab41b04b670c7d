//! Batches out of pieces. That pieces cut anywhere give the same batches is tested with the walks over runs.

use bytes::Bytes;
use streamhouse_protocol::compression::Compression;
use streamhouse_protocol::record_batch::{BatchError, RecordBatchBuilder, RecordContent};

use super::whole_batches;

fn batch() -> Bytes {
    let mut builder = RecordBatchBuilder::new(Compression::None);
    builder.push(&RecordContent::default()).unwrap();
    builder.build().unwrap().into_bytes()
}

#[test]
fn a_batch_in_one_piece_is_not_copied() {
    let two = Bytes::from([batch(), batch()].concat());
    let found: Vec<_> = whole_batches(vec![two.clone(), Bytes::new()]).collect();
    let places = found
        .iter()
        .map(|batch| batch.as_ref().unwrap().bytes().as_ptr());
    let size = batch().len();
    assert_eq!(
        places.collect::<Vec<_>>(),
        [two.as_ptr(), two[size..].as_ptr()]
    );
}

#[test]
fn a_batch_that_is_cut_off_is_an_error_and_the_end() {
    let whole = batch();
    let cut = whole.slice(..whole.len() - 1);
    let mut batches = whole_batches(vec![whole.clone(), cut.slice(..62), cut.slice(62..)]);
    assert!(batches.next().unwrap().is_ok());
    let (size, available) = (whole.len(), whole.len() - 1);
    assert_eq!(
        batches.next(),
        Some(Err(BatchError::Truncated { size, available }))
    );
    assert_eq!(batches.next(), None);
}
