//! The broker: speaks Kafka to clients and leaves the rest to the rooms below.
//!
//! It is the only crate that knows Kafka's error codes, API versions and client ids. It keeps no truth: whatever it
//! holds can be lost with the process.
//!
//! Reading order: `network` turns sockets into frames, `dispatch` finds the handler, `api` says what a handler is,
//! `handlers` has one file per Kafka API and the table of them, `api_page` prints that table, `reach` is what handlers
//! may touch, `topics`, `partitions`, `fetch_memory` and `producer_ids` hold the rules that are the broker's own,
//! `error_code` turns errors into Kafka's codes, `security` says who may ask for what. `assembly` puts a broker
//! together on a `data_dir`, `background` lists what it does by itself, `membership` divides the shards between brokers,
//! `ops` is what operators look at, `cli` the command line.

pub mod network;

pub mod dispatch;

pub mod api;

pub mod handlers;

pub mod api_page;

pub mod reach;

pub mod topics;

pub mod partitions;

pub mod fetch_memory;

pub mod background;

pub mod loggers;
pub mod membership;

pub mod data_dir;

pub mod ops;

pub mod assembly;

pub mod producer_ids;

pub mod error_code;

pub mod running_settings;
pub mod security;

pub mod cli;
