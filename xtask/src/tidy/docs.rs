//! Maps are only worth having while they are true: every path that `docs/internals` names exists, every crate is on the
//! map, and every change note has its heading.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// Documents for builders that must exist.
const INTERNALS: &[&str] = &[
    "README",
    "ARCHITECTURE",
    "STYLE",
    "GLOSSARY",
    "data",
    "life-of-a-produce",
    "life-of-a-fetch",
    "testing",
];

/// Endings that mark a word in backticks as a path.
const ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".py", ".sh", ".sql"];

pub(super) fn problems(root: &Path, tracked: &[PathBuf]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for name in INTERNALS {
        let path = format!("docs/internals/{name}.md");
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else {
            problems.push(format!("{path} is missing"));
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for named in paths_in(line) {
                if !tracked.iter().any(|file| file.to_string_lossy() == named) {
                    problems.push(format!(
                        "{path}:{}: names {named}, which does not exist",
                        number + 1
                    ));
                }
            }
        }
    }
    let map =
        std::fs::read_to_string(root.join("docs/internals/ARCHITECTURE.md")).unwrap_or_default();
    for file in tracked.iter().filter(|file| file.ends_with("Cargo.toml")) {
        let Some(folder) = file
            .parent()
            .and_then(Path::to_str)
            .filter(|folder| !folder.is_empty())
        else {
            continue;
        };
        if !map.contains(&format!("`{folder}/`")) {
            problems.push(format!(
                "docs/internals/ARCHITECTURE.md: the map lacks `{folder}/`"
            ));
        }
    }
    Ok(problems)
}

/// Words in backticks that look like a path from the top of the checkout.
fn paths_in(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|word| {
        word.contains('/')
            && !word.contains([' ', '*', '<', '{', '$', '~'])
            && !word.starts_with('/')
            && ENDINGS.iter().any(|ending| word.ends_with(ending))
    })
}
