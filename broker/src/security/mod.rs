//! Who asks, and whether they may.
//!
//! A connection has a [`Principal`]; every handler asks the [`Authorizer`] for each resource that a request names,
//! before it touches it. Operations, resource types and their numbers are Kafka's (`AclOperation`, `ResourceType`).

mod access;
mod operation;

pub use access::{Access, AllowAll, Authorizer, DenyAll};
pub use operation::{CLUSTER_NAME, Operation, Resource, ResourceKind};

use std::fmt;
use std::sync::Arc;

/// Who a connection acts for, as Kafka writes it: `User:alice`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// The principal of a connection that did not authenticate.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::user("ANONYMOUS")
    }

    /// The user `name`.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self(format!("User:{name}").into())
    }

    /// `User:<name>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}
