//! Batches that unpack to far more than they are, produced to a compacted topic: the broker has to look into them for
//! records without a key.

use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_protocol::compression::{Compression, compress};

use super::Bothered;
use super::honest::{Honest, batch, create, produce};
use super::wire::Connection;

/// `INVALID_RECORD`.
const INVALID_RECORD: i16 = 87;

/// What the bombs unpack to, in bytes: within and beyond what the broker unpacks.
const SIZES: [usize; 3] = [1 << 20, 16 << 20, 96 << 20];

/// Producers that throw bombs at the same time.
const THROWERS: usize = 8;

/// The largest batch that a topic takes by default (`max.message.bytes`), without its header.
const PACKED_MAX: usize = 1_048_588 - 61;

#[test]
fn bombs_for_a_compacted_topic_are_refused_in_little_memory_and_stop_nobody() {
    let data = tempfile::tempdir().unwrap();
    let bombs = bombs();
    let mut broker = Bothered::start(data.path());
    let port = broker.port();
    let mut honest = Honest::start(port);
    create(port, "compacted", &[("cleanup.policy", "compact")]);
    honest.goes_on(20);
    broker.watch();
    std::thread::scope(|scope| {
        let bombs = &bombs;
        let throwers: Vec<_> = (0..THROWERS)
            .map(|_| scope.spawn(move || throw(port, bombs)))
            .collect();
        while !throwers
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            honest.goes_on(1);
        }
        for thrower in throwers {
            thrower.join().unwrap();
        }
    });
    honest.goes_on(10);
    let mut connection = Connection::open(port).unwrap();
    let appended = produce(&mut connection, "compacted", batch(b"value"));
    assert_eq!(appended, (0, 0), "nothing of a bomb is in the log");
    broker.expect_little_growth("bombs");
}

fn throw(port: u16, bombs: &[Bytes]) {
    let mut connection = Connection::open(port).unwrap();
    for (number, bomb) in bombs.iter().enumerate() {
        let (code, _) = produce(&mut connection, "compacted", bomb.clone());
        assert_eq!(code, INVALID_RECORD, "bomb {number}");
    }
}

/// Every compression, a record without a key and one that is not there, of every size.
fn bombs() -> Vec<Bytes> {
    let mut bombs = Vec::new();
    for size in SIZES {
        for content in [null_key(size), vec![0xff; size]] {
            for compression in [
                Compression::Gzip,
                Compression::Snappy,
                Compression::Lz4,
                Compression::Zstd,
            ] {
                let packed = compress(compression, &content).unwrap();
                if packed.len() <= PACKED_MAX {
                    bombs.push(forged(compression, &packed));
                }
            }
        }
        let raw = raw_snappy(size);
        if raw.len() <= PACKED_MAX {
            bombs.push(forged(Compression::Snappy, &raw));
        }
    }
    assert_eq!(bombs.len(), 24);
    bombs
}

/// A record without a key, with a value of zeros that the bytes do not cover to the end.
fn null_key(size: usize) -> Vec<u8> {
    let mut record = signed(size);
    record.extend([0, 0, 0, 1]);
    record.extend(signed(size - 64));
    record.resize(size, 0);
    record
}

/// One raw block of zeros at the highest ratio there is: a literal, and copies of 64 bytes that take 3.
fn raw_snappy(size: usize) -> Vec<u8> {
    let copies = size / 64;
    let mut block = varint(1 + 64 * copies);
    block.extend([0, 0]);
    block.extend([63 << 2 | 0b10, 1, 0].repeat(copies));
    block
}

/// A batch of one record with these packed bytes, whole and intact by its header.
fn forged(compression: Compression, packed: &[u8]) -> Bytes {
    let mut covered = BytesMut::new();
    covered.put_i16(i16::from(compression.id()));
    covered.put_i32(0);
    // No timestamps, no producer, one record.
    covered.put_i64(-1);
    covered.put_i64(-1);
    covered.put_i64(-1);
    covered.put_i16(-1);
    covered.put_i32(-1);
    covered.put_i32(1);
    covered.put_slice(packed);
    let mut bytes = BytesMut::new();
    bytes.put_i64(0);
    bytes.put_i32(i32::try_from(covered.len() + 9).unwrap());
    bytes.put_i32(-1);
    bytes.put_u8(2);
    bytes.put_u32(crc32c::crc32c(&covered));
    bytes.put_slice(&covered);
    bytes.freeze()
}

fn signed(value: usize) -> Vec<u8> {
    varint(2 * value)
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}
