//! How records look on the input and output of the console tools: fields that are parted by bytes which no scenario uses in
//! its data, a word for null, and a byte for line ends inside a record.

use anyhow::{Context, Result, bail, ensure};

use super::group_process::Line;
use crate::operation::{Bytes, Header, Record, StampedBy};

/// Stands for a line end inside a record.
pub(super) const LINE_END: u8 = 1;

/// Between the fields of a record.
const FIELD_END: char = '\u{1f}';

/// After a record, where line ends may lie inside.
pub(super) const RECORD_END: char = '\u{1e}';

/// Null, where empty is something else.
const NULL: &str = "\u{2}null";

/// How the console producer reads the lines of `line`.
pub(super) fn reader_properties(has_headers: bool) -> Vec<String> {
    let properties = [
        "parse.key=true".to_owned(),
        format!("parse.headers={has_headers}"),
        format!("key.separator={FIELD_END}"),
        format!("headers.delimiter={FIELD_END}"),
        format!("null.marker={NULL}"),
    ];
    properties
        .into_iter()
        .flat_map(|property| ["--reader-property".to_owned(), property])
        .collect()
}

/// How the console consumer writes what `records` and `member_line` read.
pub(super) fn formatter_properties(record_end: char) -> Vec<String> {
    let mut properties: Vec<String> = [
        "timestamp",
        "partition",
        "offset",
        "headers",
        "key",
        "value",
    ]
    .iter()
    .map(|field| format!("print.{field}=true"))
    .collect();
    properties.push(format!("key.separator={FIELD_END}"));
    properties.push(format!("line.separator={record_end}"));
    properties.push(format!("null.literal={NULL}"));
    properties
        .into_iter()
        .flat_map(|property| ["--formatter-property".to_owned(), property])
        .collect()
}

/// A record as a line of the console producer's input. Its partition is left to the client's partitioner.
pub(super) fn line(record: &Record, has_headers: bool) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    if has_headers {
        let mut headers = Vec::new();
        for header in &record.headers {
            headers.push([header.name.as_bytes(), b":", field(header.value.as_ref())?].concat());
        }
        if headers.is_empty() {
            headers.push(NULL.as_bytes().to_vec());
        }
        line.extend(headers.join(&b","[..]));
        line.push(u8::try_from(FIELD_END)?);
    }
    line.extend_from_slice(field(record.key.as_ref())?);
    line.push(u8::try_from(FIELD_END)?);
    line.extend_from_slice(field(record.value.as_ref())?);
    line.push(b'\n');
    Ok(line)
}

fn field(bytes: Option<&Bytes>) -> Result<&[u8]> {
    let Some(Bytes(bytes)) = bytes else {
        return Ok(NULL.as_bytes());
    };
    ensure!(
        !bytes.iter().any(|byte| *byte < b' '),
        "a control byte in a field"
    );
    Ok(bytes)
}

/// Reads what the console consumer wrote.
pub(super) fn records(output: &[u8]) -> Result<Vec<Record>> {
    let output = std::str::from_utf8(output)?;
    output.split_terminator(RECORD_END).map(record).collect()
}

/// A line of a console consumer in a group.
pub(super) fn member_line(line: &str) -> Line {
    record(line).map_or(Line::Other, Line::Record)
}

fn record(text: &str) -> Result<Record> {
    let fields: Vec<&str> = text.split(FIELD_END).collect();
    let [timestamp, partition, offset, headers, key, value] = fields[..] else {
        bail!("the console consumer writes {text:?}")
    };
    let (kind, time) = timestamp.split_once(':').context("a kind of timestamp")?;
    let stamped_by = match kind {
        "CreateTime" => StampedBy::Producer,
        "LogAppendTime" => StampedBy::Broker,
        _ => bail!("a timestamp is {timestamp}"),
    };
    let headers = if headers == "NO_HEADERS" { "" } else { headers };
    Ok(Record {
        partition: Some(partition.trim_start_matches("Partition:").parse()?),
        offset: Some(offset.trim_start_matches("Offset:").parse()?),
        timestamp: Some(time.parse()?),
        stamped_by: Some(stamped_by),
        key: bytes(key),
        value: bytes(value),
        headers: headers.split(',').filter_map(header).collect(),
    })
}

fn header(text: &str) -> Option<Header> {
    let (name, value) = text.split_once(':')?;
    Some(Header {
        name: name.to_owned(),
        value: bytes(value),
    })
}

fn bytes(text: &str) -> Option<Bytes> {
    (text != NULL).then(|| Bytes(text.into()))
}
