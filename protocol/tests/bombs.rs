//! Decompression bombs: what a batch of the largest size that topics take by default can unpack to, and what the broker
//! spends on finding out.
//!
//! Five ways to compress, five contents and four ways to put them together. Each bomb is refused or unpacks within
//! [`Limits::DEFAULT`], and takes at most 32 MiB beside its input, counted by the allocator and, since zstd takes its
//! memory past that, in the pages of the process. One test, so that the pages are its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::io::Write;

use allocation_counter::measure;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use streamhouse_protocol::compression::{Compression, DecompressionError, Decompressor, Limits};
use streamhouse_protocol::record_batch::RecordBatch;

const MIB: usize = 1 << 20;

/// What one batch may take beside its own bytes.
const MEMORY_MAX: usize = 32 * MIB;

/// A batch that a topic takes by default (`max.message.bytes`), without its header.
const INPUT_MAX: usize = 1_048_588 - 61;

/// More than the limits allow.
const LARGE: usize = 72 * MIB;

/// Pieces of 1 MiB that are strung together at most.
const PIECES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
enum Codec {
    Zstd,
    Gzip,
    Lz4,
    SnappyFramed,
    SnappyRaw,
}

/// What is packed. The later ones begin as one record whose length covers all that follows.
#[derive(Clone, Copy, Debug)]
enum Content {
    Zeros,
    /// As numbers, they never end.
    Ones,
    Value,
    Key,
    /// A million headers without key and value.
    Headers,
}

#[derive(Clone, Copy, Debug)]
enum Put {
    /// As much as may have any ratio.
    Small,
    /// One stream beyond the limits.
    Large,
    /// Small streams (or blocks) one after the other, until the batch is full.
    Strung,
    /// Packed twice; the broker opens it once.
    Nested,
}

const CODECS: [Codec; 5] = [
    // Before any other has left free pages behind.
    Codec::Zstd,
    Codec::Gzip,
    Codec::Lz4,
    Codec::SnappyFramed,
    Codec::SnappyRaw,
];
const CONTENTS: [Content; 5] = [
    Content::Zeros,
    Content::Ones,
    Content::Value,
    Content::Key,
    Content::Headers,
];
const PUTS: [Put; 4] = [Put::Small, Put::Large, Put::Strung, Put::Nested];

impl Codec {
    const fn compression(self) -> Compression {
        match self {
            Self::Zstd => Compression::Zstd,
            Self::Gzip => Compression::Gzip,
            Self::Lz4 => Compression::Lz4,
            Self::SnappyFramed | Self::SnappyRaw => Compression::Snappy,
        }
    }

    /// `pieces` as one stream, in blocks as large as the format has them.
    fn whole<'a>(self, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        fn written<'a, W: Write>(mut writer: W, pieces: impl Iterator<Item = &'a [u8]>) -> W {
            pieces.for_each(|piece| writer.write_all(piece).unwrap());
            writer
        }
        match self {
            Self::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                written(encoder, pieces).finish().unwrap()
            }
            Self::Gzip => {
                let encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
                written(encoder, pieces).finish().unwrap()
            }
            Self::Lz4 => {
                let frame = FrameInfo::new()
                    .block_size(BlockSize::Max4MB)
                    .block_mode(BlockMode::Linked);
                let encoder = FrameEncoder::with_frame_info(frame, Vec::new());
                written(encoder, pieces).finish().unwrap()
            }
            Self::SnappyFramed => {
                let mut framed = XERIAL.to_vec();
                pieces.for_each(|piece| framed.extend(xerial_block(piece)));
                framed
            }
            Self::SnappyRaw => {
                let bytes = written(Vec::new(), pieces);
                snap::raw::Encoder::new().compress_vec(&bytes).unwrap()
            }
        }
    }

    /// One piece and then another one, as often as a batch has room for.
    fn strung(self, first: &[u8], next: &[u8]) -> Vec<u8> {
        let (begin, next, end) = match self {
            Self::Zstd | Self::Gzip => {
                let whole = |piece| self.whole([piece].into_iter());
                (whole(first), whole(next), Vec::new())
            }
            Self::Lz4 => {
                // The header takes 7 bytes and the end mark 4.
                let (mut begin, next) = (lz4_frame(first), lz4_frame(next));
                begin.truncate(begin.len() - 4);
                (begin, next[7..next.len() - 4].to_vec(), vec![0; 4])
            }
            Self::SnappyFramed => {
                let begin = [&XERIAL[..], &xerial_block(first)].concat();
                (begin, xerial_block(next), Vec::new())
            }
            Self::SnappyRaw => return raw_of_copies(first),
        };
        let room = INPUT_MAX - begin.len() - end.len();
        let times = (room / next.len()).min(PIECES_MAX);
        [begin, next.repeat(times), end].concat()
    }
}

