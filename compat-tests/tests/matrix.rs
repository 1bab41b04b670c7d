//! The matrix of clients and scenarios, as one test.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    streamhouse_compat_tests::run(&arguments)
}
