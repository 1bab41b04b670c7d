//! The section of a shard in the footer of an object.
//!
//! What was read is written back byte by byte; no body is longer than what there was.

use bytes::Bytes;
use streamhouse_log::format::manifest::Manifest;
use streamhouse_log::format::section::{LastSeen, Section};

use super::manifest;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "section",
    reads: "the section of a shard in an object",
    executions: 300_000,
    length_max: 8 << 10,
    // Each counted body is a handle, and a byte can count one.
    memory: Memory {
        per_byte: 128,
        free: 64 << 10,
    },
    words: &[],
    seeds,
    repair: None,
    check,
};

/// A section with a manifest.
pub(super) fn of(body: Bytes) -> Section {
    Section {
        last_seen: LastSeen {
            timeline: 1,
            revision: 2,
            tag: 3,
            coordination_seq: 4,
        },
        earlier: Vec::new(),
        body,
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let bodies: Vec<Bytes> = manifest::seeds().into_iter().map(Bytes::from).collect();
    let alone = of(bodies[0].clone());
    let mut with_earlier = of(bodies[1].clone());
    with_earlier.earlier = bodies[2..].to_vec();
    vec![alone.encode().to_vec(), with_earlier.encode().to_vec()]
}

fn check(input: &[u8]) -> Verdict {
    let Ok(section) = Section::decode(Bytes::copy_from_slice(input)) else {
        return Verdict::Refused;
    };
    assert_eq!(Section::decode(section.encode()).as_ref(), Ok(&section));
    let bodies: usize = section.earlier.iter().map(Bytes::len).sum();
    assert!(bodies + section.body.len() < input.len());
    for body in section.earlier.into_iter().chain([section.body]) {
        // Whether it is a manifest is another target's question; that it is asked must be safe.
        let _ = Manifest::decode(body);
    }
    Verdict::Accepted
}
