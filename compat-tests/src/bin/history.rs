//! Plays and judges histories of real clients on demand: `history --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    streamhouse_compat_tests::history::command(&arguments)
}
