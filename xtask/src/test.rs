//! The test command: format, lints, build, tests. One profile, so that the binary that the tests start is the one that was
//! built.

use std::path::Path;

use anyhow::{Result, bail};

use crate::capabilities::CAPABILITIES;
use crate::containers;
use crate::planted;
use crate::run::{self, Shares};

/// Runs everything that the machine's means allow.
pub(crate) fn run(root: &Path) -> Result<()> {
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|capability| !capability.is_there())
        .collect();
    if is_ci() && !missing.is_empty() {
        let names: Vec<_> = missing
            .iter()
            .map(|capability| format!("{} ({})", capability.name, capability.remedy))
            .collect();
        bail!("CI needs: {}", names.join(", "));
    }
    let mut shares = Shares::default();
    let outcome = steps(root, &mut shares);
    shares.tell();
    for capability in &missing {
        run::say(&format!(
            "left out for want of {}: {}; to run it: {}",
            capability.name, capability.used_by, capability.remedy
        ));
    }
    outcome
}

fn steps(root: &Path, shares: &mut Shares) -> Result<()> {
    shares.part("format", || {
        run::check(root, "cargo", &["fmt", "--all", "--check"])
    })?;
    shares.part("build", || {
        run::check(
            root,
            "cargo",
            &["build", "--workspace", "--all-targets", "--locked"],
        )
    })?;
    shares.part("lints", || {
        run::check(
            root,
            "cargo",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
        )
    })?;
    shares.part("lints: docker", || containers::check(root))?;
    shares.part("tests: unit, properties, conformance, tidy", || {
        run::check(
            root,
            "cargo",
            &[
                "test",
                "--workspace",
                "--locked",
                "--exclude",
                "streamhouse-compat-tests",
                "--exclude",
                "streamhouse-simulation",
                "--exclude",
                "streamhouse-fuzz",
            ],
        )
    })?;
    shares.part("tests: fuzzing", || {
        let package = ["test", "--locked", "--package", "streamhouse-fuzz"];
        let arguments = [&package[..], &["--", "--nocapture"]].concat();
        run::check(root, "cargo", &arguments)
    })?;
    figures(root, shares)?;
    simulation(root, shares)?;
    shares.part("tests: real clients", || {
        run::check(
            root,
            "cargo",
            &["test", "--locked", "--package", "streamhouse-compat-tests"],
        )
    })?;
    shares.part("documentation", || {
        run::check_with(
            root,
            "cargo",
            &["doc", "--workspace", "--no-deps", "--locked", "--quiet"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        )
    })
}

/// What bench/ makes figures of, where Python is.
fn figures(root: &Path, shares: &mut Shares) -> Result<()> {
    if !run::exists("python3", &["--version"]) {
        return Ok(());
    }
    shares.part("tests: figures", || {
        let arguments = ["-m", "unittest", "discover", "bench"];
        let environment = [("PYTHONDONTWRITEBYTECODE", "1")];
        run::check_with(root, "python3", &arguments, &environment)
    })
}

/// Both print what they covered.
fn simulation(root: &Path, shares: &mut Shares) -> Result<()> {
    let test = ["test", "--locked", "--package", "streamhouse-simulation"];
    shares.part("tests: simulation", || {
        let arguments = [&test[..], &["--", "--nocapture"]].concat();
        run::check(root, "cargo", &arguments)
    })?;
    shares.part("tests: planted bugs", || {
        let others = ["streamhouse-fuzz", "streamhouse-metadata"].map(|each| ["--package", each]);
        let with_bugs = ["--features", "planted-bugs", "bug", "--", "--nocapture"];
        run::check(
            root,
            "cargo",
            &[&test[..], others.as_flattened(), &with_bugs].concat(),
        )?;
        planted::check(root)
    })
}

fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
