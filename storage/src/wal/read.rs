//! Reading records back while their file is kept.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::format::{FILE_HEADER_BYTES, RECORD_HEADER_LEN, RecordHeader};
use super::io::read_full_at;
use super::shared::Pin;
use super::{WalLocation, WalReadError};

/// Records that lie one behind the other are read at once, up to this many bytes.
const SPAN_BYTES_MAX: u64 = 1 << 20;

/// How many of `locations`, from the first on, lie one behind the other and fit one read. Whether they lie in one file is
/// for the caller to say.
pub(super) fn span_len(locations: &[WalLocation]) -> usize {
    let Some(first) = locations.first() else {
        return 0;
    };
    let follows = locations.windows(2).take_while(|pair| {
        pair[0].end() == pair[1].position
            && pair[1].end().0.saturating_sub(first.position.0) <= SPAN_BYTES_MAX
    });
    1 + follows.count()
}

/// Reads the records at `span`, which lie one behind the other in the pinned file, and checks salt, position, length and
/// CRC of each. Adds their payloads to `out`.
pub(super) fn read_pinned(
    pin: &Pin,
    span: &[WalLocation],
    out: &mut Vec<Bytes>,
) -> Result<(), WalReadError> {
    let (Some(first), Some(last)) = (span.first(), span.last()) else {
        return Ok(());
    };
    let corrupt = || WalReadError::Corrupt(first.position);
    let live = pin.file();
    let start = first.position.0;
    let offset = start.checked_sub(live.base.0).ok_or_else(corrupt)? + FILE_HEADER_BYTES;
    let len = last.end().0.checked_sub(start).ok_or_else(corrupt)?;
    if len > pin.file_bytes() {
        return Err(corrupt());
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| corrupt())?];
    let filled = read_full_at(live.file.as_ref(), offset, &mut bytes).map_err(|source| {
        WalReadError::Io {
            position: first.position,
            source: Arc::new(source),
        }
    })?;
    let bytes = Bytes::from(bytes).slice(..filled);
    for location in span {
        out.push(payload(&bytes, start, *location, live.salt)?);
    }
    Ok(())
}

/// The payload of the record at `location` in `bytes`, which begin at the position `start`.
fn payload(
    bytes: &Bytes,
    start: u64,
    location: WalLocation,
    salt: u64,
) -> Result<Bytes, WalReadError> {
    let corrupt = || WalReadError::Corrupt(location.position);
    let place = |position: u64| usize::try_from(position.saturating_sub(start));
    let from = place(location.position.0).map_err(|_| corrupt())?;
    let to = place(location.end().0).map_err(|_| corrupt())?;
    let record = bytes.get(from..to).ok_or_else(corrupt)?;
    let header = RecordHeader::decode(record).ok_or_else(corrupt)?;
    let is_ours = header.salt == salt
        && header.position == location.position.0
        && header.payload_len == location.len
        && RecordHeader::is_sound(record);
    if !is_ours {
        return Err(corrupt());
    }
    let from = from + RECORD_HEADER_LEN;
    Ok(bytes.slice(from..from + location.len as usize))
}

/// Reads one record from the pinned file.
pub(super) fn read_one(pin: &Pin, location: WalLocation) -> Result<Bytes, WalReadError> {
    let mut out = Vec::with_capacity(1);
    read_pinned(pin, &[location], &mut out)?;
    out.pop().ok_or(WalReadError::Corrupt(location.position))
}

/// What a read says whose task was stopped with the runtime.
pub(super) fn stopped(location: WalLocation) -> WalReadError {
    let source = Arc::new(io::Error::from(io::ErrorKind::Interrupted));
    WalReadError::Io {
        position: location.position,
        source,
    }
}
