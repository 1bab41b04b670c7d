//! The section of one shard in an object's footer: enough to rebuild the shard from the bucket alone.
//!
//! ```text
//! section = format u8 | timeline u32 | revision u64 | tag u64 | coordination seq u64
//!         | earlier bodies[] (counted) | own body (counted)
//! ```
//! The earlier bodies are the manifests without an object (trims) that the shard committed since the flush named by the
//! own body's `prev`. Timeline, revision, tag and sequence are what the writer last saw of the database.

use bytes::{BufMut, Bytes, BytesMut};

use super::bytes::{FormatError, Reader, Writer};

const SECTION_FORMAT: u8 = 1;

/// What the writer last saw of the database: a rebuilt or restored one can be told from a regressed one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastSeen {
    /// The server's timeline; 0 with the embedded store.
    pub timeline: u32,
    /// The newest cluster revision.
    pub revision: u64,
    /// The random tag of that revision.
    pub tag: u64,
    /// The coordination sequence of the shard.
    pub coordination_seq: u64,
}

/// One shard's section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The writer's view of the database.
    pub last_seen: LastSeen,
    /// Bodies of manifests without an object since the previous section, oldest first.
    pub earlier: Vec<Bytes>,
    /// The manifest of this flush.
    pub body: Bytes,
}

impl Section {
    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let bodies: usize = self.earlier.iter().map(Bytes::len).sum();
        let mut out = BytesMut::with_capacity(64 + bodies + self.body.len());
        out.put_u8(SECTION_FORMAT);
        out.put_u32_le(self.last_seen.timeline);
        out.put_u64_le(self.last_seen.revision);
        out.put_u64_le(self.last_seen.tag);
        out.put_u64_le(self.last_seen.coordination_seq);
        out.put_count(self.earlier.len());
        for body in &self.earlier {
            out.put_counted(body);
        }
        out.put_counted(&self.body);
        out.freeze()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// If the bytes are damaged or newer than this release.
    pub fn decode(bytes: Bytes) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8("section format")?;
        if format > SECTION_FORMAT {
            return Err(FormatError::Newer {
                what: "a section",
                needed: format,
                known: SECTION_FORMAT,
            });
        }
        let last_seen = LastSeen {
            timeline: reader.u32("timeline")?,
            revision: reader.u64("revision")?,
            tag: reader.u64("tag")?,
            coordination_seq: reader.u64("coordination seq")?,
        };
        let count = reader.count(1, "earlier bodies")?;
        let earlier = (0..count)
            .map(|_| reader.bytes("earlier body"))
            .collect::<Result<_, _>>()?;
        let body = reader.bytes("body")?;
        reader.finish()?;
        Ok(Self {
            last_seen,
            earlier,
            body,
        })
    }
}
