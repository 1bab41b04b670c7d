//! Which of several values wins, and what becomes of Kafka keys that set nothing.
//!
//! Kafka keys are merged among themselves first, as Kafka does: the strongest source of each key, then the finest unit
//! (`log.retention.ms` before `log.retention.hours`, `node.id` before `broker.id`), wherever it was written. Against a
//! setting written as `section.field` the stronger source wins.

use std::collections::BTreeMap;

use super::provenance::Provenance;
use super::source::{Assignment, Gathered, Note, NoteLevel, Problem};
use super::suggest;
use crate::endpoint::{Listener, names_in};
use crate::kafka::keys::{Unit, keys_of_setting};
use crate::kafka::{BrokerKey, Role, broker_key, broker_keys};
use crate::secret::HIDDEN;
use crate::settings::Settings;
use crate::size::ByteSize;
use crate::topic::{TopicConfigs, TopicOverrides};
use crate::value::Value;

/// The outcome of a merge; the settings are usable when there are no problems.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) settings: Settings,
    pub(crate) provenance: Provenance,
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<Note>,
}

/// The assignments of each key, the strongest last.
type ByKey = BTreeMap<String, Vec<Assignment>>;

/// Decides all settings.
pub(crate) fn merge(gathered: Gathered) -> Merged {
    let mut merged = Merged {
        settings: Settings::default(),
        provenance: Provenance::default(),
        problems: gathered.problems,
        notes: gathered.notes,
    };
    let native = by_key(gathered.native);
    let mut kafka = by_key(gathered.kafka);
    merged.drop_controller_listeners(&mut kafka);
    merged.report_unknown(&kafka);
    for field in Settings::fields() {
        merged.decide(&field.path(), &native, &kafka);
    }
    for key in broker_keys() {
        let Some(given) = kafka.get(key.name) else {
            continue;
        };
        merged.apply_key_without_setting(key.name, key.role, given);
    }
    merged.raise_memory();
    merged
}

fn by_key(mut assignments: Vec<Assignment>) -> ByKey {
    assignments.sort_by_key(|assignment| assignment.origin.layer);
    let mut by_key = ByKey::new();
    for assignment in assignments {
        by_key
            .entry(assignment.key.clone())
            .or_default()
            .push(assignment);
    }
    by_key
}

fn winner<'a>(by_key: &'a ByKey, key: &str) -> Option<&'a Assignment> {
    by_key.get(key).and_then(|given| given.last())
}

impl Merged {
    fn note(&mut self, level: NoteLevel, text: String) {
        self.notes.push(Note { level, text });
    }

    fn refuse(&mut self, assignment: &Assignment, reason: &str) {
        self.problems.push(Problem::of_value(assignment, reason));
    }

    /// A file written for a broker that is also a controller names a listener for the controllers. There are none
    /// here, so that listener is not opened.
    fn drop_controller_listeners(&mut self, kafka: &mut ByKey) {
        let Some(names) = winner(kafka, "controller.listener.names") else {
            return;
        };
        let names: Vec<String> = names
            .value
            .split(',')
            .map(|n| n.trim().to_uppercase())
            .collect();
        for key in ["listeners", "advertised.listeners"] {
            for assignment in kafka.get_mut(key).into_iter().flatten() {
                let Ok(listeners) = Vec::<Listener>::read(&assignment.value) else {
                    continue;
                };
                let left: Vec<Listener> = listeners
                    .iter()
                    .filter(|l| !names.contains(&l.name))
                    .cloned()
                    .collect();
                if left.len() == listeners.len() {
                    continue;
                }
                let dropped = names_in(&listeners, &names);
                self.notes.push(Note {
                    level: NoteLevel::Note,
                    text: format!(
                        "{key}: {dropped} (from {}) is not opened: StreamHouse has no controllers",
                        assignment.origin
                    ),
                });
                assignment.value = left.write();
            }
        }
    }

    fn report_unknown(&mut self, kafka: &ByKey) {
        for (name, given) in kafka {
            let Some(last) = given.last().filter(|_| broker_key(name).is_none()) else {
                continue;
            };
            let text = if name.starts_with("listener.name.") {
                let why = "this release speaks PLAINTEXT only";
                (
                    NoteLevel::Note,
                    format!("{name} (from {}) has no effect: {why}", last.origin),
                )
            } else {
                let hint = suggest::kafka_key(name);
                let text = format!(
                    "{name} (from {}) is not known and is ignored{hint}",
                    last.origin
                );
                (NoteLevel::Warning, text)
            };
            self.note(text.0, text.1);
        }
    }

