//! What a setting may hold: how each kind of value is read from text, written back, and bounded.
//!
//! Invariants: `read(write(value)) == value` for every value that is no secret; a value is never rounded or cut silently.

use std::path::PathBuf;
use std::time::Duration;

use crate::duration;
use crate::size::ByteSize;

/// A kind of value. Every source (file, environment, command line) hands over text; this is the one place where
/// text becomes a value.
pub trait Value: Sized + Clone {
    /// The kind, as the reference page calls it.
    const KIND: &'static str;
    /// Whether `streamhouse.toml` shows the value in quotes.
    const QUOTED: bool;
    /// Whether nobody may be shown the value.
    const SECRET: bool = false;

    /// Reads the value.
    ///
    /// # Errors
    /// A sentence fragment that says what was expected.
    fn read(text: &str) -> Result<Self, String>;

    /// Writes the value so that [`Value::read`] returns it.
    fn write(&self) -> String;
}

/// Reads a value and checks its bounds, either of which may be absent; both are inclusive.
///
/// # Errors
/// A sentence fragment that says what was expected, or names the bound.
pub(crate) fn read_bounded<T: Value + PartialOrd>(
    text: &str,
    min: Option<&T>,
    max: Option<&T>,
) -> Result<T, String> {
    let value = T::read(text).map_err(|expected| match bounds(min, max) {
        Some(bounds) => format!("{expected} ({bounds})"),
        None => expected,
    })?;
    match (min, max) {
        (Some(min), _) if value < *min => Err(format!("the smallest allowed is {}", min.write())),
        (_, Some(max)) if value > *max => Err(format!("the largest allowed is {}", max.write())),
        _ => Ok(value),
    }
}

fn bounds<T: Value>(min: Option<&T>, max: Option<&T>) -> Option<String> {
    match (min.map(T::write), max.map(T::write)) {
        (Some(min), Some(max)) => Some(format!("{min} to {max}")),
        (Some(min), None) => Some(format!("at least {min}")),
        (None, Some(max)) => Some(format!("at most {max}")),
        (None, None) => None,
    }
}

impl Value for bool {
    const KIND: &'static str = "boolean";
    const QUOTED: bool = false;

    fn read(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err("use true or false".into())
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const KIND: &'static str = "integer";
            const QUOTED: bool = false;

            fn read(text: &str) -> Result<Self, String> {
                text.replace('_', "").parse().map_err(|_| "use a whole number".to_owned())
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
integer!(u16, u32, u64, i32);

impl Value for f64 {
    const KIND: &'static str = "number";
    const QUOTED: bool = false;

    fn read(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            Ok(_) | Err(_) => Err("use a number such as 0.5".into()),
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const KIND: &'static str = "text";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn write(&self) -> String {
        self.clone()
    }
}

/// Absent is written as the empty text.
impl Value for Option<String> {
    const KIND: &'static str = "text, empty when unset";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn write(&self) -> String {
        self.clone().unwrap_or_default()
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "path";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("name a folder".into())
        } else {
            Ok(text.into())
        }
    }

    fn write(&self) -> String {
        self.to_string_lossy().into_owned()
    }
}

impl Value for ByteSize {
    const KIND: &'static str = "size";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for Option<Duration> {
    const KIND: &'static str = "duration, empty when unset";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(None);
        }
        duration::read(text).map(Some)
    }

    fn write(&self) -> String {
        self.map(duration::write).unwrap_or_default()
    }
}

impl Value for Duration {
    const KIND: &'static str = "duration";
    const QUOTED: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        duration::read(text)
    }

    fn write(&self) -> String {
        duration::write(*self)
    }
}
