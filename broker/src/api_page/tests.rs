//! The committed page is the one that the table makes.

use std::path::Path;

#[test]
fn the_committed_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/apis.md");
    let made = super::reference_markdown();
    if std::env::var("STREAMHOUSE_BLESS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "docs/reference/apis.md is stale: run the test again with STREAMHOUSE_BLESS=1"
    );
}

#[test]
fn every_key_stands_once_and_in_order() {
    let keys: Vec<i16> = crate::handlers::APIS
        .iter()
        .map(|api| api.key as i16)
        .collect();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
}
