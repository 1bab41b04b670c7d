//! Walks a request body along its shape and stops at the first thing that is not as it should be.

use super::Problem;
use super::reader::Reader;
use super::shape::{Field, Kind, Shape};

/// What a decoded request may take in memory for each byte of its frame. Requests of real clients stay below 5; an
/// array of empty strings would take 32.
pub(crate) const REQUEST_BYTES_PER_WIRE_BYTE: usize = 8;
/// The same for responses: a partition of a Produce response is 14 bytes and becomes some 170.
pub(crate) const RESPONSE_BYTES_PER_WIRE_BYTE: usize = 16;
/// What a decoded request or response may take in memory whatever its size.
const DECODED_BYTES_FREE: usize = 1 << 20;
/// What the first unknown tagged field of a struct takes in memory: a node of a `BTreeMap`.
const UNKNOWN_TAGS_FIRST_BYTES: usize = 512;
/// What each further one takes; nodes are at least half full.
const UNKNOWN_TAGS_NEXT_BYTES: usize = 96;

/// Where and why a walk stopped. The path is built from the inside out, only once a frame is refused.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) problem: Problem,
    pub(crate) path: String,
}

impl Stop {
    fn inside(mut self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    fn at(self, index: usize) -> Self {
        self.inside(&format!("[{index}]"))
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            path: String::new(),
        }
    }
}

/// What becomes of bytes behind the last field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rest {
    Ignored,
    Refused,
}

/// One walk over one body.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    decoded_bytes: usize,
    decoded_bytes_max: usize,
}

/// Walks `body` along `shape` in `version`, to its last field. Decoding may take `decoded_per_wire_byte`.
pub(crate) fn walk(
    shape: &Shape,
    version: i16,
    body: &[u8],
    decoded_per_wire_byte: usize,
    rest: Rest,
) -> Result<(), Stop> {
    let mut walk = Walk {
        reader: Reader::new(body),
        version,
        flexible: shape.is_flexible(version),
        decoded_bytes: 0,
        decoded_bytes_max: body
            .len()
            .saturating_mul(decoded_per_wire_byte)
            .saturating_add(DECODED_BYTES_FREE),
    };
    walk.fields(shape.fields)?;
    match (rest, walk.reader.remaining()) {
        (Rest::Ignored, _) | (Rest::Refused, 0) => Ok(()),
        (Rest::Refused, length) => Err(Problem::Trailing { length }.into()),
    }
}

impl Walk<'_> {
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), Stop> {
        for field in fields {
            if field.tag().is_none() && field.versions.contains(self.version) {
                self.field(field).map_err(|stop| stop.inside(field.name))?;
            }
        }
        if self.flexible {
            self.tagged_fields(fields)?;
        }
        Ok(())
    }

    fn field(&mut self, field: &'static Field) -> Result<(), Stop> {
        let nullable = field.is_nullable(self.version);
        if let Kind::Struct(fields, _) = field.kind {
            if nullable && !self.is_present()? {
                return Ok(());
            }
            return self.fields(fields);
        }
        match self.value(&field.kind)? {
            Value::Null if !nullable => Err(Problem::Null.into()),
            Value::Null | Value::Present => Ok(()),
        }
    }

    /// The byte in front of a struct that may be null: 1, or -1 for null.
    fn is_present(&mut self) -> Result<bool, Problem> {
        match self.reader.u8()? {
            1 => Ok(true),
            0xff => Ok(false),
            presence => Err(Problem::Presence { presence }),
        }
    }

    fn value(&mut self, kind: &'static Kind) -> Result<Value, Stop> {
        match kind {
            Kind::Fixed(bytes) => {
                self.reader.take(*bytes)?;
            }
            Kind::Text => match self.reader.text_length(self.flexible)? {
                None => return Ok(Value::Null),
                Some(length) => {
                    let text = self.reader.take(length)?;
                    std::str::from_utf8(text).map_err(|_| Problem::NotUtf8)?;
                }
            },
            Kind::Bytes => match self.reader.length(self.flexible)? {
                None => return Ok(Value::Null),
                Some(length) => {
                    self.reader.take(length)?;
                }
            },
            Kind::Struct(fields, _) => self.fields(fields)?,
            Kind::List(element) => match self.reader.length(self.flexible)? {
                None => return Ok(Value::Null),
                Some(count) => self.elements(element, count)?,
            },
        }
        Ok(Value::Present)
    }

    fn elements(&mut self, element: &'static Kind, count: usize) -> Result<(), Stop> {
        let remaining = self.reader.remaining();
        // An element that could take no byte at all would leave the count unbounded.
        let each = element.wire_bytes_min(self.version, self.flexible).max(1);
        if count > remaining / each {
            return Err(Problem::CountTooLarge { count, remaining }.into());
        }
        self.charge(count.saturating_mul(element.decoded_bytes()))?;
        if let Kind::Fixed(bytes) = element {
            self.reader.take(count * bytes)?;
            return Ok(());
        }
        for index in 0..count {
            match self.value(element).map_err(|stop| stop.at(index))? {
                Value::Null => return Err(Stop::from(Problem::Null).at(index)),
                Value::Present => {}
            }
        }
        Ok(())
    }

    fn tagged_fields(&mut self, fields: &'static [Field]) -> Result<(), Stop> {
        let count = self
            .reader
            .varint()
            .map_err(|p| Stop::from(p).inside("tagged fields"))?;
        let mut unknown = 0usize;
        for _ in 0..count {
            // A count that lies runs into the end of the frame: each round takes at least two bytes.
            let tag = self
                .reader
                .varint()
                .map_err(|p| Stop::from(p).inside("tagged fields"))?;
            match fields.iter().find(|field| field.tag() == Some(tag)) {
                Some(field) => self.tagged_field(field).map_err(|s| s.inside(field.name))?,
                None => {
                    self.unknown_tagged_field(unknown == 0)
                        .map_err(|p| Stop::from(p).inside("tagged fields"))?;
                    unknown += 1;
                }
            }
        }
        Ok(())
    }

    /// A tagged field of the schema. Decoders go by its type and not by its size, so the two must agree.
    fn tagged_field(&mut self, field: &'static Field) -> Result<(), Stop> {
        if !field.versions.contains(self.version) {
            return Err(Problem::TagOfAnotherVersion.into());
        }
        let length = self.tagged_length()?;
        let end = self.reader.narrow(length)?;
        self.field(field)?;
        match self.reader.remaining() {
            0 => {
                self.reader.widen(end);
                Ok(())
            }
            length => Err(Problem::Trailing { length }.into()),
        }
    }

    fn unknown_tagged_field(&mut self, is_first: bool) -> Result<(), Problem> {
        let length = self.tagged_length()?;
        self.reader.take(length)?;
        self.charge(if is_first {
            UNKNOWN_TAGS_FIRST_BYTES
        } else {
            UNKNOWN_TAGS_NEXT_BYTES
        })
    }

    fn tagged_length(&mut self) -> Result<usize, Problem> {
        Ok(usize::try_from(self.reader.varint()?).expect("32 bits fit in a usize"))
    }

    /// Counts what decoding will allocate.
    fn charge(&mut self, bytes: usize) -> Result<(), Problem> {
        self.decoded_bytes = self.decoded_bytes.saturating_add(bytes);
        if self.decoded_bytes > self.decoded_bytes_max {
            let limit = self.decoded_bytes_max;
            return Err(Problem::DecodedTooLarge {
                decoded: self.decoded_bytes,
                limit,
            });
        }
        Ok(())
    }
}

enum Value {
    Null,
    Present,
}
