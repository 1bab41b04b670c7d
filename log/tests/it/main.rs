//! The log as a whole: a WAL that can be killed or lose power, objects in memory, the readable metadata store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod append;
mod bounds;
mod crashes;
mod doubtful;
mod doubts;
mod failover;
mod model;
mod older_database;
mod reads;
mod recovery;
mod retention;
mod shared;
mod shared_world;
mod side_by_side;
mod stopped;
mod times;
mod world;
