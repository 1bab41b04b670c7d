//! Composes random request bodies from shapes, and remembers where every length stands.

use crate::guard::shape::{Field, Kind, NEVER, Shape};

/// A length or count in a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    /// Where it begins.
    pub(super) at: usize,
    /// How many bytes it takes.
    pub(super) bytes: usize,
    pub(super) encoding: Encoding,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Encoding {
    I16,
    I32,
    Varint,
}

/// A body and its lengths.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) body: Vec<u8>,
    pub(super) lengths: Vec<Length>,
}

/// Composes one body.
#[derive(Debug)]
pub(super) struct Compose {
    version: i16,
    flexible: bool,
    nulls: Nulls,
    chance: u64,
    composed: Composed,
}

/// Where null may be composed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Nulls {
    /// Where the shape allows it.
    Legal,
    /// There, and in every text, array and bytes that are null in no version.
    Anywhere,
}

/// An unsigned varint.
pub(super) fn varint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

impl Compose {
    /// The body that `seed` stands for.
    pub(super) fn new(shape: &Shape, version: i16, nulls: Nulls, seed: u64) -> Self {
        let chance = (seed << 32) + ((shape.key as u64) << 16) + version as u64 + 1;
        let mut compose = Self {
            version,
            flexible: shape.is_flexible(version),
            nulls,
            chance: chance.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            composed: Composed {
                body: Vec::new(),
                lengths: Vec::new(),
            },
        };
        compose.fields(shape.fields);
        compose
    }

    pub(super) fn finish(self) -> Composed {
        self.composed
    }

    /// Changes one to four bytes.
    pub(super) fn bend(&mut self) {
        for _ in 0..=self.below(4) {
            let length = self.composed.body.len() as u64;
            if length == 0 {
                return;
            }
            let at = self.below(length) as usize;
            let body = &self.composed.body;
            let byte = [
                0,
                1,
                2,
                0x7f,
                0x80,
                0xff,
                body[at] ^ 1,
                body[at].wrapping_add(1),
            ];
            self.composed.body[at] = byte[self.below(8) as usize];
        }
    }

    /// A number below `bound` (xorshift).
    fn below(&mut self, bound: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) % bound
    }

    fn fields(&mut self, fields: &'static [Field]) {
        let here = |field: &&Field| field.versions.contains(self.version);
        let (tagged, plain): (Vec<_>, Vec<_>) = fields
            .iter()
            .filter(here)
            .partition(|field| field.tag().is_some());
        for field in plain {
            self.field(field);
        }
        if self.flexible {
            self.tagged_fields(tagged);
        }
    }

    /// Some of the known tagged fields, with values that are surely not their defaults, or an unknown one.
    fn tagged_fields(&mut self, mut known: Vec<&'static Field>) {
        known.retain(|field| !matches!(field.kind, Kind::Struct(..)) && self.below(2) == 0);
        known.sort_by_key(|field| field.tag());
        let unknown = self.below(4) == 0;
        self.composed
            .body
            .extend(varint(known.len() as u32 + u32::from(unknown)));
        for field in known {
            let mut value = Self {
                chance: self.below(u64::MAX) | 1,
                composed: Composed {
                    body: Vec::new(),
                    lengths: Vec::new(),
                },
                ..*self
            };
            value.value(&field.kind, true);
            let Composed { body, lengths } = value.composed;
            self.composed.body.extend(varint(field.tag().unwrap()));
            self.length(Encoding::Varint, body.len());
            let base = self.composed.body.len();
            self.composed.body.extend(body);
            let moved = lengths.into_iter().map(|length| Length {
                at: base + length.at,
                ..length
            });
            self.composed.lengths.extend(moved);
        }
        if unknown {
            self.composed.body.extend(varint(1000));
            self.length(Encoding::Varint, 2);
            self.composed.body.extend([5, 6]);
        }
    }

    fn field(&mut self, field: &'static Field) {
        // Where another version allows null, the decoder takes it in every version; Kafka does not.
        let is_never_null =
            !field.is_nullable(NEVER - 1) && !matches!(field.kind, Kind::Struct(..));
        let is_reckless = self.nulls == Nulls::Anywhere && is_never_null;
        let is_null = (field.is_nullable(self.version) || is_reckless) && self.below(4) == 0;
        match (&field.kind, is_null) {
            (Kind::Struct(..), true) => self.composed.body.push(0xff),
            (Kind::Struct(..), false) => {
                if field.is_nullable(self.version) {
                    self.composed.body.push(1);
                }
                self.value(&field.kind, false);
            }
            (Kind::Text, true) => self.null(2),
            (Kind::Bytes | Kind::List(_), true) => self.null(4),
            (Kind::Fixed(_) | Kind::Text | Kind::Bytes | Kind::List(_), _) => {
                self.value(&field.kind, false);
            }
        }
    }

    fn null(&mut self, classic: usize) {
        let null = if self.flexible {
            vec![0]
        } else {
            vec![0xff; classic]
        };
        self.composed.body.extend(null);
    }

    /// A value; one that is neither empty nor zero if `is_set`.
    fn value(&mut self, kind: &'static Kind, is_set: bool) {
        match kind {
            Kind::Fixed(bytes) => {
                // Ones are legal for booleans too, which the decoder would otherwise normalise.
                let bit = u8::from(is_set || self.below(2) == 0);
                self.composed.body.extend(vec![0; bytes - 1]);
                self.composed.body.push(bit);
            }
            Kind::Text => {
                let count = usize::from(is_set) + self.below(4) as usize;
                let encoding = if self.flexible {
                    Encoding::Varint
                } else {
                    Encoding::I16
                };
                self.length(encoding, count + usize::from(self.flexible));
                self.composed.body.extend(vec![b'a'; count]);
            }
            Kind::Bytes => {
                let count = self.count(is_set);
                self.composed.body.extend(vec![0xaa; count]);
            }
            Kind::Struct(fields, _) => self.fields(fields),
            Kind::List(element) => {
                for _ in 0..self.count(is_set) {
                    self.value(element, false);
                }
            }
        }
    }

    fn count(&mut self, is_set: bool) -> usize {
        let count = usize::from(is_set) + self.below(3) as usize;
        let encoding = if self.flexible {
            Encoding::Varint
        } else {
            Encoding::I32
        };
        self.length(encoding, count + usize::from(self.flexible));
        count
    }

    fn length(&mut self, encoding: Encoding, length: usize) {
        let at = self.composed.body.len();
        let bytes = match encoding {
            Encoding::I16 => (length as i16).to_be_bytes().to_vec(),
            Encoding::I32 => (length as i32).to_be_bytes().to_vec(),
            Encoding::Varint => varint(length as u32),
        };
        self.composed.lengths.push(Length {
            at,
            bytes: bytes.len(),
            encoding,
        });
        self.composed.body.extend(bytes);
    }
}
