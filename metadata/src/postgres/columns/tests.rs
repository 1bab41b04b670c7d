//! Values survive their columns.

use proptest::prelude::*;

use super::{ROWS_MAX, integer, limit, object_bytes, object_id_of, shard_number};
use crate::store::{ObjectId, SHARDS_MAX, ShardId};

fn any_object() -> impl Strategy<Value = ObjectId> {
    (any::<u128>(), any::<u64>(), any::<u32>()).prop_map(|(incarnation, seq, attempt)| ObjectId {
        incarnation,
        seq,
        attempt,
    })
}

proptest! {
    #[test]
    fn object_ids_come_back_and_sort_as_their_bytes_do(a in any_object(), b in any_object()) {
        prop_assert_eq!(object_id_of(&object_bytes(a), "object_id").unwrap(), a);
        prop_assert_eq!(object_bytes(a).cmp(&object_bytes(b)), a.cmp(&b));
    }
}

#[test]
fn an_id_of_another_length_is_damage() {
    assert!(object_id_of(&[0; 27], "object_id").is_err());
    assert!(object_id_of(&[0; 29], "object_id").is_err());
}

#[test]
fn a_number_above_what_a_column_holds_is_refused() {
    assert_eq!(integer(i64::MAX.unsigned_abs()).unwrap(), i64::MAX);
    assert!(integer(i64::MAX.unsigned_abs() + 1).is_err());
}

#[test]
fn no_page_is_without_a_bound() {
    assert_eq!(limit(7), 7);
    assert_eq!(limit(usize::MAX), ROWS_MAX);
}

#[test]
fn a_shard_that_no_cluster_has_is_no_other_shard() {
    assert_eq!(shard_number(ShardId(SHARDS_MAX - 1)), 4095);
    assert_eq!(shard_number(ShardId(u32::MAX)), i32::MAX);
}