const XERIAL: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

fn xerial_block(piece: &[u8]) -> Vec<u8> {
    let block = snap::raw::Encoder::new().compress_vec(piece).unwrap();
    let size = i32::try_from(block.len()).unwrap();
    [&size.to_be_bytes()[..], &block].concat()
}

fn lz4_frame(piece: &[u8]) -> Vec<u8> {
    let frame = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
    encoder.write_all(piece).unwrap();
    encoder.finish().unwrap()
}

/// A raw block of the highest ratio there is: a literal, and copies of 64 bytes that take 3.
fn raw_of_copies(piece: &[u8]) -> Vec<u8> {
    const LITERAL: usize = 60;
    let copies = (INPUT_MAX - LITERAL - 6) / 3;
    let mut block = varint(u64::try_from(LITERAL + 64 * copies).unwrap());
    block.push(u8::try_from((LITERAL - 1) << 2).unwrap());
    block.extend(&piece[..LITERAL]);
    // All contents go on with a period of two bytes.
    block.extend([63 << 2 | 0b10, 2, 0].repeat(copies));
    block
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// A signed number as records write it.
fn signed(value: usize) -> Vec<u8> {
    varint(2 * u64::try_from(value).unwrap())
}

impl Content {
    /// The first piece of `total` bytes, and each further one.
    fn pieces(self, total: usize) -> (Vec<u8>, Vec<u8>) {
        let length = || signed(total - 32);
        // The length of the record, attributes and two deltas, then key, value and headers; -1 (one byte, 1) is null.
        let (head, unit) = match self {
            Self::Zeros => (Vec::new(), [0, 0]),
            Self::Ones => (Vec::new(), [0xff, 0xff]),
            Self::Value => (
                [signed(total - 16), vec![0, 0, 0, 1], length()].concat(),
                [0, 0],
            ),
            Self::Key => (
                [signed(total - 16), vec![0, 0, 0], length()].concat(),
                [0, 0],
            ),
            Self::Headers => {
                let count = signed((total - 32) / 2);
                let with_key =
                    |key: &[u8]| [&signed(total - 16)[..], &[0, 0, 0], key, &[1], &count].concat();
                let head = with_key(&[1]);
                // What follows begins where its period does.
                let is_even = head.len().is_multiple_of(2);
                (if is_even { head } else { with_key(&[2, 0]) }, [0, 1])
            }
        };
        let next = unit.repeat(MIB / 2);
        let first = [&head, &next[head.len()..]].concat();
        (first, next)
    }
}

/// A bomb, and what the whole of it unpacks to if that is known.
fn bomb(codec: Codec, content: Content, put: Put) -> (Vec<u8>, Option<usize>) {
    let whole = |codec: Codec, total: usize| {
        let (first, next) = content.pieces(total);
        let rest = (1..total / MIB).map(|_| &next[..]);
        codec.whole([&first[..]].into_iter().chain(rest))
    };
    match put {
        Put::Small => (whole(codec, MIB), Some(MIB)),
        Put::Large => (whole(codec, LARGE), None),
        Put::Strung => {
            let (first, next) = content.pieces(LARGE);
            (codec.strung(&first, &next), None)
        }
        Put::Nested => {
            let inner = whole(codec, 16 * MIB);
            (codec.whole([&inner[..]].into_iter()), Some(inner.len()))
        }
    }
}

/// Unpacks as a stream; how much came out and how it ended.
fn drain(codec: Codec, packed: &[u8]) -> (usize, Result<(), DecompressionError>) {
    let mut buffer = vec![0; 64 << 10];
    let mut out = 0;
    let ended =
        Decompressor::new(codec.compression(), packed, &Limits::DEFAULT).and_then(|mut stream| {
            loop {
                match stream.read(&mut buffer)? {
                    0 => return Ok(()),
                    read => out += read,
                }
            }
        });
    (out, ended)
}

/// The bomb as the one batch of a producer.
fn batch(codec: Codec, packed: &[u8]) -> RecordBatch {
    let mut covered = BytesMut::new();
    covered.put_i16(i16::from(codec.compression().id()));
    covered.put_i32(0);
    covered.put_i64(1);
    covered.put_i64(1);
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
    RecordBatch::from_producer(bytes.freeze()).unwrap()
}

/// What `work` takes at its peak, in bytes: as the allocator counts, and in pages of the process.
fn peaks(mut work: impl FnMut()) -> [usize; 2] {
    // Forgets the highest size that there was. Where the system cannot, it is higher than it need be.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = status("VmRSS:");
    let counted = usize::try_from(measure(&mut work).bytes_max).unwrap();
    [counted, status("VmHWM:").saturating_sub(before)]
}

/// A line of the status of this process, in bytes; 0 where there is none.
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.map_or(0, |kib| kib.parse::<usize>().unwrap() << 10)
}

