//! No release misbehaves on purpose: the broker's crates are built without the planted bugs, and its binary lacks the
//! words that every binary with planted bugs holds.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run;

/// The feature that compiles planted bugs in.
const FEATURE: &str = "planted-bugs";

/// What `streamhouse_runtime::planted::MARKER` says, in halves, so that this tool does not hold it.
const MARKER: [&str; 2] = ["streamhouse: this binary holds", " planted bugs"];

/// Fails if a broker as it is released could hold a planted bug. The simulation and the fuzzer must have been built with
/// them just before: they show that the search finds what it looks for.
pub(crate) fn check(root: &Path) -> Result<()> {
    for (package, binary) in [
        ("streamhouse-simulation", "simulation"),
        ("streamhouse-fuzz", "fuzz"),
    ] {
        let with_bugs = ["--package", package, "--features", FEATURE];
        if planted(root, &with_bugs)?.is_none() {
            bail!("{package} with planted bugs shows no such feature: the search proves nothing");
        }
        if !holds_marker(&built(root, binary))? {
            bail!("{package} with planted bugs lacks their marker: the search proves nothing");
        }
    }
    if let Some(line) = planted(root, &["--package", "streamhouse-broker"])? {
        bail!("the broker is built with planted bugs: {line}");
    }
    if holds_marker(&built(root, "streamhouse"))? {
        bail!("the broker's binary holds planted bugs");
    }
    run::say("the broker's binary holds no planted bugs");
    Ok(())
}

/// A crate that is compiled with planted bugs, if there is one in what `of` names.
fn planted(root: &Path, of: &[&str]) -> Result<Option<String>> {
    let tree = [
        "tree",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p} {f}",
    ];
    let listed = run::output(root, "cargo", &[&tree[..], of, &["--locked"]].concat())?;
    let line = listed.lines().find(|line| line.contains(FEATURE));
    Ok(line.map(ToOwned::to_owned))
}

fn built(root: &Path, name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root.join("target"), PathBuf::from);
    target.join("debug").join(name)
}

fn holds_marker(binary: &Path) -> Result<bool> {
    let bytes = std::fs::read(binary).with_context(|| format!("cannot read {binary:?}"))?;
    let marker = MARKER.concat();
    Ok(bytes
        .windows(marker.len())
        .any(|window| window == marker.as_bytes()))
}
