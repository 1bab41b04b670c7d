//! A value that nobody is shown: passwords, keys, and addresses that hold one.

use std::fmt;

use crate::value::Value;

/// What stands for a secret, as in Kafka.
pub(crate) const HIDDEN: &str = "[hidden]";

/// Text that is used and never shown. Empty means that it is not set.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret(String);

impl Secret {
    /// That secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether it is not set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret itself, for whoever uses it; none if it is not set.
    #[must_use]
    pub fn reveal(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.write())
    }
}

/// It is written as what stands for it, which is refused when it is read again.
impl Value for Secret {
    const KIND: &'static str = "text that is never shown, empty when unset";
    const QUOTED: bool = true;
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        if text == HIDDEN {
            return Err("write the secret itself; this is what is shown in its place".into());
        }
        Ok(Self::new(text))
    }

    fn write(&self) -> String {
        let shown = if self.0.is_empty() { "" } else { HIDDEN };
        shown.to_owned()
    }
}
