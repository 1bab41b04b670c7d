//! Whether settings fit together. Limits that could never be met are refused here, naming both settings, instead of
//! being met by a client that waits forever.

use std::time::Duration;

use crate::coordinator::CoordinatorSettings;
use crate::endpoint::{HostPort, Listener};
use crate::load::source::Problem;
use crate::settings::Settings;
use crate::size::ByteSize;
use crate::topic::{TopicConfigs, TopicOverrides};

/// The largest request that Produce memory takes; larger ones use the memory for large requests.
pub const SMALL_PRODUCE_BYTES_MAX: ByteSize = ByteSize::mib(1);

/// What a batch needs besides its own bytes, in a request and in the WAL, generously.
const HEADERS: ByteSize = ByteSize::kib(4);
const FRAMED: &str = "message.max.bytes plus 4KiB of headers";

/// The shortest time that objects are kept which nobody needs.
const OBJECT_GRACE_MIN: Duration = Duration::from_secs(1);

/// All that does not fit together.
pub(crate) fn check(settings: &Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_listeners(settings, &mut problems);
    check_sizes(settings, &mut problems);
    check_topic_defaults(settings, &mut problems);
    let metadata = &settings.metadata;
    if metadata.request_timeout <= metadata.statement_timeout {
        problems.push(Problem::new(
            "metadata.request_timeout",
            "it is not longer than metadata.statement_timeout, so every slow statement would end with an unknown \
             outcome; raise it or lower the other"
                .to_owned(),
        ));
    }
    if let Some(grace) = settings.storage.object_grace
        && grace < OBJECT_GRACE_MIN
    {
        problems.push(Problem::new(
            "storage.object_grace",
            "it is shorter than 1s, so objects would go while they are read; raise it".to_owned(),
        ));
    }
    check_groups(&settings.coordinator, &mut problems);
    let membership = &settings.membership;
    if membership.heartbeat_interval > membership.lease / 2 {
        problems.push(Problem::new(
            "membership.heartbeat_interval",
            "it exceeds half of membership.lease, so one late heartbeat would end the lease; lower it or raise the other"
                .to_owned(),
        ));
    }
    if let Some(id) = &settings.broker.cluster_id
        && !(id.len() == 22
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
    {
        problems.push(Problem::new(
            "broker.cluster_id",
            format!(
                "{id:?} is not up to 64 letters, digits, - and _; leave it out, or take what kafka-storage.sh \
                 random-uuid prints"
            ),
        ));
    }
    problems
}

fn check_groups(group: &CoordinatorSettings, problems: &mut Vec<Problem>) {
    if group.group_min_session_timeout > group.group_max_session_timeout {
        problems.push(Problem::new(
            "coordinator.group_min_session_timeout",
            "it exceeds coordinator.group_max_session_timeout, so no member could join; lower it or raise the other"
                .to_owned(),
        ));
    }
    let bounded = [
        (
            "session_timeout",
            group.group_consumer_session_timeout,
            group.group_consumer_min_session_timeout..=group.group_consumer_max_session_timeout,
        ),
        (
            "heartbeat_interval",
            group.group_consumer_heartbeat_interval,
            group.group_consumer_min_heartbeat_interval
                ..=group.group_consumer_max_heartbeat_interval,
        ),
    ];
    for (name, value, allowed) in bounded {
        if !allowed.contains(&value) {
            problems.push(Problem::new(
                &format!("coordinator.group_consumer_{name}"),
                format!(
                    "it lies outside coordinator.group_consumer_min_{name} and coordinator.group_consumer_max_{name}; \
                     change one of the three"
                ),
            ));
        }
    }
    if group.group_consumer_heartbeat_interval >= group.group_consumer_session_timeout {
        problems.push(Problem::new(
            "coordinator.group_consumer_heartbeat_interval",
            "it is not shorter than coordinator.group_consumer_session_timeout, so every session would end; lower it or \
             raise the other"
                .to_owned(),
        ));
    }
}

fn check_listeners(settings: &Settings, problems: &mut Vec<Problem>) {
    let listener = &settings.listener;
    let mut refuse = |key: &str, text: String| problems.push(Problem::new(key, text));
    if listener.listeners.is_empty() {
        refuse(
            "listener.listeners",
            "no address is given, so no client could connect; give one".to_owned(),
        );
    }
    for (index, one) in listener.listeners.iter().enumerate() {
        let earlier = &listener.listeners[..index];
        if earlier.iter().any(|other| other.name == one.name) {
            refuse(
                "listener.listeners",
                format!("{} is named twice; give each its own name", one.name),
            );
        } else if earlier
            .iter()
            .any(|other| is_taken(&other.address, &one.address))
        {
            let text = format!("{one} has the address of another listener; give it another port");
            refuse("listener.listeners", text);
        }
        if let Some(text) = unsafe_or_unknown(settings, one) {
            refuse("listener.listeners", text);
        }
    }
    for (index, one) in listener.advertised.iter().enumerate() {
        let text = if !listener
            .listeners
            .iter()
            .any(|other| other.name == one.name)
        {
            format!("{one} belongs to no listener; name one of listener.listeners")
        } else if listener.advertised[..index]
            .iter()
            .any(|other| other.name == one.name)
        {
            format!("{} is advertised twice; keep one address", one.name)
        } else if matches!(one.address.host.as_str(), "" | "0.0.0.0" | "::") {
            format!("{one} means all interfaces, and clients cannot connect to that; name one host")
        } else {
            continue;
        };
        refuse("listener.advertised", text);
    }
    if let Some(metrics) = &settings.telemetry.metrics_address
        && listener
            .listeners
            .iter()
            .any(|other| is_taken(&other.address, metrics))
    {
        let text =
            format!("{metrics} is also an address of listener.listeners; give it another port");
        refuse("telemetry.metrics_address", text);
    }
}

fn is_taken(taken: &HostPort, wanted: &HostPort) -> bool {
    let overlaps = || {
        let (taken, wanted) = (taken.bind_hosts(), wanted.bind_hosts());
        taken
            .iter()
            .any(|one| wanted.iter().any(|other| one.host == other.host))
    };
    taken.port != 0 && taken.port == wanted.port && overlaps()
}

fn unsafe_or_unknown(settings: &Settings, listener: &Listener) -> Option<String> {
    let protocols = &settings.listener.protocols;
    let Some(row) = protocols.iter().find(|row| row.listener == listener.name) else {
        return Some(format!(
            "{listener} has no protocol; add {}:PLAINTEXT to listener.protocols",
            listener.name
        ));
    };
    if row.protocol != "PLAINTEXT" {
        return Some(format!(
            "{listener} asks for {}, and this release speaks PLAINTEXT only; bind it to localhost without it, or \
             put a proxy in front",
            row.protocol
        ));
    }
    if listener.address.is_loopback() || settings.listener.allow_plaintext_beyond_loopback {
        return None;
    }
    Some(format!(
        "{listener} is plaintext and other machines may reach it, so anybody could read and delete everything; bind \
         localhost, or set listener.allow_plaintext_beyond_loopback = true when only trusted machines reach it"
    ))
}

fn check_sizes(settings: &Settings, problems: &mut Vec<Problem>) {
    let (listener, wal) = (&settings.listener, &settings.wal);
    let message = TopicConfigs::resolve(&TopicOverrides::new(), &settings.topic_defaults);
    let message = ByteSize::new(u64::from(message.max_message_bytes));
    let framed = ByteSize::new(message.bytes().saturating_add(HEADERS.bytes()));
    let request = listener.socket_request_max_bytes;
    let twice_file = ByteSize::new(wal.file_bytes.bytes().saturating_mul(2));
    let must_fit = [
        (FRAMED, framed, "listener.socket_request_max_bytes", request),
        (FRAMED, framed, "wal.file_bytes", wal.file_bytes),
        (
            "message.max.bytes",
            message,
            "listener.fetch_memory",
            listener.fetch_memory,
        ),
        (
            "listener.socket_request_max_bytes",
            request,
            "listener.large_request_memory",
            listener.large_request_memory,
        ),
        (
            FRAMED,
            framed,
            "shared.staging_bytes",
            settings.shared.staging_bytes,
        ),
        (
            "shared.flush_bytes",
            settings.shared.flush_bytes,
            "shared.staging_bytes",
            settings.shared.staging_bytes,
        ),
        (
            "twice wal.file_bytes",
            twice_file,
            "wal.max_bytes",
            wal.max_bytes,
        ),
    ];
    for (small_name, small, large_name, large) in must_fit {
        if small > large {
            problems.push(Problem::new(
                small_name,
                format!(
                    "{small} does not fit into {large_name} ({large}), so it could never be served; lower it or \
                     raise {large_name}"
                ),
            ));
        }
    }
}

fn check_topic_defaults(settings: &Settings, problems: &mut Vec<Problem>) {
    let effective = TopicConfigs::resolve(&TopicOverrides::new(), &settings.topic_defaults);
    if let Err(error) = effective.check() {
        problems.push(Problem::new(
            "log.cleaner.min.compaction.lag.ms",
            error.to_string(),
        ));
    }
}

#[cfg(test)]
mod tests;
