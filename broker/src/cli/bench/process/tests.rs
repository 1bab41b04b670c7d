//! The system's books are read as they are written.

use std::time::Duration;

use super::{Watched, cpu, number_behind};

#[test]
fn cpu_time_is_found_behind_any_name() {
    let stat = "7 (a (strange) name) S 1 2 3 4 5 6 7 8 9 10 150 50 1 1 20 0 9";
    assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
    assert_eq!(cpu("7 (cut off) S 1 2"), None);
}

#[test]
fn numbers_are_found_behind_their_whole_name() {
    let io = "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4\ncancelled_write_bytes: 5\n";
    assert_eq!(number_behind(io, "write_bytes:"), Some(4));
    assert_eq!(
        number_behind("VmHWM:\t   16000 kB\n", "VmHWM:"),
        Some(16_000)
    );
    assert_eq!(number_behind(io, "bytes:"), None);
}

#[test]
fn a_process_that_does_not_exist_is_told_apart() {
    let watched = Watched {
        broker_pid: Some(u32::MAX),
    };
    let error = watched.begin().unwrap_err().to_string();
    assert!(error.contains("--broker-pid"), "{error}");
}
