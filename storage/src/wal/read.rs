//! Reading a record back while its file is kept.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::format::{FILE_HEADER_BYTES, RECORD_HEADER_LEN, RecordHeader, record_bytes};
use super::io::read_full_at;
use super::shared::Pin;
use super::{WalLocation, WalReadError};

/// Reads the record at `location` from the pinned file and checks salt, position, length and CRC.
pub(super) fn read_pinned(pin: &Pin, location: WalLocation) -> Result<Bytes, WalReadError> {
    let position = location.position;
    let corrupt = || WalReadError::Corrupt(position);
    let live = pin.file();
    let offset = position.0.checked_sub(live.base.0).ok_or_else(corrupt)? + FILE_HEADER_BYTES;
    if record_bytes(location.len) > pin.file_bytes() {
        return Err(corrupt());
    }
    let len = usize::try_from(record_bytes(location.len)).map_err(|_| corrupt())?;
    let mut record = vec![0; len];
    let filled = read_full_at(live.file.as_ref(), offset, &mut record).map_err(|source| {
        WalReadError::Io {
            position,
            source: Arc::new(source),
        }
    })?;
    let header = RecordHeader::decode(&record[..filled]).ok_or_else(corrupt)?;
    let is_ours = header.salt == live.salt
        && header.position == position.0
        && header.payload_len == location.len
        && filled == len
        && RecordHeader::is_sound(&record);
    if !is_ours {
        return Err(corrupt());
    }
    let payload_len = usize::try_from(location.len).map_err(|_| corrupt())?;
    Ok(Bytes::from(record).slice(RECORD_HEADER_LEN..RECORD_HEADER_LEN + payload_len))
}

/// What a read says whose task was stopped with the runtime.
pub(super) fn stopped(location: WalLocation) -> WalReadError {
    let source = Arc::new(io::Error::from(io::ErrorKind::Interrupted));
    WalReadError::Io {
        position: location.position,
        source,
    }
}
