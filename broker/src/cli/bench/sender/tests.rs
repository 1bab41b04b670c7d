//! What tells batches apart, and when enough was sent.

use std::time::Duration;

use streamhouse_runtime::Monotonic;

use super::{Budget, STAMP_BYTES, Stamp};

#[test]
fn a_stamp_is_read_back_from_the_beginning_of_a_value() {
    let stamp = Stamp::new(7, Monotonic(Duration::from_nanos(123)));
    let mut value = stamp.bytes().to_vec();
    value.extend(b"what follows");
    assert_eq!(Stamp::read(&value), Some(stamp));
    assert_eq!(stamp.due_ns, 123);
    assert_eq!(Stamp::read(&value[..STAMP_BYTES - 1]), None);
}

#[test]
fn a_budget_is_spent_by_all_together_and_the_last_batch_is_whole() {
    let budget = Budget::new(25);
    let other = budget.clone();
    assert!(budget.take(10) && other.take(10));
    assert!(!budget.is_spent());
    assert!(budget.take(10));
    assert!(other.is_spent() && !other.take(10));
}
