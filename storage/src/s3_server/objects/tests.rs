//! How a moment is spelled.

use super::timestamp;

#[test]
fn a_timestamp_is_spelled_as_s3_spells_it() {
    for (wall_ms, spelled) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
    ] {
        assert_eq!(timestamp(wall_ms), spelled);
    }
}
