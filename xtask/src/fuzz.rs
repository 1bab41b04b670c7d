//! Fuzzing guided by coverage: builds `fuzz/src/guided.rs` with libFuzzer's instruments, with the compiler that everything
//! else is built with, and runs it over one target or all of them.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::run;

/// Counters at every edge, and comparisons that the fuzzer sees.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Where builds, corpora and what was found are put, below the top of the checkout.
const FOLDER: &str = "target/fuzz";

/// An execution that takes longer than this many seconds hangs.
const HANG_SECONDS: u32 = 10;

/// Runs `name`, or every target if it is `all`, for `seconds` each.
pub(crate) fn run(root: &Path, name: &str, seconds: u32) -> Result<()> {
    let own = [
        "run",
        "--quiet",
        "--locked",
        "--package",
        "streamhouse-fuzz",
        "--",
    ];
    let listed = run::output(root, "cargo", &[&own[..], &["list"]].concat())?;
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    let names: Vec<&str> = names
        .filter(|known| name == "all" || name == *known)
        .collect();
    if names.is_empty() {
        bail!("there is no target {name:?}; there are:\n{listed}");
    }
    let host = host(root)?;
    build(root, &host)?;
    let binary = root
        .join(FOLDER)
        .join("build")
        .join(&host)
        .join("debug/guided");
    let binary = binary.to_string_lossy().into_owned();
    for name in names {
        let corpus = format!("{FOLDER}/{name}/corpus");
        run::check(
            root,
            "cargo",
            &[&own[..], &["seeds", name, &corpus]].concat(),
        )?;
        run::say(&format!("== {name}"));
        let found = format!("-artifact_prefix={FOLDER}/{name}/");
        let options = [
            found,
            format!("-max_total_time={seconds}"),
            format!("-timeout={HANG_SECONDS}"),
            "-malloc_limit_mb=512".to_owned(),
            "-rss_limit_mb=2048".to_owned(),
            "-max_len=32768".to_owned(),
            "-print_final_stats=1".to_owned(),
            corpus,
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let environment = [("STREAMHOUSE_FUZZ_TARGET", name), ("RUST_BACKTRACE", "0")];
        run::check_with(root, &binary, &options, &environment).with_context(|| {
            format!("what failed lies in {FOLDER}/{name}; to see it: cargo run -p streamhouse-fuzz -- {name} FILE")
        })?;
    }
    Ok(())
}

/// A folder of its own, so that the flags do not make everything else be built again; and with the target named, so that
/// they do not apply to what runs while building.
fn build(root: &Path, host: &str) -> Result<()> {
    let folder = format!("{FOLDER}/build");
    let arguments = [
        "build",
        "--locked",
        "--package",
        "streamhouse-fuzz",
        "--bin",
        "guided",
        "--features",
        "guided",
        "--target-dir",
        &folder,
        "--target",
        host,
    ];
    run::check_with(root, "cargo", &arguments, &[("RUSTFLAGS", FLAGS)])
}

fn host(root: &Path) -> Result<String> {
    let version = run::output(root, "rustc", &["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(ToOwned::to_owned).context("rustc names its host")
}
