//! Who may look at whom. Think hard about the layering before changing this file.
//!
//! Dependencies point down only, never sideways; floors may be skipped. A third-party crate that belongs to one room is
//! touched by that room alone, so that it can be replaced there.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;

/// The crates, by floor.
const FLOORS: &[(&str, u8)] = &[
    ("protocol", 0),
    ("config", 0),
    ("runtime", 1),
    ("storage", 2),
    ("metadata", 2),
    ("log", 3),
    ("coordinator", 4),
    ("client", 4),
    ("broker", 5),
    ("simulation", 5),
    ("fuzz", 5),
];

/// Crates outside the floors: they see nothing of ours but what is named here.
const OUTSIDE: &[(&str, &[&str])] = &[("compat-tests", &[]), ("floor", &[]), ("xtask", &[])];

/// Crates of others that belong to a room.
const ROOMS: &[(&str, &[&str])] = &[
    ("kafka-protocol", &["protocol"]),
    ("object_store", &["storage", "simulation"]),
    ("rusqlite", &["metadata"]),
    ("refinery", &["metadata"]),
    ("rustls-native-certs", &["metadata"]),
    ("tokio-postgres", &["metadata"]),
    ("tokio-postgres-rustls", &["metadata"]),
    ("clap", &["broker"]),
    ("libfuzzer-sys", &["fuzz"]),
];

pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let text = run::output(
        root,
        "cargo",
        &[
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ],
    )?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?;
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let folder = manifest
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name != format!("streamhouse-{folder}") {
            problems.push(format!(
                "{folder}/Cargo.toml: the package is named {name}, not streamhouse-{folder}"
            ));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let is_for_tests = dependency["kind"].as_str() == Some("dev");
            problems.extend(edge(&folder, to, is_for_tests));
        }
    }
    Ok(problems)
}

fn edge(from: &str, to: &str, is_for_tests: bool) -> Option<String> {
    if let Some((_, rooms)) = ROOMS.iter().find(|(name, _)| *name == to) {
        let allowed = is_for_tests || rooms.contains(&from);
        return (!allowed)
            .then(|| format!("{from} uses {to}, which belongs to {}", rooms.join(", ")));
    }
    let to = to.strip_prefix("streamhouse-")?;
    if let Some((_, sees)) = OUTSIDE.iter().find(|(name, _)| *name == from) {
        return (!sees.contains(&to)).then(|| format!("{from} may not depend on {to}"));
    }
    match (floor(from), floor(to)) {
        (Some(above), Some(below)) if above > below => None,
        // A crate may test itself with its own test support.
        _ if is_for_tests && from == to => None,
        (Some(_), Some(_)) => Some(format!(
            "{from} may not depend on {to}: dependencies point down only"
        )),
        _ => Some(format!(
            "{from} or {to} stands on no floor: name it in xtask/src/tidy/floors.rs"
        )),
    }
}

fn floor(name: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, floor)| *floor)
}
