//! What these tests need of the machine beyond Rust. Without it they say what they left out; in CI they fail.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::disk::Disk;
use crate::say;

/// Whether the tests can run here. Says what is missing if not.
///
/// # Panics
/// In CI, where nothing may be left out.
pub(crate) fn are_there(test: &str) -> bool {
    static MISSING: OnceLock<Vec<&'static str>> = OnceLock::new();
    let missing = MISSING.get_or_init(missing);
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "CI needs for {test}: {missing}");
    say(&format!("left out for want of {missing}: {test}"));
    false
}

fn missing() -> Vec<&'static str> {
    let is_root = rustix::process::geteuid().is_root();
    let can_make = runs("mkfs.ext4", &["-V"]);
    let can_mount = is_root && can_make && Disk::try_ext4(8).is_ok();
    let wanted = [
        (is_root, "root"),
        (can_make, "mkfs.ext4 (apt-get install e2fsprogs)"),
        (can_mount, "loop devices and the right to mount"),
        (
            runs("strace", &["-qq", "-o", "/dev/null", "true"]),
            "strace and the right to trace (apt-get install strace)",
        ),
        (runs("perl", &["-e", "1"]), "perl (apt-get install perl)"),
    ];
    wanted
        .into_iter()
        .filter_map(|(is_there, name)| (!is_there).then_some(name))
        .collect()
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
