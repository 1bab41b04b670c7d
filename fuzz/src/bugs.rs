//! Planted bugs: places in the code that misbehave when asked to, and the target that must notice within its default run.
//!
//! A bug is a line `planted::bug("name")`; [`streamhouse_runtime::planted`] says when it is switched on.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    /// Its name, as the code asks for it.
    pub name: &'static str,
    /// The target that must notice.
    pub target: &'static str,
    /// Where it is planted.
    pub place: &'static str,
}

const fn bug(name: &'static str, target: &'static str, place: &'static str) -> Bug {
    Bug {
        name,
        target,
        place,
    }
}

/// All of them. Those of the protocol, which knows no runtime, stand in their targets.
pub const BUGS: &[Bug] = &[
    bug("guard_not_asked", "request", "fuzz/src/targets/request.rs"),
    bug(
        "batch_crc_not_checked",
        "record_batches",
        "fuzz/src/targets/batches.rs",
    ),
    bug("skip_on_crc_error", "wal", "storage/src/wal/replay.rs"),
    bug(
        "acceptance_wider_than_the_damage",
        "wal",
        "storage/src/wal/replay.rs",
    ),
    bug("l0_count_not_bounded", "l0", "storage/src/l0/index.rs"),
    bug("l0_data_end_not_compared", "l0", "storage/src/l0/index.rs"),
    bug(
        "block_checksum_not_checked",
        "l0",
        "storage/src/cache/load.rs",
    ),
    bug(
        "stored_count_not_bounded",
        "section",
        "log/src/format/bytes.rs",
    ),
    bug(
        "checkpoint_page_not_checked",
        "checkpoint",
        "log/src/format/checkpoint.rs",
    ),
    bug(
        "group_tail_ignored",
        "group",
        "coordinator/src/group/classic/stored.rs",
    ),
    bug(
        "partition_with_two_readers",
        "consumer_group",
        "coordinator/src/group/consumer/stored.rs",
    ),
];
