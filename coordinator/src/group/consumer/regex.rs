//! Subscriptions by regex (KIP-848, `SubscriptionPattern`): which topics a regex means.
//!
//! The syntax is RE2's on ASCII, as topic names are: `\w`, `\d` and `(?i)` know ASCII only, Unicode classes (`\p{..}`) are
//! refused. A regex must match the whole name, as in Kafka. Matching takes time linear in the name, whatever the regex; its
//! length and the size of what it compiles to are bounded.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use streamhouse_metadata::Catalogue;
use streamhouse_protocol::names::TopicName;
use streamhouse_runtime::Monotonic;

/// The longest regex, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;
/// The most bytes that a regex may compile to. `[a-z0-9.-]{1,249}` needs 50 KiB.
const COMPILED_BYTES_MAX: usize = 128 * 1024;
/// The most bytes of states that matching may keep.
const STATES_BYTES_MAX: usize = 512 * 1024;

/// A regex, ready to match topic names.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    regex: Regex,
}

/// Why a regex cannot be used. Subscribe with another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is too long.
    #[error("the regular expression has {0} bytes; the longest allowed has 1024")]
    TooLong(usize),
    /// Its counted repetitions make it too large.
    #[error("the regular expression is too large when compiled; use smaller repetitions")]
    TooLarge,
    /// It is no regex of RE2's syntax.
    #[error("SubscribedTopicRegex `{regex}` is not a valid regular expression: {reason}")]
    Syntax {
        /// The regex.
        regex: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Pattern {
    /// Compiles a regex.
    pub fn new(text: &Arc<str>) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong(text.len()));
        }
        // Parsed alone first, so that a stray parenthesis does not close the group around it.
        Self::compile(text, text)?;
        let regex = Self::compile(text, &format!("^(?:{text})$"))?;
        Ok(Self {
            text: Arc::clone(text),
            regex,
        })
    }

    fn compile(text: &str, regex: &str) -> Result<Regex, PatternError> {
        RegexBuilder::new(regex)
            .unicode(false)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(STATES_BYTES_MAX)
            .build()
            .map_err(|error| {
                if let regex::Error::CompiledTooBig(_) = error {
                    PatternError::TooLarge
                } else {
                    PatternError::Syntax {
                        regex: text.to_owned(),
                        reason: reason(&error),
                    }
                }
            })
    }

    /// The regex as text.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether it means this topic.
    #[must_use]
    pub fn matches(&self, topic: &TopicName) -> bool {
        self.regex.is_match(topic.as_str().as_bytes())
    }

    /// The topics that it means; some of them the subscriber may not see. Takes time with the number of topics.
    #[must_use]
    pub fn resolve(&self, topics: &Catalogue, at: Monotonic) -> Resolution {
        let names = topics.topics().map(|topic| &topic.name);
        let matched = names.filter(|name| self.matches(name));
        Resolution {
            topics: matched.cloned().collect(),
            revision: topics.revision().number,
            at,
        }
    }
}

/// The last line of the parser's report: the others show where in several lines.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// The topics that a regex meant when the topics were last looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Their names.
    pub topics: BTreeSet<TopicName>,
    /// The revision of the topics that were looked through.
    pub revision: u64,
    /// When they were.
    pub at: Monotonic,
}

impl Resolution {
    /// Leaves out what the subscriber may not see.
    #[must_use]
    pub fn visible(mut self, may_see: impl Fn(&TopicName) -> bool) -> Self {
        self.topics.retain(|name| may_see(name));
        self
    }

    /// What it occupies.
    pub(super) fn bytes(&self) -> usize {
        let names = self.topics.iter().map(|name| name.as_str().len() + 32);
        names.sum()
    }
}
