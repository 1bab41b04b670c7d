//! A consumer group as the coordinator stored it.
//!
//! What was read is written back byte by byte, so that a restart changes nothing.

use std::time::Duration;

use streamhouse_coordinator::group::classic::{Context, Now};
use streamhouse_coordinator::group::{Group, GroupSettings};
use streamhouse_protocol::ids::Timestamp;
use streamhouse_runtime::Monotonic;

use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "group",
    reads: "a stored consumer group",
    executions: 200_000,
    length_max: 8 << 10,
    // A member takes 37 bytes at least; in memory it is some hundred, and its protocols are counted too.
    memory: Memory {
        per_byte: 128,
        free: 64 << 10,
    },
    words: &[],
    seeds,
    repair: None,
    check,
};

fn text(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(0);
    [&length.to_be_bytes()[..], text].concat()
}

const NONE: [u8; 4] = [0xff; 4];

fn member(id: &[u8], instance: Option<&[u8]>, assignment: &[u8]) -> Vec<u8> {
    [
        text(id),
        instance.map_or_else(|| NONE.to_vec(), text),
        text(b"client"),
        text(b"/127.0.0.1"),
        45_000_u32.to_be_bytes().to_vec(),
        300_000_u32.to_be_bytes().to_vec(),
        text(assignment),
        2_u32.to_be_bytes().to_vec(),
        text(b"range"),
        text(&[0, 1, 0, 0, 0, 1]),
        text(b"roundrobin"),
        text(&[]),
    ]
    .concat()
}

fn group(state: u8, agreed: Option<[&[u8]; 3]>, members: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(members.len()).unwrap_or(0);
    let words = match agreed {
        Some(words) => words.map(text).concat(),
        None => NONE.repeat(3),
    };
    [
        vec![1, state],
        7_i32.to_be_bytes().to_vec(),
        1_700_000_000_000_i64.to_be_bytes().to_vec(),
        words,
        count.to_be_bytes().to_vec(),
        members.concat(),
    ]
    .concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let agreed: Option<[&[u8]; 3]> = Some([b"consumer", b"range", b"a"]);
    vec![
        group(0, None, &[]),
        group(
            2,
            agreed,
            &[
                member(b"a", None, &[0, 1, 0, 0, 0, 0]),
                member(b"b", Some(b"static"), &[]),
            ],
        ),
        group(1, agreed, &[member(b"a", None, &[])]),
    ]
}

fn check(input: &[u8]) -> Verdict {
    let settings = GroupSettings::default();
    let context = Context {
        now: Now {
            monotonic: Monotonic(Duration::from_secs(5)),
            wall: Timestamp(1_700_000_000_000),
        },
        settings: &settings,
    };
    match Group::decode(input, context) {
        Ok(group) => {
            assert_eq!(group.encode(), input);
            Verdict::Accepted
        }
        Err(_) => Verdict::Refused,
    }
}
