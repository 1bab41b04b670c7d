//! Durations as people write them: `250ms`, `5s`, `10m`, `24h`, `7d`. A bare number is refused, because Kafka's keys
//! count some of them in milliseconds, some in minutes and some in hours.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration.
///
/// # Errors
/// A sentence fragment that says what was expected.
pub fn read(text: &str) -> Result<Duration, String> {
    let expected = || "use a duration such as 250ms, 5s, 10m, 24h or 7d".to_owned();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.replace('_', "").parse().map_err(|_| expected())?;
    let unit = unit.trim();
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(expected)?;
    number
        .checked_mul(*factor)
        .map(Duration::from_millis)
        .ok_or_else(|| "the duration exceeds 64 bits of milliseconds".to_owned())
}

/// Writes a duration in the largest unit that holds it exactly. Settings have a resolution of one millisecond.
#[must_use]
pub fn write(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    for (unit, factor) in UNITS {
        if millis != 0 && millis.is_multiple_of(factor) {
            return format!("{}{unit}", millis / factor);
        }
    }
    format!("{millis}ms")
}
