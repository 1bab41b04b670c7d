//! Generated pages: the annotated `streamhouse.toml` and the reference of settings and topic configs. Everything in
//! them comes from the declarations, so they cannot say anything else than the code.

use std::fmt::Write as _;

use crate::dump::literal;
use crate::kafka::keys::keys_of_setting;
use crate::kafka::{BrokerKey, Role, broker_keys};
use crate::section::Field;
use crate::settings::Settings;
use crate::topic::{Effect, TOPIC_KEYS, TopicKey};

const NEVER: &str = "writing into a String cannot fail";

/// `config/streamhouse.toml`: every setting, commented out, with its documentation.
#[must_use]
pub fn reference_toml() -> String {
    let mut text = String::from(
        "# Every setting of StreamHouse with its default. Generated from config/src; do not edit.\n\
         # An empty file is a complete configuration: set only what you want to be different.\n\
         # Sizes: 64MiB (KiB, MiB, GiB, TiB) or bytes. Durations: 250ms, 5s, 10m, 24h, 7d.\n\n\
         version = 1\n",
    );
    for section in Settings::sections() {
        text.push('\n');
        comment(&mut text, section.doc);
        writeln!(text, "[{}]", section.name).expect(NEVER);
        for field in Settings::fields()
            .iter()
            .filter(|field| field.section == section.name)
        {
            text.push('\n');
            comment(&mut text, field.doc);
            let keys = kafka_names(field).join(", ");
            if !keys.is_empty() {
                writeln!(text, "# Kafka: {keys}").expect(NEVER);
            }
            let bounds = bounds(field);
            if !bounds.is_empty() {
                writeln!(text, "# Allowed: {bounds}").expect(NEVER);
            }
            writeln!(text, "#{} = {}", field.name, literal(field, &field.default)).expect(NEVER);
        }
    }
    text.push_str(
        "\n# Kafka's own broker keys, in quotes. The defaults of topic configs are set here, for example:\n\
         [kafka]\n#\"log.retention.hours\" = 168\n#\"message.max.bytes\" = 1048588\n",
    );
    text
}

fn comment(text: &mut String, doc: &[&str]) {
    for line in doc {
        writeln!(text, "# {}", line.trim()).expect(NEVER);
    }
}

fn kafka_names(field: &Field) -> Vec<&'static str> {
    keys_of_setting(&field.path())
        .map(|(name, _)| name)
        .collect()
}

fn bounds(field: &Field) -> String {
    match (&field.min, &field.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => String::new(),
    }
}

/// `docs/reference/config.md`: every setting and every broker key of Kafka.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = String::from(
        "# Settings\n\n<!-- Generated from config/src; do not edit. -->\n\n\
         A setting can be written in `streamhouse.toml`, in a Kafka `server.properties`, as an environment variable \
         and with `--set`. From weak to strong: defaults, `streamhouse dev`, files in their order, `KAFKA_*` variables \
         (by the rules of Kafka's image), `STREAMHOUSE_*` variables, `--set`. `streamhouse config dump` shows what is \
         in effect and where it comes from. An empty file is a complete configuration.\n\n\
         Sizes are written `64MiB` (KiB, MiB, GiB, TiB) or as a number of bytes; durations `250ms`, `5s`, `10m`, \
         `24h`, `7d`. Kafka's keys keep Kafka's units.\n",
    );
    for section in Settings::sections() {
        let doc: Vec<&str> = section.doc.iter().map(|line| line.trim()).collect();
        writeln!(text, "\n## {}\n\n{}", section.name, doc.join(" ")).expect(NEVER);
        for field in Settings::fields()
            .iter()
            .filter(|field| field.section == section.name)
        {
            setting_entry(&mut text, field);
        }
    }
    text.push_str(
        "\n## memory\n\nThe most that each bounded share of memory can become, at defaults.\n\n",
    );
    text.push_str("| Setting | At most |\n|---|---|\n");
    for share in Settings::default().memory_shares() {
        writeln!(text, "| `{}` | {} |", share.setting, share.bytes).expect(NEVER);
    }
    kafka_keys(&mut text);
    text
}

fn setting_entry(text: &mut String, field: &Field) {
    let env = format!("STREAMHOUSE_{}__{}", field.section, field.name).to_uppercase();
    writeln!(text, "\n### {}\n\n{}\n", field.path(), field.text()).expect(NEVER);
    writeln!(
        text,
        "| Default | Kind | Allowed | Kafka key | Environment | Since |"
    )
    .expect(NEVER);
    writeln!(text, "|---|---|---|---|---|---|").expect(NEVER);
    let keys: Vec<String> = kafka_names(field)
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let default = if field.default.is_empty() {
        "unset".to_owned()
    } else {
        format!("`{}`", field.default)
    };
    let row = [
        default,
        field.kind.to_owned(),
        bounds(field),
        keys.join(", "),
        format!("`{env}`"),
    ];
    writeln!(text, "| {} | {} |", row.join(" | "), field.since).expect(NEVER);
}

