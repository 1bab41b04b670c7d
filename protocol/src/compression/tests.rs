//! Tests of `compression.rs`: round trips, bounds, and bombs.

use std::io::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::record_batch::tests::cases;

const PACKED: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

const MIB: usize = 1 << 20;

fn pack(compression: Compression, input: &[u8]) -> Bytes {
    compress(compression, input).unwrap().into()
}

/// Limits without a ratio.
const fn up_to(bytes_max: usize) -> Limits {
    Limits {
        bytes_max,
        ratio_max: usize::MAX,
        ratio_free_bytes: 0,
    }
}

/// Unpacks as a stream and returns how many bytes came out, and how it ended.
fn drain(
    compression: Compression,
    input: &[u8],
    limits: &Limits,
) -> (usize, Result<(), DecompressionError>) {
    let mut decompressor = match Decompressor::new(compression, input, limits) {
        Ok(decompressor) => decompressor,
        Err(error) => return (0, Err(error)),
    };
    let mut buffer = vec![0; 64 << 10];
    let mut output = 0;
    let end = loop {
        match decompressor.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(read) => output += read,
            Err(error) => break Err(error),
        }
    };
    assert_eq!(
        decompressor.read(&mut buffer),
        Ok(0),
        "the stream goes on behind its end"
    );
    assert!(output <= decompressor.output_max());
    (output, end)
}

/// Asserts that both ways refuse `input`, and that what comes out before stays within the limits.
fn assert_refused(name: &str, compression: Compression, input: &[u8], limits: &Limits) {
    let (output, end) = drain(compression, input, limits);
    let streamed = end.expect_err(name);
    assert!(output <= limits.output_max(input.len()), "{name}: {output}");
    let whole = decompress(compression, &Bytes::copy_from_slice(input), limits);
    assert_eq!(whole.expect_err(name), streamed, "{name}");
}

fn is_too_large(compression: Compression, input: &[u8], limits: &Limits) -> bool {
    matches!(
        drain(compression, input, limits).1,
        Err(DecompressionError::TooLarge { .. })
    )
}

/// Writes a stream of `size` zeros without holding them.
fn zeros(compression: Compression, size: usize) -> Vec<u8> {
    let chunk = vec![0; MIB];
    let write = |writer: &mut dyn Write| {
        for _ in 0..size / MIB {
            writer.write_all(&chunk).unwrap();
        }
    };
    match compression {
        Compression::None => vec![0; size],
        Compression::Snappy => compress(compression, &vec![0; size]).unwrap(),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            write(&mut encoder);
            encoder.finish().unwrap()
        }
        Compression::Lz4 => {
            let mut encoder = FrameEncoder::new(Vec::new());
            write(&mut encoder);
            encoder.finish().unwrap()
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            write(&mut encoder);
            encoder.finish().unwrap()
        }
    }
}

#[test]
fn ids_and_names_are_kafkas() {
    let names = ["none", "gzip", "snappy", "lz4", "zstd"];
    for (id, (compression, name)) in Compression::ALL.into_iter().zip(names).enumerate() {
        assert_eq!(usize::from(compression.id()), id);
        assert_eq!(Compression::from_id(compression.id()), Some(compression));
        assert_eq!(compression.to_string(), name);
        assert_eq!(Compression::from_name(name), Some(compression));
    }
    assert_eq!(
        (Compression::from_id(5), Compression::from_name("brotli")),
        (None, None)
    );
}

#[test]
fn the_limit_is_exact() {
    let input: Vec<u8> = (0..200_000_u32).map(|i| (i / 7 % 251) as u8).collect();
    for compression in PACKED {
        let packed = pack(compression, &input);
        let whole = decompress(compression, &packed, &up_to(input.len()));
        assert_eq!(whole.unwrap(), input);
        assert_eq!(
            drain(compression, &packed, &up_to(input.len())),
            (input.len(), Ok(()))
        );
        for limit in [0, 1, 65_536, input.len() - 1] {
            assert!(
                is_too_large(compression, &packed, &up_to(limit)),
                "{compression} {limit}"
            );
            assert_refused("limit", compression, &packed, &up_to(limit));
        }
    }
}

#[test]
fn the_ratio_counts_only_above_its_free_part() {
    let limits = Limits {
        bytes_max: 64 * MIB,
        ratio_max: 10,
        ratio_free_bytes: MIB,
    };
    assert_eq!(limits.output_max(0), MIB);
    assert_eq!(limits.output_max(MIB / 10), MIB);
    assert_eq!(limits.output_max(MIB), 10 * MIB);
    assert_eq!(limits.output_max(usize::MAX), 64 * MIB);
    for compression in PACKED {
        assert_eq!(
            drain(compression, &zeros(compression, MIB), &limits),
            (MIB, Ok(()))
        );
        assert!(is_too_large(
            compression,
            &zeros(compression, 4 * MIB),
            &limits
        ));
    }
}

