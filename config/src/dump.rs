//! `config dump`: the settings in effect as a `streamhouse.toml` that gives the same settings when it is loaded.

use std::fmt::Write as _;

use crate::kafka::{Role, broker_keys};
use crate::load::Loaded;
use crate::section::Field;
use crate::settings::Settings;

impl Loaded {
    /// All settings, each with where its value comes from. Secrets are left out.
    #[must_use]
    pub fn dump_toml(&self) -> String {
        let mut text = String::from("version = 1\n");
        for section in Settings::sections() {
            writeln!(text, "\n[{}]", section.name).expect(NEVER);
            for field in Settings::fields()
                .iter()
                .filter(|field| field.section == section.name)
            {
                let path = field.path();
                let value = self.settings.get(&path).unwrap_or_default();
                let winner = self.provenance.winner(&path);
                let origin = winner.map_or_else(
                    || "default".to_owned(),
                    |given| format!("from {}", given.origin),
                );
                if field.secret && !value.is_empty() {
                    writeln!(text, "# {} is set and not shown # {origin}", field.name)
                        .expect(NEVER);
                    continue;
                }
                writeln!(
                    text,
                    "{} = {} # {origin}",
                    field.name,
                    literal(field, &value)
                )
                .expect(NEVER);
            }
        }
        text.push_str(&self.dump_kafka_keys());
        text
    }

    fn dump_kafka_keys(&self) -> String {
        let mut text = String::from("\n[kafka]\n");
        for key in broker_keys().iter().filter(|key| !key.is_sensitive()) {
            if matches!(key.role, Role::Setting { .. }) {
                continue;
            }
            let Some(given) = self.provenance.winner(key.name) else {
                continue;
            };
            let value = quote(&given.value);
            writeln!(
                text,
                "{} = {value} # from {}",
                quote(key.name),
                given.origin
            )
            .expect(NEVER);
        }
        text
    }
}

const NEVER: &str = "writing into a String cannot fail";

/// A value as TOML writes it.
pub(crate) fn literal(field: &Field, value: &str) -> String {
    if field.quoted {
        quote(value)
    } else {
        value.to_owned()
    }
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
