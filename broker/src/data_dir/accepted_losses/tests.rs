//! What was accepted is there again, and nothing else is ever taken for it.

use streamhouse_runtime::SeededChance;

use super::*;

fn folder() -> (tempfile::TempDir, DataDir) {
    let folder = tempfile::tempdir().unwrap();
    let opened = DataDir::open(folder.path(), None, &SeededChance::new(1)).unwrap();
    (folder, opened)
}

fn loss(from: u64, to: u64) -> WalLoss {
    WalLoss {
        from: WalPosition(from),
        to: WalPosition(to),
    }
}

#[test]
fn what_was_accepted_is_there_until_it_is_taken_back() {
    let (folder, opened) = folder();
    assert_eq!(opened.accepted_losses().unwrap(), []);
    opened.set_accepted_losses(&[]).unwrap();
    let losses = [loss(0, 8), loss(96, u64::MAX)];
    opened.set_accepted_losses(&losses).unwrap();
    drop(opened);
    let opened = DataDir::open(folder.path(), None, &SeededChance::new(2)).unwrap();
    assert_eq!(opened.accepted_losses().unwrap(), losses);
    opened.set_accepted_losses(&losses[1..]).unwrap();
    assert_eq!(opened.accepted_losses().unwrap(), losses[1..]);
    opened.set_accepted_losses(&[]).unwrap();
    assert!(!opened.losses_file().exists());
}

#[test]
fn a_file_that_is_not_whole_is_refused_with_the_remedy() {
    let (_folder, opened) = folder();
    opened
        .set_accepted_losses(&[loss(16, 4096), loss(8192, 16384)])
        .unwrap();
    let whole = std::fs::read(opened.losses_file()).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(opened.losses_file(), bytes).unwrap();
        let error = opened.accepted_losses().unwrap_err();
        assert!(matches!(error, DataDirError::Losses { .. }), "{what}");
        let text = error.to_string();
        assert!(
            text.contains(FILE) && text.contains("accept-loss"),
            "{text}"
        );
    };
    let text = String::from_utf8(whole.clone()).unwrap();
    let first_loss = text.find("loss=").unwrap();
    for len in 0..whole.len() {
        // A cut behind a whole line leaves a file that gives up less, never more.
        let is_whole = len >= first_loss && whole[..len].ends_with(b"\n");
        if !is_whole {
            refused(&whole[..len], &format!("cut to {len} bytes"));
        }
    }
    refused(&[0xff; 40], "no text");
    refused(b"dear diary\n", "a stranger's words");
    refused(&vec![b'#'; 70_000], "too long");
    let replaced = |from: &str, to: &str| text.replace(from, to);
    refused(replaced("version=1", "version=2").as_bytes(), "newer");
    refused(replaced("16..4096", "4096..16").as_bytes(), "reversed");
    refused(
        replaced("16..4096", "16..+4096").as_bytes(),
        "another spelling",
    );
    let other = format!("{:032x}", opened.wal_dir ^ 1);
    let own = format!("{:032x}", opened.wal_dir);
    refused(replaced(&own, &other).as_bytes(), "another folder");
}

#[test]
fn ranges_are_taken_as_messages_show_them() {
    assert_eq!(parse_range("12..4096"), Ok(loss(12, 4096)));
    for wrong in [
        "",
        "12",
        "12..",
        "..12",
        "a..b",
        "12..12",
        "13..12",
        "1...2",
        "+1..2",
        " 1..2",
        "-1..2",
        "1..18446744073709551616",
    ] {
        assert!(parse_range(wrong).is_err(), "{wrong:?}");
    }
}