#[test]
fn zeros_beyond_the_default_limits_are_refused() {
    // 80 MiB: gzip and zstd break the ratio first, snappy and lz4 the size.
    for compression in PACKED {
        let bomb = zeros(compression, 80 * MIB);
        assert!(
            is_too_large(compression, &bomb, &Limits::DEFAULT),
            "{compression}"
        );
    }
    let bomb = zeros(Compression::Zstd, 512 * MIB);
    assert!(bomb.len() < 64 << 10);
    assert!(is_too_large(Compression::Zstd, &bomb, &Limits::DEFAULT));
}

#[test]
fn a_bomb_in_a_bomb_is_opened_once() {
    for outer in PACKED {
        for inner in PACKED {
            let bomb = zeros(inner, 16 * MIB);
            let packed = pack(outer, &bomb);
            let opened = decompress(outer, &packed, &Limits::DEFAULT).unwrap();
            assert_eq!(opened, bomb, "{inner} in {outer}");
        }
    }
}

#[test]
fn a_frame_behind_a_frame_counts_towards_the_same_limit() {
    let frame = zeros(Compression::Gzip, MIB);
    let frames = frame.repeat(80);
    let limits = up_to(16 * MIB);
    assert_refused("gzip members", Compression::Gzip, &frames, &limits);
    let frames = zeros(Compression::Zstd, MIB).repeat(80);
    assert_refused("zstd frames", Compression::Zstd, &frames, &limits);
    let frames = pack(Compression::Lz4, &vec![0; MIB]).repeat(80);
    let (output, end) = drain(Compression::Lz4, &frames, &limits);
    assert_eq!((output, end), (MIB, Ok(())), "Kafka reads one lz4 frame");
}

#[test]
fn snappy_lengths_that_lie_are_refused_before_memory_is_taken() {
    let limits = up_to(usize::MAX);
    let refused = |name, input: &[u8]| assert_refused(name, Compression::Snappy, input, &limits);
    // The length of the output, as a varint, then one literal.
    refused("raw 4 GiB", &[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, b'x']);
    refused("raw 16 MiB", &[0x80, 0x80, 0x80, 0x08, 0x00, b'x']);
    refused("raw 1 byte too many", &[0x02, 0x00, b'x']);
    refused("raw 1 byte too few", &[0x01, 0x04, b'x', b'y']);
    let framed = |blocks: &[&[u8]]| {
        let mut input = pack(Compression::Snappy, b"").to_vec();
        input.extend(blocks.concat());
        input
    };
    refused("block of 2 GiB", &framed(&[&i32::MAX.to_be_bytes(), b"x"]));
    refused(
        "block of negative size",
        &framed(&[&(-1_i32).to_be_bytes(), b"x"]),
    );
    refused("size cut off", &framed(&[&[0, 0, 0]]));
    refused("header cut off", &framed(&[])[..12]);
    let claim = [0xff, 0xff, 0xff, 0x7f, 0x00, b'x'];
    refused(
        "block claims 256 MiB",
        &framed(&[&6_i32.to_be_bytes(), &claim]),
    );
    // A lie is told apart from data that is merely too large.
    for input in [&claim[..], &framed(&[&6_i32.to_be_bytes(), &claim])] {
        let (_, end) = drain(Compression::Snappy, input, &up_to(MIB));
        assert!(
            matches!(end, Err(DecompressionError::Damaged { .. })),
            "{end:?}"
        );
    }
    let (output, end) = drain(Compression::Snappy, &framed(&[]), &limits);
    assert_eq!((output, end), (0, Ok(())));
}

#[test]
fn snappy_reads_raw_blocks_and_any_header_versions() {
    let input = b"streamhouse ".repeat(10_000);
    let raw = Bytes::from(snap::raw::Encoder::new().compress_vec(&input).unwrap());
    let unpacked = decompress(Compression::Snappy, &raw, &Limits::DEFAULT).unwrap();
    assert_eq!(unpacked, input);
    for versions in [[0_u8; 8], [1, 0, 0, 0, 1, 0, 0, 0], [0xff; 8]] {
        let mut framed = pack(Compression::Snappy, &input).to_vec();
        framed[8..16].copy_from_slice(&versions);
        let unpacked = decompress(Compression::Snappy, &framed.into(), &Limits::DEFAULT).unwrap();
        assert_eq!(unpacked, input);
    }
}

