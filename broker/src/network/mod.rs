//! The network: listeners, connections and their limits.
//!
//! Nothing here knows what a request means, except that Produce has its own memory. Reading order follows the `mod`
//! lines.

mod closing;
mod connection;
mod in_flight;
mod incoming;
mod limits;
mod listener;
mod memory;
mod outgoing;
mod pace;
mod queue;
mod quota;

pub use closing::{CloseLog, CloseReason};
pub use connection::{Arriving, Call, Connections, Service};
pub use limits::Limits;
pub use listener::{ListenError, Listener};
pub use memory::{PRODUCE_FRAME_BYTES_MAX, RequestMemory};
pub use quota::ConnectionQuota;
