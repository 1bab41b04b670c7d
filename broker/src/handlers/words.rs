//! Between the words of the wire and ours.

use std::sync::Arc;

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::ids::TopicId;
use streamhouse_protocol::messages;
use uuid::Uuid;

/// Text for the wire.
pub(super) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// A topic name for the wire.
pub(super) fn topic_name(name: impl Into<String>) -> messages::TopicName {
    messages::TopicName(text(name))
}

/// A topic id for the wire.
pub(super) fn uuid(id: TopicId) -> Uuid {
    Uuid::from_u128(id.as_u128())
}

/// Shared text from the wire.
pub(super) fn shared(text: &StrBytes) -> Arc<str> {
    Arc::from(text.as_str())
}

/// Shared text that may be missing, from the wire.
pub(super) fn shared_option(text: Option<&StrBytes>) -> Option<Arc<str>> {
    text.map(shared)
}

/// Whether Kafka keeps a topic name for itself (`Topic.isInternal`).
pub(super) fn is_internal(name: &str) -> bool {
    matches!(
        name,
        "__consumer_offsets" | "__transaction_state" | "__share_group_state"
    )
}
