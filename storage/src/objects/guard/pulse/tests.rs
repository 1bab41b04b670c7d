//! What is said about a store that fails, and when it stops being said.

use std::time::Duration;

use super::StoreHealth;
use crate::objects::rig::{Rig, key, pattern};
use crate::objects::{Fault, ObjectClass};

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn a_store_is_failing_since_the_first_failure_and_until_the_first_answer() {
    let rig = Rig::new(1);
    let put = |seq| {
        let body = vec![pattern(10, seq)];
        rig.run(rig.objects.put(&key(seq), ObjectClass::Flush, body))
    };
    put(1).expect("stored");
    assert_eq!(rig.objects.health(), StoreHealth::default());
    rig.faults.set_down(true);
    put(2).expect_err("down");
    let first = rig.objects.health().failing_for.expect("it is failing");
    rig.world.pass(seconds(60));
    put(3).expect_err("down");
    let health = rig.objects.health();
    let failing_for = health.failing_for.expect("it is failing");
    assert!(failing_for >= first + seconds(60), "{health:?}");
    assert!(health.last_failure_ago < Some(seconds(60)), "{health:?}");
    let error = health.last_error.expect("there was one");
    assert!(error.contains("refused"), "{error}");
    rig.faults.set_down(false);
    rig.world.pass(seconds(60));
    put(4).expect("stored");
    let health = rig.objects.health();
    assert_eq!(health.failing_for, None);
    assert!(health.last_failure_ago >= Some(seconds(60)), "{health:?}");
}

#[test]
fn an_object_that_is_not_there_is_no_failure_of_the_store() {
    let rig = Rig::new(2);
    rig.faults.script([Some(Fault::FailBefore)]);
    let body = vec![pattern(10, 1)];
    rig.run(rig.objects.put(&key(1), ObjectClass::Flush, body))
        .expect_err("on purpose");
    assert!(rig.objects.health().failing_for.is_some());
    rig.run(rig.objects.size(&key(2), ObjectClass::TailRead))
        .expect_err("it is not there");
    assert_eq!(rig.objects.health().failing_for, None);
}
