//! A manifest: what one flush (or one group of trims) changed in one shard.
//!
//! ```text
//! body = format u8 | min_reader u8 | shard | lsn | epoch | incarnation u128 | flush_seq
//!      | prev (epoch, incarnation u128, flush_seq) | stamp | wal_end (0, or 1 + directory u128 + position)
//!      | data (0, or 1 + object seq + attempt + first byte of the shard's data)
//!      | topic ids[] u128 | entries[]
//! ```
//! The bytes are the same in the database and in the object's footer. The batches of the runs lie in the object in the
//! order of the entries, from the first data byte on, without gaps: position follows from order.

use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_metadata::store::{Incarnation, Lsn, ObjectId, ShardId, WalEnd};
use streamhouse_protocol::ids::{LeaderEpoch, Timestamp};

use super::bytes::{FormatError, Reader, Writer};
use super::entry::{Entry, TopicTable};

/// The format that this release writes. On disk: never reuse a number.
pub const MANIFEST_FORMAT: u8 = 1;

/// Names a flush of a shard: the chain that a rebuild from the bucket follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushId {
    /// The shard's epoch at the flush.
    pub epoch: i32,
    /// The broker incarnation that flushed.
    pub incarnation: u128,
    /// Counts the flushes of this shard in this epoch, from 1; 0 says that there was none.
    pub seq: u64,
}

/// Where the batches of a manifest's runs lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataStart {
    /// Number of the object within the incarnation.
    pub object_seq: u64,
    /// Which upload attempt of it.
    pub attempt: u32,
    /// The first byte of this shard's batches in it.
    pub first_byte: u64,
}

/// What changed in one shard, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The shard.
    pub shard: ShardId,
    /// Its number in the shard, without gaps.
    pub lsn: Lsn,
    /// The shard's epoch when it was made.
    pub epoch: LeaderEpoch,
    /// Who made it.
    pub incarnation: Incarnation,
    /// Its number among the flushes of this epoch.
    pub flush_seq: u64,
    /// The flush that it follows. With `local` durability that was committed before this one began; with `shared`
    /// durability it may have been on its way, and is committed before this one.
    pub prev: FlushId,
    /// The shard's clock behind the last entry.
    pub stamp: Timestamp,
    /// All WAL entries of the shard up to here are in this or an earlier manifest.
    pub wal_end: Option<WalEnd>,
    /// Where the batches lie; none if there are no runs.
    pub data: Option<DataStart>,
    /// The changes.
    pub entries: Vec<Entry>,
}

impl Manifest {
    /// This manifest's own link in the chain of flushes.
    #[must_use]
    pub fn flush_id(&self) -> FlushId {
        FlushId {
            epoch: self.epoch.0,
            incarnation: self.incarnation.0,
            seq: self.flush_seq,
        }
    }

    /// How many records its runs hold.
    #[must_use]
    pub fn records(&self) -> u64 {
        let records = self.entries.iter().map(|entry| match entry {
            Entry::Run(run) => run.records,
            Entry::Trim { .. } | Entry::DropPartition { .. } | Entry::EvictProducer { .. } => 0,
        });
        records.fold(0, u64::saturating_add)
    }

    /// The object that holds the batches.
    #[must_use]
    pub fn object(&self) -> Option<ObjectId> {
        self.data.map(|data| ObjectId {
            incarnation: self.incarnation.0,
            seq: data.object_seq,
            attempt: data.attempt,
        })
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128 + self.entries.len() * 64);
        out.put_u8(MANIFEST_FORMAT);
        out.put_u8(MANIFEST_FORMAT);
        out.put_varint(u64::from(self.shard.0));
        out.put_varint(self.lsn.0);
        out.put_signed(i64::from(self.epoch.0));
        out.put_u128_le(self.incarnation.0);
        out.put_varint(self.flush_seq);
        encode_flush_id(self.prev, &mut out);
        out.put_signed(self.stamp.0);
        match self.wal_end {
            None => out.put_u8(0),
            Some(end) => {
                out.put_u8(1);
                out.put_u128_le(end.dir);
                out.put_varint(end.position);
            }
        }
        match self.data {
            None => out.put_u8(0),
            Some(data) => {
                out.put_u8(1);
                out.put_varint(data.object_seq);
                out.put_varint(u64::from(data.attempt));
                out.put_varint(data.first_byte);
            }
        }
        let topics = TopicTable::of(self.entries.iter());
        topics.encode(&mut out);
        out.put_count(self.entries.len());
        for entry in &self.entries {
            entry.encode(&topics, &mut out);
        }
        out.freeze()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// If the bytes are damaged or come from a release that this one cannot read.
    pub fn decode(body: Bytes) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let _format = reader.u8("manifest format")?;
        let needed = reader.u8("manifest reader")?;
        if needed > MANIFEST_FORMAT {
            return Err(FormatError::Newer {
                what: "a manifest",
                needed,
                known: MANIFEST_FORMAT,
            });
        }
        let mut manifest = Self {
            shard: ShardId(reader.number("shard")?),
            lsn: Lsn(reader.varint("lsn")?),
            epoch: LeaderEpoch(reader.small("epoch")?),
            incarnation: Incarnation(reader.u128("incarnation")?),
            flush_seq: reader.varint("flush seq")?,
            prev: decode_flush_id(&mut reader)?,
            stamp: Timestamp(reader.signed("stamp")?),
            wal_end: None,
            data: None,
            entries: Vec::new(),
        };
        if flag(&mut reader, "wal end")? {
            let dir = reader.u128("wal directory")?;
            manifest.wal_end = Some(WalEnd {
                dir,
                position: reader.varint("wal position")?,
            });
        }
        if flag(&mut reader, "data start")? {
            manifest.data = Some(DataStart {
                object_seq: reader.varint("object seq")?,
                attempt: reader.number("object attempt")?,
                first_byte: reader.varint("first data byte")?,
            });
        }
        let topics = TopicTable::decode(&mut reader)?;
        for _ in 0..reader.count(3, "entries")? {
            manifest.entries.push(Entry::decode(&topics, &mut reader)?);
        }
        reader.finish()?;
        Ok(manifest)
    }
}

fn flag(reader: &mut Reader, what: &'static str) -> Result<bool, FormatError> {
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FormatError::Value(what)),
    }
}

pub(crate) fn encode_flush_id(id: FlushId, out: &mut BytesMut) {
    out.put_signed(i64::from(id.epoch));
    out.put_u128_le(id.incarnation);
    out.put_varint(id.seq);
}

pub(crate) fn decode_flush_id(reader: &mut Reader) -> Result<FlushId, FormatError> {
    Ok(FlushId {
        epoch: reader.small("flush epoch")?,
        incarnation: reader.u128("flush incarnation")?,
        seq: reader.varint("flush seq")?,
    })
}
