//! The names of the WAL's files. *On disk: never renumber.*
//!
//! `00000000000000000042.wal` holds records (or is ready for them), `spare-00000000000000000007.wal` waits to be used,
//! `aside-0000000003.wal` holds what was set aside for owner 3, `*.tmp` is a file whose making was interrupted, `lock` is
//! the folder's lock.

/// What a name says about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileName {
    /// A file of the log, with its number.
    Log(u64),
    /// A spare, with its serial number.
    Spare(u64),
    /// Records that were set aside, with their owner.
    Aside(u32),
    /// The rest of an interrupted creation.
    Unfinished,
    /// Not ours.
    Stranger,
}

/// The lock file.
pub(super) const LOCK_FILE: &str = "lock";

/// The highest number of a file of the log among these names; 0 if there is none.
pub(super) fn newest_of(names: impl Iterator<Item = impl AsRef<str>>) -> u64 {
    let numbers = names.filter_map(|name| match parse(name.as_ref()) {
        FileName::Log(number) => Some(number),
        FileName::Spare(_) | FileName::Aside(_) | FileName::Unfinished | FileName::Stranger => None,
    });
    numbers.max().unwrap_or(0)
}

pub(super) fn log_file(number: u64) -> String {
    format!("{number:020}.wal")
}

pub(super) fn spare_file(serial: u64) -> String {
    format!("spare-{serial:020}.wal")
}

pub(super) fn unfinished_file(serial: u64) -> String {
    format!("spare-{serial:020}.tmp")
}

pub(super) fn aside_file(owner: u32) -> String {
    format!("aside-{owner:010}.wal")
}

pub(super) fn unfinished_aside(owner: u32) -> String {
    format!("aside-{owner:010}.tmp")
}

pub(super) fn parse(name: &str) -> FileName {
    if name.ends_with(".tmp") {
        return FileName::Unfinished;
    }
    let Some(stem) = name.strip_suffix(".wal") else {
        return FileName::Stranger;
    };
    if let Some(digits) = stem.strip_prefix("aside-") {
        let owner = digits.parse().ok();
        // One spelling each.
        let owner = owner.filter(|owner| aside_file(*owner) == name);
        return owner.map_or(FileName::Stranger, FileName::Aside);
    }
    let (digits, is_spare) = match stem.strip_prefix("spare-") {
        Some(digits) => (digits, true),
        None => (stem, false),
    };
    let number = (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
        // Numbers that could not be counted on from are none of ours.
        .filter(|number: &u64| *number < u64::MAX / 2);
    match (number, is_spare) {
        (Some(serial), true) => FileName::Spare(serial),
        // Number zero means "no predecessor" in a header, so no file has it.
        (Some(0) | None, false) | (None, true) => FileName::Stranger,
        (Some(number), false) => FileName::Log(number),
    }
}
