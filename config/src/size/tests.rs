//! Sizes and durations are read back as they were written.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::duration;

#[test]
fn sizes_are_written_in_the_largest_unit_that_holds_them() {
    for (bytes, text) in [
        (0, "0"),
        (1, "1"),
        (1024, "1KiB"),
        (1536, "1536"),
        (3 << 20, "3MiB"),
        (5 << 40, "5TiB"),
    ] {
        assert_eq!(ByteSize::new(bytes).to_string(), text);
    }
}

#[test]
fn units_that_could_mean_1000_are_refused() {
    for text in [
        "1KB",
        "1MB",
        "1k",
        "1.5GiB",
        "",
        "MiB",
        "-1",
        "1 2",
        "99999999TiB",
        "1MiBx",
    ] {
        assert!(text.parse::<ByteSize>().is_err(), "{text:?}");
    }
    for text in ["64MiB", "64 mib", "64_000", "10b"] {
        assert!(text.parse::<ByteSize>().is_ok(), "{text:?}");
    }
}

#[test]
fn durations_need_a_unit() {
    for text in [
        "5",
        "",
        "ms",
        "1w",
        "1.5s",
        "-1s",
        "1M",
        "999999999999999999d",
    ] {
        assert!(duration::read(text).is_err(), "{text:?}");
    }
    assert_eq!(duration::read("90s"), Ok(Duration::from_secs(90)));
    assert_eq!(duration::write(Duration::from_secs(90)), "90s");
    assert_eq!(duration::write(Duration::from_secs(7200)), "2h");
    assert_eq!(duration::write(Duration::ZERO), "0ms");
}

proptest! {
    #![proptest_config(crate::test_scale::cases())]

    #[test]
    fn sizes_round_trip(bytes in any::<u64>(), shift in 0..64u32) {
        let size = ByteSize::new((bytes >> shift) << (shift / 2));
        prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
    }

    #[test]
    fn durations_round_trip(
        millis in any::<u64>(),
        factor in prop::sample::select(vec![1u64, 1000, 60_000, 86_400_000]),
    ) {
        let duration = Duration::from_millis(millis / factor * factor);
        prop_assert_eq!(duration::read(&duration::write(duration)).unwrap(), duration);
    }

    #[test]
    fn any_text_is_a_size_or_refused(text in "\\PC{0,20}") {
        if let Ok(size) = text.parse::<ByteSize>() {
            prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
        prop_assert!(duration::read(&text).is_err() || text.ends_with(['s', 'm', 'h', 'd']));
    }
}
