//! Flushes of one shard that run side by side: uploaded in any order, committed and acknowledged in their own, and void
//! when one before them failed.

use std::time::Duration;

use futures::FutureExt;
use streamhouse_log::append::Staged;
use streamhouse_log::repair::RepairParts;
use streamhouse_metadata::store::*;
use streamhouse_storage::objects::Fault;

use crate::doubtful::Doubt;
use crate::shared_world::{Broker, Shared};
use crate::world::{address, batch, numbered, values};

const SLOW: Duration = Duration::from_secs(2);
/// Much longer than a flush takes that nothing stands in the way of.
const SOON: Duration = Duration::from_secs(1);

/// Two batches of a partition in two flushes, of which the first is uploaded slowly and the second waits for it.
async fn two_in_flight(shared: &Shared, broker: &Broker) -> [Staged; 2] {
    shared.faults.script([Some(Fault::Delay(SLOW)), None]);
    let before = shared.faults.requests();
    let first = broker.stage(0, &batch(&["first"])).unwrap();
    shared.pass(Duration::from_millis(50)).await;
    let second = broker.stage(0, &batch(&["second"])).unwrap();
    shared.pass(SOON).await;
    assert_eq!(
        shared.faults.requests() - before,
        2,
        "both are on their way"
    );
    [first, second]
}

#[tokio::test]
async fn what_is_uploaded_first_is_acknowledged_in_its_turn() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    let [first, second] = two_in_flight(&shared, &broker).await;
    let (mut first, mut second) = (
        Box::pin(first.acknowledged()),
        Box::pin(second.acknowledged()),
    );
    assert!(futures::poll!(&mut second).is_pending());
    assert!(futures::poll!(&mut first).is_pending());
    assert_eq!(broker.high_watermark(0), 0);
    shared.pass(SLOW).await;
    assert_eq!(first.now_or_never().unwrap().unwrap().base_offset, 0);
    assert_eq!(second.now_or_never().unwrap().unwrap().base_offset, 1);
    drop(broker);
    let heir = shared.leader().await;
    assert_eq!(
        values(&heir.log, 0, 0).await,
        numbered(&["first", "second"])
    );
}

#[tokio::test]
async fn a_flush_whose_predecessor_failed_is_void_and_nothing_is_lost_or_doubled() {
    for doubt in [Doubt::Refused, Doubt::Before, Doubt::After, Doubt::Late] {
        let shared = Shared::new().await;
        let broker = shared.leader().await;
        let both = two_in_flight(&shared, &broker).await;
        shared.store.script([doubt]);
        for (staged, offset) in both.into_iter().zip(0..) {
            let appended = shared.turning(staged.acknowledged()).await.unwrap();
            assert_eq!(appended.base_offset, offset, "{doubt:?}");
        }
        shared.append(&broker, 0, &batch(&["third"])).await;
        shared.pass(Duration::from_secs(30)).await;
        assert_eq!(shared.unnamed().await, [""; 0], "{doubt:?}");
        let all = numbered(&["first", "second", "third"]);
        assert_eq!(values(&broker.log, 0, 0).await, all, "{doubt:?}");
        drop(broker);
        let heir = shared.leader().await;
        assert_eq!(values(&heir.log, 0, 0).await, all, "{doubt:?}");
    }
}

/// The second flush holds another shard, too, for which nothing failed.
#[tokio::test]
async fn a_flush_goes_on_in_the_shards_for_which_nothing_before_it_failed() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    assert_ne!(address(0).shard, address(1).shard);
    shared.faults.script([Some(Fault::Delay(SLOW))]);
    let first = broker.stage(0, &batch(&["first"])).unwrap();
    shared.pass(Duration::from_millis(50)).await;
    let second = broker.stage(0, &batch(&["second"])).unwrap();
    let other = broker.stage(1, &batch(&["other"])).unwrap();
    shared.pass(SOON).await;
    shared.store.script([Doubt::Refused]);
    let all = [first, second, other].map(Staged::acknowledged);
    for answer in shared.turning(futures::future::join_all(all)).await {
        answer.unwrap();
    }
    drop(broker);
    let heir = shared.leader().await;
    assert_eq!(
        values(&heir.log, 0, 0).await,
        numbered(&["first", "second"])
    );
    assert_eq!(values(&heir.log, 1, 0).await, numbered(&["other"]));
}

