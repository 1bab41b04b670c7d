//! `streamhouse config explain`: one setting, what it means, what it may be, and who set it.

use clap::Args;
use streamhouse_config::kafka::{BrokerKey, broker_key, broker_keys};
use streamhouse_config::{Assignment, Explanation, Field, Settings};

use super::Sources;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// How many names are suggested for one that nobody knows.
const SUGGESTIONS: usize = 5;

/// Say what a setting means, what it may be, and where its value comes from
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// The setting, as section.field, or a broker key of Kafka
    key: String,
    #[command(flatten)]
    sources: Sources,
}

/// Runs `streamhouse config explain`.
pub(super) fn run(explain: &Explain, output: &mut Output) -> Result<(), Failure> {
    let loaded = explain.sources.load()?;
    let explanation = loaded.provenance.explain(&explain.key);
    let explanation = explanation.ok_or_else(|| unknown(&explain.key))?;
    let path = &explanation.key;
    let fields = Settings::fields();
    let field = fields.iter().find(|field| field.path() == *path);
    let value = loaded.settings.get(path);
    output.bytes(text(&explanation, field, value).as_bytes())
}

fn unknown(name: &str) -> Failure {
    let fields = Settings::fields()
        .iter()
        .map(Field::path)
        .collect::<Vec<_>>();
    let keys = broker_keys().iter().map(|key| key.name.to_owned());
    let alike: Vec<String> = fields
        .into_iter()
        .chain(keys)
        .filter(|known| known.contains(name) || name.contains(known.as_str()))
        .take(SUGGESTIONS)
        .collect();
    let hint = if alike.is_empty() {
        "`streamhouse config dump` lists the settings".to_owned()
    } else {
        format!("is it one of {}?", alike.join(", "))
    };
    Failure::Usage(format!(
        "no setting and no broker key of Kafka is called {name:?}; {hint}"
    ))
}

fn text(explanation: &Explanation, field: Option<&Field>, value: Option<String>) -> String {
    let key = explanation.key.as_str();
    let is_secret = broker_key(key).is_some_and(BrokerKey::is_sensitive);
    let shown = |value: &str| match value {
        "" => "unset".to_owned(),
        _ if is_secret => "(hidden)".to_owned(),
        value => value.to_owned(),
    };
    let told = |given: &Assignment| format!("{}, from {}", shown(&given.value), given.origin);
    let mut lines = Vec::new();
    if let Some(field) = field {
        lines.push(("Kind", kind(field)));
    }
    lines.push((
        "Default",
        shown(explanation.default.as_deref().unwrap_or("")),
    ));
    let kafka_keys = &explanation.kafka_keys;
    if !kafka_keys.is_empty() && *kafka_keys != [key] {
        lines.push(("Kafka", kafka_keys.join(", ")));
    }
    let value = value.or_else(|| explanation.default.clone());
    match explanation.given.split_last() {
        Some((winner, overruled)) => {
            lines.push(("Value", told(winner)));
            let overruled = overruled.iter().rev();
            lines.extend(overruled.map(|given| ("Overruled", told(given))));
        }
        None => {
            let value = shown(value.as_deref().unwrap_or(""));
            lines.push(("Value", format!("{value}, the default")));
        }
    }
    let lines = lines
        .iter()
        .map(|(name, line)| format!("{name:<9}  {line}\n"));
    format!(
        "{key}\n\n{}\n\n{}",
        explanation.documentation,
        lines.collect::<String>()
    )
}

/// What a setting may hold.
fn kind(field: &Field) -> String {
    let bounds = match (&field.min, &field.max) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        (Some(min), None) => format!(", at least {min}"),
        (None, Some(max)) => format!(", at most {max}"),
        (None, None) => String::new(),
    };
    format!("{}{bounds}", field.kind)
}
