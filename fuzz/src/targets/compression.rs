//! Compressed records, in all five compressions.
//!
//! Unpacking stays within its limits, gives the same in pieces and as a whole, and gives back what was packed.

use bytes::Bytes;
use streamhouse_protocol::compression::{Compression, Decompressor, Limits, compress, decompress};

use super::batches;
use crate::corpus;
use crate::target::{Memory, Target, Verdict};

pub(super) const TARGET: Target = Target {
    name: "compression",
    reads: "compressed records",
    executions: 60_000,
    length_max: 8 << 10,
    memory: Memory {
        per_byte: 64,
        free: 24 << 20,
    },
    words: &[],
    seeds,
    repair: None,
    check,
};

const LIMITS: Limits = Limits {
    bytes_max: 128 << 10,
    ratio_max: 500,
    ratio_free_bytes: 16 << 10,
};

/// Bytes before the records of a batch.
const HEADER: usize = 61;

/// The first byte names the compression, the second how large the pieces are.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for batch in corpus::foreign_batches() {
        // Bits 0 to 2 of the attributes.
        let id = batch.get(22).map_or(0, |byte| byte & 7);
        seeds.push([&[id, 3][..], &batch[HEADER..]].concat());
    }
    for compression in Compression::ALL {
        for count in [0, 2, 60] {
            let plain = batches::built(Compression::None, count);
            let packed = compress(compression, &plain).expect("a few bytes can be packed");
            seeds.push([&[compression.id(), count][..], &packed].concat());
        }
        let packed = compress(compression, &[0; 12_000]).expect("zeros can be packed");
        if packed.len() < 4096 {
            seeds.push([&[compression.id(), 200][..], &packed].concat());
        }
    }
    // One of the foreign ones unpacks to more than the limits here.
    seeds.retain(|seed| check(seed) == Verdict::Accepted);
    seeds
}

fn check(input: &[u8]) -> Verdict {
    let [id, piece, packed @ ..] = input else {
        return Verdict::Refused;
    };
    let Some(compression) = Compression::from_id(*id) else {
        return Verdict::Refused;
    };
    // What anybody sends can be packed and comes back.
    let repacked = compress(compression, packed).expect("a few bytes can be packed");
    let unpacked = decompress(compression, &repacked.into(), &Limits::DEFAULT);
    assert_eq!(unpacked.as_deref(), Ok(packed), "{compression}");
    let whole = decompress(compression, &Bytes::copy_from_slice(packed), &LIMITS);
    let most = match compression {
        Compression::None => packed.len(),
        Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => {
            LIMITS.output_max(packed.len())
        }
    };
    let pieces = in_pieces(compression, packed, usize::from(*piece) * 16 + 1, most);
    match (&whole, &pieces) {
        (Ok(whole), Some(pieces)) => {
            assert!(whole.len() <= most, "{compression}: {}", whole.len());
            assert_eq!(whole, pieces, "{compression}");
            Verdict::Accepted
        }
        (Err(_), None) => Verdict::Refused,
        _ => panic!("{compression}: as a whole {whole:?}, in pieces {pieces:?}"),
    }
}

fn in_pieces(
    compression: Compression,
    packed: &[u8],
    piece: usize,
    most: usize,
) -> Option<Vec<u8>> {
    let mut stream = Decompressor::new(compression, packed, &LIMITS).ok()?;
    let mut buffer = vec![0; piece];
    let mut out = Vec::new();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Some(out),
            Ok(read) => {
                out.extend_from_slice(&buffer[..read]);
                assert!(out.len() <= most, "{compression}: {}", out.len());
            }
            Err(_) => {
                // After the first error it gives no more bytes.
                assert_eq!(stream.read(&mut buffer), Ok(0), "{compression}");
                return None;
            }
        }
    }
}
