//! When the object store makes the broker unready.

use std::time::Duration;

use streamhouse_storage::objects::StoreHealth;

use super::store_trouble;

#[test]
fn a_store_that_fails_for_long_and_was_asked_lately_is_trouble() {
    let health = |failing, ago| StoreHealth {
        failing_for: Some(Duration::from_secs(failing)),
        last_failure_ago: Some(Duration::from_secs(ago)),
        last_error: Some("connection refused".to_owned()),
    };
    let told = store_trouble(&health(10, 0)).expect("trouble");
    assert!(told.contains("10 s: connection refused"), "{told}");
    assert_eq!(store_trouble(&health(9, 0)), None, "requests are repeated");
    assert_eq!(store_trouble(&health(500, 61)), None, "nobody asked");
    assert_eq!(store_trouble(&StoreHealth::default()), None);
    let back = StoreHealth {
        failing_for: None,
        ..health(0, 1)
    };
    assert_eq!(store_trouble(&back), None, "the store is back");
}
