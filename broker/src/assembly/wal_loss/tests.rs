//! Commands that are named can be typed as they stand.

use super::*;

#[test]
fn a_command_names_its_folder_as_a_shell_takes_it() {
    for (folder, said) in [
        ("/var/lib/streamhouse", "/var/lib/streamhouse"),
        ("/my data", "'/my data'"),
        ("/it's", "'/it'\\''s'"),
        ("/$HOME;ls", "'/$HOME;ls'"),
    ] {
        assert_eq!(
            command(Path::new(folder), "--range 8..16"),
            format!("streamhouse wal accept-loss --data {said} --range 8..16")
        );
    }
    let relative = command(Path::new("data"), "");
    assert!(
        relative.contains("--data /") && relative.ends_with("/data"),
        "{relative}"
    );
}
