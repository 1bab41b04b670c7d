//! How people write where to begin.

use super::{OffsetStart, TimeStart};

#[test]
fn offsets_count_from_the_beginning_or_from_the_end() {
    assert_eq!("0".parse(), Ok(OffsetStart::At(0)));
    assert_eq!("42".parse(), Ok(OffsetStart::At(42)));
    assert_eq!("-5".parse(), Ok(OffsetStart::FromEnd(5)));
    assert_eq!("-0".parse(), Ok(OffsetStart::FromEnd(0)));
    assert_eq!(
        "-9223372036854775808".parse(),
        Ok(OffsetStart::FromEnd(i64::MAX))
    );
    assert!("end".parse::<OffsetStart>().is_err());
}

#[test]
fn times_are_absolute_or_ago() {
    let at = |text: &str| {
        text.parse::<TimeStart>()
            .map(|time| time.milliseconds(1_000_000))
    };
    assert_eq!(at("1234"), Ok(1234));
    assert_eq!(at("90s"), Ok(910_000));
    assert_eq!(at("15m"), Ok(100_000));
    assert_eq!(at("7d"), Ok(0));
    for text in [
        "",
        "s",
        "-1s",
        "1.5h",
        "yesterday",
        "99999999999999999999",
        "1µ",
    ] {
        assert!(text.parse::<TimeStart>().is_err(), "{text}");
    }
}
