//! Names that users choose: topics, groups, transactional ids.

use std::fmt;
use std::sync::Arc;

/// The longest topic name, in bytes (Kafka: `Topic.MAX_NAME_LENGTH`).
pub const TOPIC_NAME_LENGTH_MAX: usize = 249;

/// A legal topic name: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` and not `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a string is not a topic name. The text is what administrators see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topic name {name:?} is not allowed: {reason}")]
pub struct TopicNameError {
    name: String,
    reason: &'static str,
}

impl TopicName {
    /// Checks and takes a name.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        let reason = if name.is_empty() {
            "it is empty"
        } else if name == "." || name == ".." {
            "it may not be \".\" or \"..\""
        } else if name.len() > TOPIC_NAME_LENGTH_MAX {
            "it is longer than 249 characters"
        } else if !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        {
            "only ASCII letters, digits, '.', '_' and '-' may be used"
        } else {
            return Ok(Self(name.into()));
        };
        Err(TopicNameError {
            name: name.chars().take(300).collect(),
            reason,
        })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with `.` read as `_`. Two topics whose keys are equal collide in metric names, so Kafka refuses the
    /// second one.
    #[must_use]
    pub fn collision_key(&self) -> String {
        self.0.replace('.', "_")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// The id of a consumer group. Any text; the empty one is legal for offset commits of simple consumers only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub Arc<str>);

impl GroupId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for GroupId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}
