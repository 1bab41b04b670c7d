//! The partitioner agrees with Kafka's.

use super::{murmur2, partition_of_key};

/// The values of `UtilsTest.testMurmur2` of Apache Kafka.
#[test]
fn hashes_are_those_of_apache_kafka() {
    for (key, hash) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        (
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        ),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(key.as_bytes()), hash.cast_unsigned(), "{key}");
    }
}

#[test]
fn a_key_stays_within_the_partitions() {
    for partitions in 1..20 {
        assert!(partition_of_key(b"foobar", partitions) < partitions);
    }
    assert_eq!(partition_of_key(b"x", 0), 0);
}
