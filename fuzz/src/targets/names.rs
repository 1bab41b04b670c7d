//! Names: the key of an object as a listing of the store shows it, and the name of a topic.
//!
//! A key has one spelling. A topic's name holds nothing that a path or a metric cannot.

use streamhouse_protocol::names::{TOPIC_NAME_LENGTH_MAX, TopicName};
use streamhouse_storage::objects::{ObjectId, ObjectKey, ObjectKind};

use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "names",
    reads: "keys of objects and names of topics",
    executions: 400_000,
    length_max: 512,
    memory: Memory {
        per_byte: 32,
        free: 8 << 10,
    },
    words: &[
        "/",
        "-",
        ".",
        "..",
        "l0",
        "checkpoint",
        "00000000",
        "+",
        "ffffffffffffffff",
        "F",
        "é",
    ],
    seeds,
    repair: None,
    check,
};

fn seeds() -> Vec<Vec<u8>> {
    let key = |(number, kind): (u64, ObjectKind)| {
        let id = ObjectId {
            incarnation: u128::from(number) << 90 | 0xc0ffee,
            seq: number,
            attempt: 1,
        };
        id.key(kind).to_string().into_bytes()
    };
    let numbers = [0, 42, u64::MAX, 7].into_iter();
    let keys = numbers.zip(ObjectKind::ALL).map(key);
    let topics = [&b"orders"[..], b"a.b_c-D9", b"__consumer_offsets"];
    keys.chain(topics.map(<[u8]>::to_vec)).collect()
}

fn check(input: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else {
        return Verdict::Refused;
    };
    let key = ObjectKey::parse(text);
    if let Ok(key) = key {
        assert_eq!(key.to_string(), text);
        assert_eq!(key.id().key(key.kind()), key);
    }
    let topic = TopicName::new(text);
    if let Ok(topic) = &topic {
        assert_eq!(topic.as_str(), text);
        assert!((1..=TOPIC_NAME_LENGTH_MAX).contains(&text.len()));
        assert!(!text.contains('/') && text != "." && text != ".." && text.is_ascii());
        assert!(TopicName::new(&topic.collision_key()).is_ok());
    }
    if key.is_ok() || topic.is_ok() {
        Verdict::Accepted
    } else {
        Verdict::Refused
    }
}
