//! A history of real clients across kills and stops holds no anomaly, and one in which the broker lost something does.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    // Run by name like any other test, but with a voice of its own: the numbers of a run are told when all went well, too.
    let names = |word: String| word.starts_with("--") || "history".contains(&word);
    if !arguments.all(names) {
        return ExitCode::SUCCESS;
    }
    streamhouse_compat_tests::history::command_of_the_test()
}