#[test]
fn zstd_windows_and_sizes_that_lie_are_refused() {
    // Magic, a descriptor without content size, then the window: 2^(10 + byte / 8).
    let window = |log: u8| {
        [
            0x28,
            0xb5,
            0x2f,
            0xfd,
            0x00,
            (log - 10) << 3,
            0x01,
            0x00,
            0x00,
        ]
    };
    assert_eq!(
        drain(Compression::Zstd, &window(23), &Limits::DEFAULT),
        (0, Ok(()))
    );
    for log in [24, 27, 31, 41] {
        assert_refused("window", Compression::Zstd, &window(log), &Limits::DEFAULT);
    }
    // A single segment that claims 2^62 bytes of content.
    let mut huge = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    huge.extend((1_u64 << 62).to_le_bytes());
    huge.extend([0x01, 0x00, 0x00]);
    assert_refused("content size", Compression::Zstd, &huge, &Limits::DEFAULT);
    // A block of 256 KiB of one byte: the format allows 128 KiB.
    let mut block = window(20)[..6].to_vec();
    block.extend(&((256_u32 << 10) << 3 | 0b011).to_le_bytes()[..3]);
    block.push(b'x');
    assert_refused("block size", Compression::Zstd, &block, &Limits::DEFAULT);
}

#[test]
fn lz4_sizes_that_lie_are_refused() {
    let packed = |info: FrameInfo| {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&[7; 1000]).unwrap();
        encoder.finish().unwrap()
    };
    let frame = packed(FrameInfo::new().block_size(BlockSize::Max64KB));
    assert_eq!(
        drain(Compression::Lz4, &frame, &Limits::DEFAULT),
        (1000, Ok(()))
    );
    // The first block's size follows the 7 bytes of the header.
    for size in [u32::MAX >> 1, u32::MAX, 65_537, 65_537 | 1 << 31] {
        let mut lying = frame.clone();
        lying[7..11].copy_from_slice(&size.to_le_bytes());
        assert_refused("block size", Compression::Lz4, &lying, &Limits::DEFAULT);
    }
    for checksum in [false, true] {
        let info = FrameInfo::new()
            .block_size(BlockSize::Max64KB)
            .content_checksum(checksum);
        let whole = packed(info.block_checksums(checksum));
        assert_eq!(
            drain(Compression::Lz4, &whole, &Limits::DEFAULT),
            (1000, Ok(()))
        );
        for cut in 1..whole.len() {
            let cut_off = &whole[..whole.len() - cut];
            assert_refused("end mark", Compression::Lz4, cut_off, &Limits::DEFAULT);
        }
    }
    let mut legacy = frame;
    legacy[..4].copy_from_slice(&0x184C_2102_u32.to_le_bytes());
    assert_refused("legacy", Compression::Lz4, &legacy, &Limits::DEFAULT);
    assert_refused("empty", Compression::Lz4, &[], &Limits::DEFAULT);
}

#[test]
fn gzip_trailers_that_lie_are_refused() {
    let mut lying = pack(Compression::Gzip, &[7; 1000]).to_vec();
    let size = lying.len() - 4;
    lying[size..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_refused("size", Compression::Gzip, &lying, &Limits::DEFAULT);
    assert_refused(
        "crc",
        Compression::Gzip,
        &lying[..size - 4],
        &Limits::DEFAULT,
    );
    // A header whose file name never ends.
    let mut name = vec![0x1f, 0x8b, 8, 0x08, 0, 0, 0, 0, 0, 0];
    name.extend(vec![b'x'; MIB]);
    assert_refused("name", Compression::Gzip, &name, &Limits::DEFAULT);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(300)))]

    #[test]
    fn what_was_packed_unpacks(
        compression in select(&Compression::ALL[..]),
        pattern in vec(any::<u8>(), 0..2_000),
        repeat in 1..60_usize,
    ) {
        let input = pattern.repeat(repeat);
        let packed = pack(compression, &input);
        let unpacked = decompress(compression, &packed, &Limits::DEFAULT).unwrap();
        prop_assert_eq!(&unpacked, &input);
        prop_assert_eq!(drain(compression, &packed, &Limits::DEFAULT), (input.len(), Ok(())));
    }

    #[test]
    fn damaged_input_never_exceeds_the_limits(
        compression in select(&PACKED[..]),
        pattern in vec(any::<u8>(), 1..100),
        repeat in 1..100_usize,
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        limit in 0..10_000_usize,
    ) {
        let mut packed = pack(compression, &pattern.repeat(repeat)).to_vec();
        for (index, byte) in damage {
            let index = index.index(packed.len());
            packed[index] = byte;
        }
        let (output, streamed) = drain(compression, &packed, &up_to(limit));
        prop_assert!(output <= limit);
        let whole = decompress(compression, &packed.into(), &up_to(limit));
        prop_assert_eq!(whole.map(|bytes| bytes.len()), streamed.map(|()| output));
    }
}
