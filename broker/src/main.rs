//! The `streamhouse` binary: a Kafka broker and its command line. What it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    streamhouse_broker::cli::main()
}
