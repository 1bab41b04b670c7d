//! What `streamhouse wal` takes for an argument.

use super::*;

#[test]
fn positions_are_taken_as_messages_show_them() {
    let taken: Positions = "12..4096".parse().unwrap();
    assert_eq!(taken.0.to_string(), "12..4096");
    for wrong in [
        "", "12", "12..", "..12", "a..b", "12..12", "13..12", "1...2",
    ] {
        assert!(wrong.parse::<Positions>().is_err(), "{wrong:?}");
    }
}
