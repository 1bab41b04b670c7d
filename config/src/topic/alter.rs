//! How requests change the configs that are set on a topic: set, delete, append and subtract (KIP-339), and replace.

use std::collections::BTreeMap;

use super::TopicConfigError;
use super::keys::{TopicKey, topic_key};
use super::resolve::{TopicConfigs, TopicDefaults};
use super::rule::split_list;
use crate::kafka::ConfigType;

/// The configs that are set on a topic, by key, checked and written as Kafka writes them.
pub type TopicOverrides = BTreeMap<String, String>;

/// One change of an IncrementalAlterConfigs request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOp<'a> {
    /// Set the key to this value.
    Set(&'a str),
    /// Unset the key, so that the broker's default applies.
    Delete,
    /// Add these parts to a list, unless it has them.
    Append(&'a str),
    /// Take these parts out of a list.
    Subtract(&'a str),
}

impl AlterOp<'_> {
    /// Applies the change to the configs set on a topic. Append and Subtract start from the value in effect.
    ///
    /// # Errors
    /// [`TopicConfigError`]; `overrides` is then unchanged.
    pub fn apply(
        self,
        name: &str,
        overrides: &mut TopicOverrides,
        defaults: &TopicDefaults,
    ) -> Result<(), TopicConfigError> {
        let key = known(name)?;
        let current = || match overrides.get(key.name) {
            Some(value) => value.clone(),
            None => defaults.value(key),
        };
        let value = match self {
            Self::Delete => {
                overrides.remove(key.name);
                return Ok(());
            }
            Self::Set(value) => value.to_owned(),
            Self::Append(added) => {
                let current = list_of(key, "APPEND", current())?;
                let mut parts: Vec<&str> = split_list(&current).collect();
                for part in split_list(added) {
                    if !parts.contains(&part) {
                        parts.push(part);
                    }
                }
                parts.join(",")
            }
            Self::Subtract(taken) => {
                let current = list_of(key, "SUBTRACT", current())?;
                let taken: Vec<&str> = split_list(taken).collect();
                let left = split_list(&current).filter(|part| !taken.contains(part));
                left.collect::<Vec<_>>().join(",")
            }
        };
        let value = key.rule.check(key.name, key.kind, &value)?;
        overrides.insert(key.name.to_owned(), value);
        Ok(())
    }
}

/// Checks configs as a whole, as CreateTopics and AlterConfigs bring them, and returns them as Kafka writes them.
/// After a series of [`AlterOp`]s it checks that they fit together.
///
/// # Errors
/// The first [`TopicConfigError`], by name of the key.
pub fn check_overrides<'a>(
    given: impl IntoIterator<Item = (&'a str, &'a str)>,
    defaults: &TopicDefaults,
) -> Result<TopicOverrides, TopicConfigError> {
    let mut overrides = TopicOverrides::new();
    for (name, value) in given {
        let key = known(name)?;
        overrides.insert(
            key.name.to_owned(),
            key.rule.check(key.name, key.kind, value)?,
        );
    }
    TopicConfigs::resolve(&overrides, defaults).check()?;
    Ok(overrides)
}

fn known(name: &str) -> Result<&'static TopicKey, TopicConfigError> {
    topic_key(name).ok_or_else(|| TopicConfigError::Unknown {
        name: name.to_owned(),
    })
}

fn list_of(
    key: &'static TopicKey,
    operation: &'static str,
    current: String,
) -> Result<String, TopicConfigError> {
    if key.kind == ConfigType::List {
        Ok(current)
    } else {
        Err(TopicConfigError::NotAList {
            operation,
            name: key.name,
        })
    }
}
