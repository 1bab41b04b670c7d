//! Real clients against the real binary: every client that is not ours, unchanged, does what its users do.
//!
//! The matrix is *clients x scenarios*. A scenario is written once, in Rust, in terms of the operations of `operation`; a
//! client performs them: `kcat` and Kafka's console tools are run as they are, the libraries through a small driver program
//! each in their own language (`python/`, `java/`, `go/`, `node/`, `node-confluent/`, `rust/`), which reads one operation per line and answers with one line.
//! The broker is the binary beside the test, started and killed like a user's process; with `STREAMHOUSE_COMPAT_BOOTSTRAP`
//! the same scenarios run against another server, which is how they are held against Apache Kafka first.
//!
//! This crate must never know: any other crate of ours. What it sees is a process and a port.
//!
//! The walk: `matrix` runs the cells and tells what happened, `broker` starts and kills the process, `clients` and
//! `scenarios` are the two sides of the matrix, `proxy` loses answers on purpose, `wire` is the harness's own hand at the port,
//! `page` writes `docs/reference/compatibility.md`. Beside the matrix stands `versions`: every version of every API, compared with the
//! answers of Apache Kafka by a program in Python; `tools`: what Kafka's command line tools say; `history`: several clients at once
//! across kills and stops, and a checker for what they saw; and `members`: groups of many members while members and coordinators die.

mod broker;
mod clients;
mod clock;
mod data_set;
pub mod history;
mod matrix;
pub mod members;
mod operation;
mod page;
mod process;
mod proxy;
mod records_file;
mod scenarios;
mod stage;
pub mod tools;
pub mod versions;
mod wire;

pub use matrix::run;