#[tokio::test]
async fn nothing_of_a_zombie_is_acknowledged_however_much_of_it_is_on_its_way() {
    let shared = Shared::new().await;
    let zombie = shared.leader().await;
    let both = two_in_flight(&shared, &zombie).await;
    let heir = shared.leader().await;
    shared.append(&heir, 0, &batch(&["after"])).await;
    for staged in both {
        assert!(shared.turning(staged.acknowledged()).await.is_err());
    }
    assert_eq!(values(&heir.log, 0, 0).await, numbered(&["after"]));
    assert_eq!(zombie.log.stopped_shards(), Vec::new());
}

/// The flush between the batches has no object of its own: the next section takes its manifest along, which is not
/// committed yet.
#[tokio::test]
async fn a_trim_between_flushes_on_their_way_is_found_by_a_repair() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    shared.append(&broker, 0, &batch(&["trimmed"])).await;
    let replica = shared.store.inner.copy();
    shared.faults.script([Some(Fault::Delay(SLOW)), None]);
    let first = broker.stage(0, &batch(&["first"])).unwrap();
    shared.pass(Duration::from_millis(50)).await;
    let mut trim = Box::pin(broker.log.delete_records(address(0), Some(1)));
    assert!(futures::poll!(&mut trim).is_pending());
    shared.pass(Duration::from_millis(50)).await;
    let second = broker.stage(0, &batch(&["second"])).unwrap();
    let all = async { tokio::join!(first.acknowledged(), trim, second.acknowledged()) };
    let (first, trim, second) = shared.turning(all).await;
    assert!(first.is_ok() && trim.is_ok() && second.is_ok());
    assert_eq!(broker.log.offsets(address(0)).unwrap().log_start, 1);
    shared.store.inner.fail_over(&replica);
    drop(broker);
    assert_eq!(repaired_records(&shared).await, 2);
    let heir = shared.leader().await;
    assert_eq!(heir.log.offsets(address(0)).unwrap().log_start, 1);
    let left = [(1, "first".to_owned()), (2, "second".to_owned())];
    assert_eq!(values(&heir.log, 0, 1).await, left);
}

/// What a void flush stored stays in the bucket, with offsets that other flushes gave to the same records later.
#[tokio::test]
async fn a_repair_takes_no_object_of_a_void_flush() {
    let shared = Shared::new().await;
    let broker = shared.leader().await;
    shared.append(&broker, 0, &batch(&["kept"])).await;
    let replica = shared.store.inner.copy();
    let both = two_in_flight(&shared, &broker).await;
    shared.store.refuse_tombstones(true);
    shared.store.script([Doubt::Refused]);
    for staged in both {
        shared.turning(staged.acknowledged()).await.unwrap();
    }
    shared.append(&broker, 0, &batch(&["third"])).await;
    assert!(shared.unnamed().await.len() >= 2, "void objects are there");
    drop(broker);
    shared.store.inner.fail_over(&replica);
    assert_eq!(repaired_records(&shared).await, 3);
    let heir = shared.leader().await;
    let all = numbered(&["kept", "first", "second", "third"]);
    assert_eq!(values(&heir.log, 0, 0).await, all);
}

async fn repaired_records(shared: &Shared) -> u64 {
    let parts = RepairParts {
        store: std::sync::Arc::clone(&shared.store) as _,
        objects: shared.objects(),
        incarnation: Incarnation(0xfee),
    };
    let repair = streamhouse_log::repair::repair(&parts);
    shared.turning(repair).await.unwrap().records
}
