//! Where consuming begins: offsets and times as people write them.

use std::str::FromStr;

/// `--offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffsetStart {
    /// At this offset.
    At(i64),
    /// So many offsets before the end.
    FromEnd(i64),
}

impl FromStr for OffsetStart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: i64 = text.parse().map_err(|_| {
            "write an offset, or a negative number that counts from the end".to_owned()
        })?;
        if text.starts_with('-') {
            Ok(Self::FromEnd(number.checked_neg().unwrap_or(i64::MAX)))
        } else {
            Ok(Self::At(number))
        }
    }
}

/// `--timestamp`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum TimeStart {
    /// Since 1970.
    At(i64),
    /// Before now.
    Ago(i64),
}

impl TimeStart {
    /// Milliseconds since 1970, `now` being the time.
    pub(in crate::cli) fn milliseconds(self, now: i64) -> i64 {
        match self {
            Self::At(time) => time,
            Self::Ago(before) => now.saturating_sub(before).max(0),
        }
    }
}

impl FromStr for TimeStart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            || "write milliseconds since 1970, or a time ago such as 90s, 15m, 2h or 7d".to_owned();
        let unit = match text.chars().last() {
            Some('s') => 1000,
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            Some('d') => 86_400_000,
            Some(_) | None => 0,
        };
        let digits = if unit == 0 {
            text
        } else {
            &text[..text.len() - 1]
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refused());
        }
        let number: i64 = digits.parse().map_err(|_| refused())?;
        if unit == 0 {
            Ok(Self::At(number))
        } else {
            Ok(Self::Ago(number.saturating_mul(unit)))
        }
    }
}

#[cfg(test)]
mod tests;