    fn decide(&mut self, path: &str, native: &ByKey, kafka: &ByKey) {
        let of_kafka = keys_of_setting(path).find_map(|(name, unit)| {
            let assignment = winner(kafka, name)?;
            let is_unset = name == "broker.id" && assignment.value.trim() == "-1";
            (!is_unset).then_some((assignment, unit))
        });
        let of_us = winner(native, path);
        if let (Some(ours), Some((theirs, _))) = (of_us, of_kafka)
            && ours.origin.layer == theirs.origin.layer
            && ours.origin != theirs.origin
        {
            let reason = format!(
                "it is also set as {} (from {}); keep one of the two",
                theirs.key, theirs.origin
            );
            self.refuse(ours, &reason);
        }
        let mut candidates: Vec<(&Assignment, Unit)> = Vec::new();
        candidates.extend(of_kafka);
        candidates.extend(of_us.map(|assignment| (assignment, Unit::Same)));
        candidates.sort_by_key(|(assignment, _)| assignment.origin.layer);
        if let Some((assignment, unit)) = candidates.last() {
            let outcome = unit.read(&assignment.value).and_then(|text| {
                self.settings
                    .set(path, &text)
                    .expect("the path comes from the list of settings")
            });
            if let Err(reason) = outcome {
                self.refuse(assignment, &reason);
            }
        }
        self.record(
            path,
            native,
            kafka,
            candidates.last().map(|(assignment, _)| *assignment),
        );
    }

    /// A file of Kafka's knows our limits of sizes, but not the memory behind them. Memory that nobody set follows the
    /// limit; memory that somebody set too small is refused later.
    fn raise_memory(&mut self) {
        let topics = TopicConfigs::resolve(&TopicOverrides::new(), &self.settings.topic_defaults);
        let message = ByteSize::new(u64::from(topics.max_message_bytes));
        let request = self.settings.listener.socket_request_max_bytes;
        for (path, needed, limit) in [
            (
                "listener.large_request_memory",
                request,
                "socket.request.max.bytes",
            ),
            ("listener.fetch_memory", message, "message.max.bytes"),
        ] {
            let now = self
                .settings
                .get(path)
                .and_then(|text| text.parse::<ByteSize>().ok());
            let is_enough = now.is_some_and(|now| now >= needed);
            if is_enough || self.provenance.winner(path).is_some() {
                continue;
            }
            match self.settings.set(path, &needed.to_string()) {
                Some(Ok(())) => self.note(
                    NoteLevel::Note,
                    format!(
                        "{path} is raised to {needed}, so that {limit} fits; set it to bound memory"
                    ),
                ),
                Some(Err(reason)) => self.problems.push(Problem::new(path, reason)),
                None => {}
            }
        }
    }

    /// Keeps everything that was given for a setting, the winner last.
    fn record(&mut self, path: &str, native: &ByKey, kafka: &ByKey, won: Option<&Assignment>) {
        let keys = keys_of_setting(path).map(|(name, _)| name);
        let theirs = keys.filter_map(|name| kafka.get(name)).flatten();
        let mut given: Vec<&Assignment> = native
            .get(path)
            .into_iter()
            .flatten()
            .chain(theirs)
            .collect();
        given.sort_by_key(|assignment| assignment.origin.layer);
        for assignment in given
            .into_iter()
            .filter(|given| Some(*given) != won)
            .chain(won)
        {
            let mut assignment = assignment.clone();
            if Settings::is_secret(path) {
                assignment.value = HIDDEN.to_owned();
            }
            self.provenance.record(path, assignment);
        }
    }

    fn apply_key_without_setting(&mut self, name: &'static str, role: Role, given: &[Assignment]) {
        let Some(last) = given.last() else { return };
        match role {
            Role::Setting { .. } => return,
            Role::TopicDefault { without_effect, .. } => {
                if let Err(error) = self.settings.topic_defaults.set(name, &last.value) {
                    self.refuse(last, &error.to_string());
                }
                if let Some(why) = without_effect {
                    self.say_without_effect(last, why);
                }
            }
            Role::WithoutEffect { .. } if name == "process.roles" => self.check_roles(last),
            Role::WithoutEffect { why } | Role::OnlyDynamic { why } => {
                self.say_without_effect(last, why);
            }
            Role::Refused { why } => {
                let default = broker_key(name)
                    .and_then(|key| key.default.as_deref())
                    .unwrap_or("");
                let value = last.value.trim();
                if !value.is_empty() && value != default {
                    self.refuse(last, why);
                }
            }
        }
        let is_sensitive = broker_key(name).is_some_and(BrokerKey::is_sensitive);
        for assignment in given {
            let mut assignment = assignment.clone();
            if is_sensitive {
                assignment.value = HIDDEN.to_owned();
            }
            self.provenance.record(name, assignment);
        }
    }

    fn say_without_effect(&mut self, assignment: &Assignment, why: &str) {
        let Assignment { key, origin, .. } = assignment;
        let why = why.trim_end_matches('.');
        self.note(
            NoteLevel::Note,
            format!("{key} (from {origin}) has no effect: {why}"),
        );
    }

    fn check_roles(&mut self, assignment: &Assignment) {
        if assignment
            .value
            .split(',')
            .any(|role| role.trim() == "broker")
        {
            self.say_without_effect(
                assignment,
                "every process is a broker, and there are no controllers",
            );
        } else {
            self.refuse(
                assignment,
                "StreamHouse has no controllers, the metadata database takes their place; start brokers only",
            );
        }
    }
}