fn throw(codec: Codec, content: Content, put: Put) {
    let (packed, unpacks_to) = bomb(codec, content, put);
    let what = format!("{codec:?} {content:?} {put:?}: {} bytes", packed.len());
    let mut drained = None;
    let streamed = peaks(|| drained = Some(drain(codec, &packed)));
    let (out, ended) = drained.unwrap();
    let allowed = Limits::DEFAULT.output_max(packed.len());
    assert!(out <= allowed, "{what}: {out}");
    match unpacks_to {
        Some(bytes) => assert_eq!((out, ended), (bytes, Ok(())), "{what}"),
        None => match ended {
            Err(DecompressionError::TooLarge { .. }) => {}
            Err(damaged @ DecompressionError::Damaged { .. }) => panic!("{what}: {damaged}"),
            // Snappy reaches 21:1, so that a batch of this size stays within the limits.
            Ok(()) => assert!(
                matches!(codec, Codec::SnappyRaw | Codec::SnappyFramed),
                "{what}: {out}"
            ),
        },
    }
    let batch = batch(codec, &packed);
    // Whatever the records are: what counts is what it takes to look.
    let looked = peaks(|| drop(batch.summarize_records(&Limits::DEFAULT)));
    for (way, [counted, pages]) in [("unpacking", streamed), ("looking", looked)] {
        assert!(counted <= MEMORY_MAX, "{what}: {way} took {counted} bytes");
        assert!(
            pages <= MEMORY_MAX,
            "{what}: {way} took pages of {pages} bytes"
        );
    }
}

#[test]
fn no_batch_unpacks_beyond_the_limits_or_takes_much_memory() {
    for codec in CODECS {
        for content in CONTENTS {
            for put in PUTS {
                throw(codec, content, put);
            }
        }
    }
    a_batch_that_is_unpacked_as_a_whole_is_bounded_too();
    // What takes too much is seen: otherwise all this would show nothing.
    let [counted, pages] = peaks(|| drop(std::hint::black_box(vec![1_u8; MEMORY_MAX + MIB])));
    assert!(counted > MEMORY_MAX, "{counted}");
    assert!(pages == 0 || pages > MEMORY_MAX / 2, "{pages}");
}

/// Consumers of our own unpack into one buffer, which grows up to the limits: for a moment it may be there twice.
fn a_batch_that_is_unpacked_as_a_whole_is_bounded_too() {
    let most = 2 * Limits::DEFAULT.bytes_max + MEMORY_MAX;
    for codec in CODECS {
        let (packed, _) = bomb(codec, Content::Zeros, Put::Large);
        let packed = Bytes::from(packed);
        let [counted, _] = peaks(|| {
            let whole = streamhouse_protocol::compression::decompress(
                codec.compression(),
                &packed,
                &Limits::DEFAULT,
            );
            assert!(whole.is_err(), "{codec:?}");
        });
        assert!(counted <= most, "{codec:?}: {counted}");
    }
}
