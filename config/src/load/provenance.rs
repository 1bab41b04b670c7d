//! Who set what: the winner of every setting and those it overruled, for `config dump` and `config explain`.

use std::collections::BTreeMap;

use super::source::Assignment;
use crate::kafka::{Role, broker_key, keys::keys_of_setting};
use crate::settings::Settings;

/// All values that were given, by setting (`section.field`) or, for Kafka keys that set none, by key.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    given: BTreeMap<String, Vec<Assignment>>,
}

/// What `config explain` tells about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The setting as `section.field`, or the Kafka key when it sets none.
    pub key: String,
    /// The Kafka keys that set it.
    pub kafka_keys: Vec<&'static str>,
    /// The documentation.
    pub documentation: String,
    /// The default, as text.
    pub default: Option<String>,
    /// Every value that was given; the last one won. Empty when the default holds.
    pub given: Vec<Assignment>,
}

impl Provenance {
    /// Records that `assignment` overrules what was recorded for `target` before.
    pub(crate) fn record(&mut self, target: &str, assignment: Assignment) {
        self.given
            .entry(target.to_owned())
            .or_default()
            .push(assignment);
    }

    /// The values given for a setting or a Kafka key that sets none, the winner last.
    #[must_use]
    pub fn given(&self, target: &str) -> &[Assignment] {
        self.given.get(target).map_or(&[], Vec::as_slice)
    }

    /// The value that won, if one was given.
    #[must_use]
    pub fn winner(&self, target: &str) -> Option<&Assignment> {
        self.given(target).last()
    }

    /// Explains a setting (`section.field`) or a Kafka broker key; `None` when there is no such thing.
    #[must_use]
    pub fn explain(&self, name: &str) -> Option<Explanation> {
        let fields = Settings::fields();
        let path = match broker_key(name).map(|key| key.role) {
            Some(Role::Setting { path, .. }) => path,
            Some(
                Role::TopicDefault { .. }
                | Role::WithoutEffect { .. }
                | Role::OnlyDynamic { .. }
                | Role::Refused { .. },
            )
            | None => name,
        };
        if let Some(field) = fields.iter().find(|field| field.path() == path) {
            return Some(Explanation {
                key: path.to_owned(),
                kafka_keys: keys_of_setting(path).map(|(name, _)| name).collect(),
                documentation: field.text(),
                default: Some(field.default.clone()),
                given: self.given(path).to_vec(),
            });
        }
        let key = broker_key(name)?;
        Some(Explanation {
            key: key.name.to_owned(),
            kafka_keys: vec![key.name],
            documentation: key.documentation(),
            default: key.default.clone(),
            given: self.given(key.name).to_vec(),
        })
    }
}