fn kafka_keys(text: &mut String) {
    text.push_str(
        "\n## Kafka's broker keys\n\nThey can be used in `server.properties`, under `[kafka]` in `streamhouse.toml` \
         (in quotes), as `KAFKA_*` variables and with `--set`. A key that Kafka does not have is ignored with a \
         warning in `server.properties` and in variables, and refused elsewhere.\n\n\
         ### Keys that set a setting\n\n| Kafka key | Setting | Default |\n|---|---|---|\n",
    );
    let shown = |key: &BrokerKey| {
        key.default
            .as_ref()
            .map_or_else(|| "unset".to_owned(), |default| format!("`{default}`"))
    };
    for key in broker_keys() {
        if let Role::Setting { path, .. } = key.role {
            writeln!(text, "| `{}` | `{path}` | {} |", key.name, shown(key)).expect(NEVER);
        }
    }
    text.push_str("\n### Defaults of topic configs\n\n| Kafka key | Topic config | Default |\n|---|---|---|\n");
    for key in broker_keys() {
        if let Role::TopicDefault { topic_key, .. } = key.role {
            writeln!(text, "| `{}` | `{topic_key}` | {} |", key.name, shown(key)).expect(NEVER);
        }
    }
    text.push_str("\n### Keys that are refused unless they have their default\n\n| Kafka key | Why |\n|---|---|\n");
    for key in broker_keys() {
        if let Role::Refused { why } = key.role {
            writeln!(text, "| `{}` | {why} |", key.name).expect(NEVER);
        }
    }
    text.push_str(
        "\n### Keys that are accepted without effect\n\nThe broker says so once when it starts. \
         `process.roles` must contain `broker`.\n\n| Kafka key | Why |\n|---|---|\n",
    );
    for key in broker_keys() {
        if let Role::WithoutEffect { why } | Role::OnlyDynamic { why } = key.role {
            writeln!(text, "| `{}` | {why} |", key.name).expect(NEVER);
        }
    }
    changing_keys(text);
}

fn changing_keys(text: &mut String) {
    text.push_str(
        "\n### Keys that change while brokers run\n\n`kafka-configs.sh --entity-type brokers` sets them for one broker \
         (`--entity-name`) or for all (`--entity-default`); every broker has them within a heartbeat, and they outlive \
         restarts. What is set for one broker wins over what is set for all, which wins over files, variables and `--set`. \
         All other keys are refused with Kafka's `Cannot update these configs dynamically`.\n\n\
         | Kafka key | Effect |\n|---|---|\n",
    );
    for key in broker_keys().iter().filter(|key| key.is_dynamic) {
        let effect = match key.role {
            Role::Setting { path, .. } => format!("`{path}`"),
            Role::TopicDefault {
                topic_key,
                without_effect: None,
            } => {
                format!("the default of `{topic_key}`")
            }
            Role::TopicDefault { topic_key, .. } => {
                format!("the default of `{topic_key}`, which is kept without effect")
            }
            Role::WithoutEffect { .. } | Role::OnlyDynamic { .. } | Role::Refused { .. } => {
                "none".to_owned()
            }
        };
        writeln!(text, "| `{}` | {effect} |", key.name).expect(NEVER);
    }
}

/// `docs/reference/topic-configs.md`: every topic config.
#[must_use]
pub fn topic_reference_markdown() -> String {
    let mut text = String::from(
        "# Topic configs\n\n<!-- Generated from config/src; do not edit. -->\n\n\
         All topic configs of Kafka 4.3 are accepted, kept and shown. Those without effect say why. A broker key gives \
         the default for topics that do not set the config; see [settings](config.md).\n",
    );
    for key in TOPIC_KEYS {
        topic_entry(&mut text, key);
    }
    text
}

fn topic_entry(text: &mut String, key: &TopicKey) {
    writeln!(text, "\n## {}\n\n{}\n", key.name, key.doc).expect(NEVER);
    if let Effect::Stored(why) = key.effect {
        writeln!(text, "**No effect**: {why}\n").expect(NEVER);
    }
    writeln!(
        text,
        "| Default | Type | Allowed | Broker key |\n|---|---|---|---|"
    )
    .expect(NEVER);
    let keys: Vec<String> = key
        .synonyms
        .iter()
        .map(|one| format!("`{}`", one.name))
        .collect();
    let default = if key.default.is_empty() {
        "empty".to_owned()
    } else {
        format!("`{}`", key.default)
    };
    let kind = key.kind.name().to_lowercase();
    let row = [default, kind, key.rule.allowed(), keys.join(", ")];
    writeln!(text, "| {} |", row.join(" | ")).expect(NEVER);
}

#[cfg(test)]
mod tests;
