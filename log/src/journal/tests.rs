//! Places and room in memory.

use super::*;

fn append(journal: &Journal, class: AppendClass, len: usize) -> Result<WalLocation, AppendError> {
    journal.append(class, Bytes::new(), Bytes::from(vec![0; len]))
}

fn memory(bytes: u64) -> Journal {
    Journal::Memory(Staging::new(bytes))
}

#[test]
fn places_in_memory_only_grow() {
    let journal = memory(1 << 20);
    let first = append(&journal, AppendClass::Run, 10).unwrap();
    let second = append(&journal, AppendClass::Run, 0).unwrap();
    let third = append(&journal, AppendClass::Other, 10).unwrap();
    assert!(first.position < second.position && second.position < third.position);
}

#[test]
fn full_memory_refuses_batches_and_takes_what_frees_space() {
    let journal = memory(8 * (ENTRY_COST_BYTES + 100));
    let taken: Vec<_> = (0..7)
        .map(|_| append(&journal, AppendClass::Run, 100).unwrap())
        .collect();
    assert_eq!(
        append(&journal, AppendClass::Run, 100).unwrap_err(),
        AppendError::Full
    );
    assert!(!journal.has_room(100));
    let trim = append(&journal, AppendClass::Other, 50).unwrap();
    let staging = journal.staging().unwrap();
    staging.release(taken[0]);
    staging.release(trim);
    assert!(journal.has_room(100));
    append(&journal, AppendClass::Run, 100).unwrap();
}

#[test]
fn a_batch_larger_than_all_room_is_taken_alone() {
    let journal = memory(1000);
    assert!(journal.has_room(1 << 20));
    let large = append(&journal, AppendClass::Run, 1 << 20).unwrap();
    assert_eq!(
        append(&journal, AppendClass::Other, 0).unwrap_err(),
        AppendError::Full
    );
    journal.staging().unwrap().release(large);
    assert_eq!(journal.staging().unwrap().bytes(), 0);
}
