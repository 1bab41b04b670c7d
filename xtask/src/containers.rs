//! The lints of `docker/`: hadolint for the Dockerfile, dclint and the schema of Compose for the compose file.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::capabilities::installed;
use crate::run;

/// The programs, where both are installed.
pub(crate) struct Linters {
    hadolint: PathBuf,
    dclint: PathBuf,
}

/// What `.ci/install-clients` has installed.
pub(crate) fn linters() -> Option<Linters> {
    Some(Linters {
        hadolint: installed("hadolint")?.join("bin/hadolint"),
        dclint: installed("dclint")?.join("node_modules/.bin/dclint"),
    })
}

/// Lints the folder, where the linters are.
pub(crate) fn check(root: &Path) -> Result<()> {
    let Some(linters) = linters() else {
        return Ok(());
    };
    let hadolint = linters.hadolint.to_string_lossy();
    run::check(root, &hadolint, &["docker/Dockerfile"])?;
    let dclint = linters.dclint.to_string_lossy();
    let rules = ["--config", "docker/lint/dclint.yaml", "--max-warnings", "0"];
    let arguments = [&rules[..], &["docker/compose.yaml"]].concat();
    run::check(root, &dclint, &arguments)
}
