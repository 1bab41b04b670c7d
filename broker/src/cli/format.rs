//! How a record is shown: a format in the manner of kcat, or JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use streamhouse_protocol::record::Record;

/// What a format may hold, for `--help`.
pub(super) const TOKENS: &str = "\
Format tokens:
  %t  topic             %k  key                 %T  timestamp in milliseconds
  %p  partition         %K  length of the key, -1 for null
  %o  offset            %v  value (also %s)     %h  headers as name=value,name=value
  %%  a percent sign    %S  length of the value, -1 for null
  %R  length of the value in four bytes, big-endian
  \\n \\r \\t \\0 \\\\ \\xHH  line feed, return, tab, zero byte, backslash, any byte";

/// A format, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pieces: Vec<Piece>,
    null: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    KeyLength,
    Value,
    ValueLength,
    ValueLengthBytes,
    Headers,
    Timestamp,
}

impl Format {
    /// Reads a format. Null keys and values are shown as `null`.
    pub(super) fn parse(text: &str, null: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let piece = match letter {
                '%' => token(letters.next())?,
                '\\' => Piece::Text(vec![escape(&mut letters)?]),
                other => Piece::Text(other.to_string().into_bytes()),
            };
            match piece {
                Piece::Text(bytes) => literal.extend(bytes),
                token @ (Piece::Topic
                | Piece::Partition
                | Piece::Offset
                | Piece::Key
                | Piece::KeyLength
                | Piece::Value
                | Piece::ValueLength
                | Piece::ValueLengthBytes
                | Piece::Headers
                | Piece::Timestamp) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(token);
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self {
            pieces,
            null: null.as_bytes().to_vec(),
        })
    }

    /// Appends a record to `out`.
    pub(super) fn write(
        &self,
        topic: &str,
        partition: i32,
        record: &Record<'_>,
        out: &mut Vec<u8>,
    ) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(bytes) => out.extend_from_slice(bytes),
                Piece::Topic => out.extend_from_slice(topic.as_bytes()),
                Piece::Partition => number(out, i64::from(partition)),
                Piece::Offset => number(out, record.offset),
                Piece::Key => out.extend_from_slice(record.key.unwrap_or(&self.null)),
                Piece::KeyLength => number(out, length(record.key)),
                Piece::Value => out.extend_from_slice(record.value.unwrap_or(&self.null)),
                Piece::ValueLength => number(out, length(record.value)),
                Piece::ValueLengthBytes => {
                    let length = i32::try_from(length(record.value)).unwrap_or(i32::MAX);
                    out.extend_from_slice(&length.to_be_bytes());
                }
                Piece::Headers => self.headers(record, out),
                Piece::Timestamp => number(out, record.timestamp.0),
            }
        }
    }

    fn headers(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        for (index, header) in record.headers.clone().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(header.key);
            out.push(b'=');
            out.extend_from_slice(header.value.unwrap_or(&self.null));
        }
    }
}

fn token(letter: Option<char>) -> Result<Piece, String> {
    Ok(match letter {
        Some('t') => Piece::Topic,
        Some('p') => Piece::Partition,
        Some('o') => Piece::Offset,
        Some('k') => Piece::Key,
        Some('K') => Piece::KeyLength,
        Some('v' | 's') => Piece::Value,
        Some('S') => Piece::ValueLength,
        Some('R') => Piece::ValueLengthBytes,
        Some('h') => Piece::Headers,
        Some('T') => Piece::Timestamp,
        Some('%') => Piece::Text(b"%".to_vec()),
        Some(other) => {
            return Err(format!(
                "%{other} is no token; see --help, and write %% for a percent sign"
            ));
        }
        None => return Err("the format ends after a percent sign; write %% for one".to_owned()),
    })
}

fn escape(letters: &mut std::str::Chars<'_>) -> Result<u8, String> {
    Ok(match letters.next() {
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let digits: String = letters.by_ref().take(2).collect();
            let is_byte =
                digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u8::from_str_radix(&digits, 16)
                .ok()
                .filter(|_| is_byte)
                .ok_or_else(|| format!("\\x{digits} is no byte; write two hexadecimal digits"))?
        }
        Some(other) => {
            return Err(format!(
                "\\{other} is no escape; see --help, and write \\\\ for a backslash"
            ));
        }
        None => return Err("the format ends after a backslash; write \\\\ for one".to_owned()),
    })
}

fn number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(number.to_string().as_bytes());
}

fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX))
}

/// A record as JSON: text where it is text, else base64 in a field of its own.
#[derive(Debug, Serialize)]
pub(super) struct JsonRecord<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    #[serde(flatten)]
    key: JsonKey<'a>,
    #[serde(flatten)]
    value: JsonValue<'a>,
    headers: Vec<JsonHeader>,
}

#[derive(Debug, Serialize)]
enum JsonKey<'a> {
    #[serde(rename = "key")]
    Text(Option<&'a str>),
    #[serde(rename = "key_base64")]
    Base64(String),
}

#[derive(Debug, Serialize)]
enum JsonValue<'a> {
    #[serde(rename = "value")]
    Text(Option<&'a str>),
    #[serde(rename = "value_base64")]
    Base64(String),
}

#[derive(Debug, Serialize)]
struct JsonHeader {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    value: Option<String>,
}

impl<'a> JsonRecord<'a> {
    /// The view of a record.
    pub(super) fn new(topic: &'a str, partition: i32, record: &Record<'a>) -> Self {
        let headers = record.headers.clone().map(|header| {
            let text = header
                .value
                .map(|value| std::str::from_utf8(value).map(str::to_owned));
            JsonHeader {
                key: String::from_utf8_lossy(header.key).into_owned(),
                value_base64: matches!(text, Some(Err(_)))
                    .then(|| STANDARD.encode(header.value.unwrap_or_default())),
                value: text.and_then(Result::ok),
            }
        });
        Self {
            topic,
            partition,
            offset: record.offset,
            timestamp: record.timestamp.0,
            key: match record.key.map(|key| (key, std::str::from_utf8(key))) {
                None => JsonKey::Text(None),
                Some((_, Ok(text))) => JsonKey::Text(Some(text)),
                Some((bytes, Err(_))) => JsonKey::Base64(STANDARD.encode(bytes)),
            },
            value: match record
                .value
                .map(|value| (value, std::str::from_utf8(value)))
            {
                None => JsonValue::Text(None),
                Some((_, Ok(text))) => JsonValue::Text(Some(text)),
                Some((bytes, Err(_))) => JsonValue::Base64(STANDARD.encode(bytes)),
            },
            headers: headers.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
