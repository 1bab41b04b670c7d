//! What a request looks like on the wire: the vocabulary in which the generated table is written.

/// The versions of one request: its name, its fields and where it became flexible.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The API key.
    pub(crate) key: i16,
    /// Kafka's name of the API, without `Request`.
    pub(crate) name: &'static str,
    /// The versions that Kafka's schema describes.
    pub(crate) versions: Span,
    /// The first version with compact lengths and tagged fields; [`NEVER`] if there is none.
    pub(crate) flexible: i16,
    /// The fields in wire order; tagged ones stand among them.
    pub(crate) fields: &'static [Field],
}

impl Shape {
    /// Whether `version` uses compact lengths and tagged fields.
    pub(crate) const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }
}

/// No version at all, as a lower bound.
pub(crate) const NEVER: i16 = i16::MAX;
/// Every later version, as an upper bound.
pub(crate) const ON: i16 = i16::MAX;

/// Versions from the first to the last, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The first version.
    pub(crate) first: i16,
    /// The last version.
    pub(crate) last: i16,
}

impl Span {
    /// From `first` to `last`, both included.
    pub(crate) const fn new(first: i16, last: i16) -> Self {
        Self { first, last }
    }

    /// Whether `version` is one of them.
    pub(crate) const fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

/// One field of a request or of a struct in it.
#[derive(Debug)]
pub(crate) struct Field {
    /// The name as in the protocol's documentation.
    pub(crate) name: &'static str,
    /// The versions that have the field.
    pub(crate) versions: Span,
    /// What its bytes are.
    pub(crate) kind: Kind,
    nullable: i16,
    tag: Option<u32>,
}

/// What the bytes of a field are.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A number, a boolean or a UUID of so many bytes.
    Fixed(usize),
    /// UTF-8 text with a length in front.
    Text,
    /// Bytes with a length in front; record batches too.
    Bytes,
    /// A struct: its fields, and an upper bound of what one costs in memory when decoded, in bytes, without what
    /// its arrays hold.
    Struct(&'static [Field], usize),
    /// An array with a count in front.
    List(&'static Kind),
}

/// A field that versions `first` to `last` have.
pub(crate) const fn field(name: &'static str, first: i16, last: i16, kind: Kind) -> Field {
    Field {
        name,
        versions: Span::new(first, last),
        kind,
        nullable: NEVER,
        tag: None,
    }
}

impl Field {
    /// The field may be null from version `first` on.
    pub(crate) const fn nullable(mut self, first: i16) -> Self {
        self.nullable = first;
        self
    }

    /// The field is sent as tagged field number `tag`, in every version that has it.
    pub(crate) const fn tagged(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    /// Whether null is legal in `version`.
    pub(crate) const fn is_nullable(&self, version: i16) -> bool {
        version >= self.nullable
    }

    /// The number of a tagged field.
    pub(crate) const fn tag(&self) -> Option<u32> {
        self.tag
    }

    /// The least bytes this field takes in `version`. A tagged field may be left out.
    fn wire_bytes_min(&self, version: i16, flexible: bool) -> usize {
        if self.tag.is_some() || !self.versions.contains(version) {
            0
        } else if self.is_nullable(version) && matches!(self.kind, Kind::Struct(..)) {
            1
        } else {
            self.kind.wire_bytes_min(version, flexible)
        }
    }
}

impl Kind {
    /// The least bytes a value takes on the wire.
    pub(crate) fn wire_bytes_min(&self, version: i16, flexible: bool) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Text => {
                if flexible {
                    1
                } else {
                    2
                }
            }
            Self::Bytes | Self::List(_) => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Self::Struct(fields, _) => {
                let own: usize = fields
                    .iter()
                    .map(|f| f.wire_bytes_min(version, flexible))
                    .sum();
                own + usize::from(flexible)
            }
        }
    }

    /// The most bytes a value takes in memory as an element of a decoded array, without what it points to: decoded
    /// text and bytes share the frame.
    pub(crate) const fn decoded_bytes(&self) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Text | Self::Bytes => 32,
            Self::List(_) => 24,
            Self::Struct(_, bytes) => *bytes,
        }
    }
}
