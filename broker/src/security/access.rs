//! The authorizer, and the questions that handlers put to it.

use std::fmt;
use std::sync::Arc;

use crate::api::RequestContext;

use super::{Operation, Resource, ResourceKind};

/// Decides what a principal may do. Called for every resource of every request: it answers from memory.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Whether the asker of `cx` may do `operation` to `resource`. Implications (READ implies DESCRIBE) are the
    /// authorizer's own.
    fn allows(&self, cx: &RequestContext, operation: Operation, resource: Resource<'_>) -> bool;

    /// Whether the asker of `cx` may do `operation` to at least one resource of `kind` (KIP-679).
    fn allows_some(&self, cx: &RequestContext, operation: Operation, kind: ResourceKind) -> bool;
}

/// No authorizer is configured: everybody may do everything, as in Kafka.
#[derive(Clone, Copy, Debug)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn allows(&self, _: &RequestContext, _: Operation, _: Resource<'_>) -> bool {
        true
    }

    fn allows_some(&self, _: &RequestContext, _: Operation, _: ResourceKind) -> bool {
        true
    }
}

/// Nobody may do anything: what a cluster does whose authorizer has no rules and no super user.
#[derive(Clone, Copy, Debug)]
pub struct DenyAll;

impl Authorizer for DenyAll {
    fn allows(&self, _: &RequestContext, _: Operation, _: Resource<'_>) -> bool {
        false
    }

    fn allows_some(&self, _: &RequestContext, _: Operation, _: ResourceKind) -> bool {
        false
    }
}

/// A handler's way to the authorizer.
#[derive(Clone, Debug)]
pub struct Access(Arc<dyn Authorizer>);

/// What stands in `authorized operations` fields when the client did not ask for them (Kafka: `Integer.MIN_VALUE`).
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

impl Access {
    /// Access that `authorizer` decides about.
    #[must_use]
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self(authorizer)
    }

    /// Whether the asker of `cx` may do `operation` to `resource`.
    #[must_use]
    pub fn allows(
        &self,
        cx: &RequestContext,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        self.0.allows(cx, operation, resource)
    }

    /// Whether the asker of `cx` may do `operation` to the topic `name`.
    #[must_use]
    pub fn to_topic(&self, cx: &RequestContext, operation: Operation, name: &str) -> bool {
        self.allows(cx, operation, Resource::topic(name))
    }

    /// Whether the asker of `cx` may do `operation` to the group `name`.
    #[must_use]
    pub fn to_group(&self, cx: &RequestContext, operation: Operation, name: &str) -> bool {
        self.allows(cx, operation, Resource::group(name))
    }

    /// Whether the asker of `cx` may do `operation` to the cluster.
    #[must_use]
    pub fn to_cluster(&self, cx: &RequestContext, operation: Operation) -> bool {
        self.allows(cx, operation, Resource::CLUSTER)
    }

    /// Whether the asker of `cx` may do `operation` to at least one topic.
    #[must_use]
    pub fn to_some_topic(&self, cx: &RequestContext, operation: Operation) -> bool {
        self.0.allows_some(cx, operation, ResourceKind::Topic)
    }

    /// The bit set of what the asker may do to `resource`: bit n stands for the operation with code n (KIP-430). If
    /// the client did not ask, the value that says so.
    #[must_use]
    pub fn authorized_operations(
        &self,
        cx: &RequestContext,
        resource: Resource<'_>,
        asked: bool,
    ) -> i32 {
        if !asked {
            return OPERATIONS_NOT_ASKED;
        }
        let kind: ResourceKind = resource.kind;
        kind.operations()
            .iter()
            .filter(|operation| self.allows(cx, **operation, resource))
            .fold(0, |set, operation| set | (1 << (*operation as u8)))
    }
}
