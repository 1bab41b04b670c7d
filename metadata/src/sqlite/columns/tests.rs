//! Values survive their columns.

use proptest::prelude::*;

use super::{integer, object_bytes, object_id, shard_bytes, shards};
use crate::store::{ObjectId, ShardId};

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
        prop_assert_eq!(object_id(&object_bytes(a)), a);
        prop_assert_eq!(object_bytes(a).cmp(&object_bytes(b)), a.cmp(&b));
    }

    #[test]
    fn shard_sets_come_back(numbers in proptest::collection::btree_set(any::<u32>(), 0..9)) {
        let set: Vec<ShardId> = numbers.into_iter().map(ShardId).collect();
        prop_assert_eq!(shards(&shard_bytes(&set)).unwrap(), set);
    }
}

#[test]
fn a_shard_set_that_was_cut_is_damage() {
    assert!(shards(&[0, 0, 0, 1, 0]).is_err());
}

#[test]
fn a_number_above_what_a_column_holds_is_refused() {
    assert_eq!(integer(i64::MAX.unsigned_abs()).unwrap(), i64::MAX);
    assert!(integer(i64::MAX.unsigned_abs() + 1).is_err());
}
