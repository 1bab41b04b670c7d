//! Length bombs: every length and count of every request in every version lies once, and what decoding the frame takes
//! is counted by the allocator. A decoder that believed one of them would end the process.

use allocation_counter::measure;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind};

use super::compose::{Encoding, Length, varint};
use super::{bombs, decodable};
use crate::guard::shape::{Field, Kind, Shape};
use crate::request::{DecodeError, decode};

/// What a frame may take in memory beside twice its size, in bytes.
const FREE_BYTES: usize = 1 << 20;

/// Lengths of text and bytes: frames of some hundred bytes, and of many kilobytes.
const FILLINGS: [Filling; 2] = [
    Filling { text: 1, bytes: 3 },
    Filling {
        text: 200,
        bytes: 20_000,
    },
];

#[derive(Clone, Copy, Debug)]
struct Filling {
    text: usize,
    bytes: usize,
}

/// A body in which nothing is left out: one element in every array, every tagged field, nothing null.
#[derive(Debug)]
struct Full {
    version: i16,
    flexible: bool,
    filling: Filling,
    body: Vec<u8>,
    lengths: Vec<Length>,
}

impl Full {
    fn new(shape: &Shape, version: i16, filling: Filling) -> Self {
        let mut full = Self {
            version,
            flexible: shape.is_flexible(version),
            filling,
            body: Vec::new(),
            lengths: Vec::new(),
        };
        full.fields(shape.fields);
        full
    }

    fn fields(&mut self, fields: &'static [Field]) {
        let version = self.version;
        let here = |field: &&Field| field.versions.contains(version);
        let (mut tagged, plain): (Vec<_>, Vec<_>) = fields
            .iter()
            .filter(here)
            .partition(|field| field.tag().is_some());
        for field in plain {
            self.field(field);
        }
        if !self.flexible {
            return;
        }
        tagged.sort_by_key(|field| field.tag());
        self.body
            .extend(varint(u32::try_from(tagged.len()).unwrap()));
        for field in tagged {
            let mut value = Self {
                body: Vec::new(),
                lengths: Vec::new(),
                ..*self
            };
            value.field(field);
            self.body.extend(varint(field.tag().unwrap()));
            self.length(Encoding::Varint, value.body.len());
            let base = self.body.len();
            self.body.extend(value.body);
            let moved = value.lengths.into_iter().map(|length| Length {
                at: base + length.at,
                ..length
            });
            self.lengths.extend(moved);
        }
    }

    fn field(&mut self, field: &'static Field) {
        if matches!(field.kind, Kind::Struct(..)) && field.is_nullable(self.version) {
            self.body.push(1);
        }
        self.value(&field.kind);
    }

    fn value(&mut self, kind: &'static Kind) {
        let plus = usize::from(self.flexible);
        let wide = self.encoding(Encoding::I32);
        match kind {
            Kind::Fixed(bytes) => {
                self.body.extend(vec![0; bytes - 1]);
                self.body.push(1);
            }
            Kind::Text => {
                self.length(self.encoding(Encoding::I16), self.filling.text + plus);
                self.body.extend(vec![b'a'; self.filling.text]);
            }
            Kind::Bytes => {
                self.length(wide, self.filling.bytes + plus);
                self.body.extend(vec![0xaa; self.filling.bytes]);
            }
            Kind::Struct(fields, _) => self.fields(fields),
            Kind::List(element) => {
                self.length(wide, 1 + plus);
                self.value(element);
            }
        }
    }

    const fn encoding(&self, classic: Encoding) -> Encoding {
        if self.flexible {
            Encoding::Varint
        } else {
            classic
        }
    }

    fn length(&mut self, encoding: Encoding, length: usize) {
        let length = u32::try_from(length).unwrap();
        let bytes = match encoding {
            Encoding::I16 => u16::try_from(length).unwrap().to_be_bytes().to_vec(),
            Encoding::I32 => length.to_be_bytes().to_vec(),
            Encoding::Varint => varint(length),
        };
        self.lengths.push(Length {
            at: self.body.len(),
            bytes: bytes.len(),
            encoding,
        });
        self.body.extend(bytes);
    }
}

/// How many lengths the fields of a version have by the table, one element in every array.
fn lengths_of(fields: &'static [Field], version: i16) -> usize {
    fn of(kind: &'static Kind, version: i16) -> usize {
        match kind {
            Kind::Fixed(_) => 0,
            Kind::Text | Kind::Bytes => 1,
            Kind::Struct(fields, _) => lengths_of(fields, version),
            Kind::List(element) => 1 + of(element, version),
        }
    }
    let here = fields
        .iter()
        .filter(|field| field.versions.contains(version));
    here.map(|field| usize::from(field.tag().is_some()) + of(&field.kind, version))
        .sum()
}

/// A frame without its size prefix.
fn frame(key: ApiKey, version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i16(key as i16);
    frame.put_i16(version);
    frame.put_i32(1);
    match key.request_header_version(version) {
        0 => {}
        1 => frame.put_i16(-1),
        _ => {
            frame.put_i16(-1);
            frame.put_u8(0);
        }
    }
    frame.extend_from_slice(body);
    frame.freeze()
}

/// What `work` takes at its peak beside the frame, in bytes.
fn peak(mut work: impl FnMut()) -> usize {
    usize::try_from(measure(&mut work).bytes_max).unwrap()
}

#[test]
fn every_length_of_every_request_may_lie_and_costs_no_memory() {
    let mut thrown = 0;
    for (key, version, shape) in decodable() {
        for filling in FILLINGS {
            let full = Full::new(shape, version, filling);
            assert_eq!(
                full.lengths.len(),
                lengths_of(shape.fields, version),
                "{key:?} v{version}"
            );
            let sound = decode(frame(key, version, &full.body));
            assert!(sound.is_ok(), "{key:?} v{version}: {:?}", sound.err());
            for length in &full.lengths {
                for body in bombs(&full.body, length) {
                    let frame = frame(key, version, &body);
                    let frame_bytes = frame.len();
                    let mut decoded = None;
                    let peak = peak(|| decoded = Some(decode(frame.clone())));
                    let what = || format!("{key:?} v{version} {length:?} of {frame_bytes} bytes");
                    assert!(
                        matches!(decoded, Some(Err(DecodeError::Malformed(_)))),
                        "{}: {decoded:?}",
                        what()
                    );
                    let most = 2 * frame_bytes + FREE_BYTES;
                    assert!(frame_bytes + peak <= most, "{}: {peak}", what());
                    thrown += 1;
                }
            }
        }
    }
    assert!(
        thrown > 5_000,
        "only {thrown} bombs: the test shows nothing"
    );
}

/// The same count must be found to cost too much where the guard does not look first.
#[test]
fn without_the_guard_a_count_that_lies_is_seen_in_the_memory() {
    // Metadata v1: an array of so many topics, and no topic.
    let body = Bytes::copy_from_slice(&200_000_u32.to_be_bytes());
    let peak = peak(|| {
        let decoded = RequestKind::decode(ApiKey::Metadata, &mut body.clone(), 1);
        assert!(decoded.is_err());
    });
    assert!(peak > 2 * body.len() + FREE_BYTES, "{peak}");
}
