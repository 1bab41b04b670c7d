//! Rules for single files: a header that says what a file is for, a length that can be read in one sitting, no words of
//! unfinished work, no names of one machine.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// Lines of a production file.
const LINES_MAX: usize = 600;

/// Words that mark unfinished work or switch a check off. Spelled in halves, so that this file passes its own rule.
const WORDS: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "finish it, or write an issue"),
    (concat!("FIX", "ME"), "mend it"),
    (concat!("HA", "CK"), "say what it does and why"),
    (
        concat!("#[ig", "nore"),
        "a test that does not run is no test",
    ),
    (concat!("#[should", "_panic"), "check the error"),
    (concat!("allow(dead", "_code"), "remove what is not used"),
    (concat!("allow(un", "used"), "remove what is not used"),
];

/// Traces of one machine.
const PLACES: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

pub(super) fn problems(root: &Path, tracked: &[PathBuf]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in tracked {
        let Ok(text) = std::fs::read_to_string(root.join(path)) else {
            continue;
        };
        let shown = path.display().to_string();
        if path.extension().is_some_and(|extension| extension == "rs") {
            problems.extend(rust_problems(&shown, &text));
        }
        if !is_recorded(&shown) {
            for place in PLACES {
                if let Some(line) = text.lines().position(|line| line.contains(place)) {
                    problems.push(format!(
                        "{shown}:{}: names a place of one machine: {place}",
                        line + 1
                    ));
                }
            }
        }
    }
    Ok(problems)
}

fn rust_problems(shown: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push(format!(
            "{shown}:1: begins without //! that says what the file is for"
        ));
    }
    let is_test = shown.contains("/tests/") || shown.ends_with("tests.rs");
    let lines = text.lines().count();
    if lines > LINES_MAX && !is_test && !is_generated(text) {
        problems.push(format!(
            "{shown}: {lines} lines; split it along what it holds (at most {LINES_MAX})"
        ));
    }
    for (number, line) in text.lines().enumerate() {
        for (word, remedy) in WORDS {
            if line.contains(word) {
                problems.push(format!("{shown}:{}: {word}: {remedy}", number + 1));
            }
        }
    }
    problems
}

fn is_generated(text: &str) -> bool {
    text.lines()
        .take(5)
        .any(|line| line.to_lowercase().contains("generated"))
}

/// Recordings hold what another program said.
fn is_recorded(shown: &str) -> bool {
    shown.contains("golden") || shown.contains("fixtures") || shown.ends_with("Cargo.lock")
}
