//! The rules of the house that a machine can hold. `problems` lists every breach; the test beside it wants none.

mod docs;
mod files;
mod floors;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::run;

/// Every breach of every rule, one line each.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let tracked = tracked(root)?;
    let mut problems = floors::problems(root)?;
    problems.extend(files::problems(root, &tracked)?);
    problems.extend(docs::problems(root, &tracked)?);
    Ok(problems)
}

/// The files of the checkout that belong to it: tracked, or new and not ignored.
fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = run::output(
        root,
        "git",
        &["ls-files", "--cached", "--others", "--exclude-standard"],
    )?;
    let existing = listed
        .lines()
        .map(PathBuf::from)
        .filter(|path| root.join(path).is_file());
    Ok(existing.collect())
}

#[cfg(test)]
mod tests;
