//! `*.properties` files by the rules of `java.util.Properties`: comments (`#`, `!`), continued lines, `=`, `:` or
//! blanks after the key, and escapes. Read as UTF-8, of which Kafka's ISO 8859-1 files with `\u` escapes are a subset
//! as long as they are ASCII.

use super::source::{Gathered, Layer, Origin, Problem};

/// One entry of a properties file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The key, without escapes.
    pub key: String,
    /// The value, without escapes; blanks at its end belong to it.
    pub value: String,
    /// The line on which the entry begins, from 1.
    pub line: usize,
}

/// Why a properties file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} has a malformed \\u escape; write four hexadecimal digits after \\u")]
pub struct PropertiesError {
    /// The line, from 1.
    pub line: usize,
}

/// Reads a file called `name` into assignments of Kafka keys.
pub(crate) fn gather(name: &str, text: &str, layer: Layer, gathered: &mut Gathered) {
    match parse(text) {
        Ok(properties) => {
            for Property { key, value, line } in properties {
                gathered.kafka(&key, &value, Origin::new(layer, format!("{name}:{line}")));
            }
        }
        Err(error) => gathered.problem(Problem::of_source(name, &error.to_string())),
    }
}

/// Reads the entries of a properties file, in order; a key may occur again.
///
/// # Errors
/// [`PropertiesError`] for a malformed `\u` escape; everything else is legal.
pub fn parse(text: &str) -> Result<Vec<Property>, PropertiesError> {
    let mut properties = Vec::new();
    let mut lines = natural_lines(text).enumerate();
    while let Some((index, line)) = lines.next() {
        let start = line.trim_start_matches(BLANKS);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while is_continued(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start_matches(BLANKS)),
                None => break,
            }
        }
        properties.push(entry(&logical, index + 1)?);
    }
    Ok(properties)
}

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let (line, tail) = text.split_at(end);
        rest = Some(tail.strip_prefix("\r\n").unwrap_or(&tail[1..]));
        Some(line)
    })
}

/// Whether the line ends in an odd number of backslashes.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn entry(logical: &str, line: usize) -> Result<Property, PropertiesError> {
    let mut is_escaped = false;
    let end = logical.find(|c: char| {
        let ends = !is_escaped && (c == '=' || c == ':' || BLANKS.contains(&c));
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let (key, rest) = logical.split_at(end.unwrap_or(logical.len()));
    let rest = rest.trim_start_matches(BLANKS);
    let value = match rest.strip_prefix(['=', ':']) {
        Some(value) => value.trim_start_matches(BLANKS),
        None => rest,
    };
    Ok(Property {
        key: unescape(key, line)?,
        value: unescape(value, line)?,
        line,
    })
}

fn unescape(text: &str, line: usize) -> Result<String, PropertiesError> {
    let malformed = PropertiesError { line };
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    let digits = chars.as_str().get(..4).ok_or_else(|| malformed.clone())?;
                    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                        return Err(malformed);
                    }
                    units.push(u16::from_str_radix(digits, 16).map_err(|_| malformed.clone())?);
                    chars = chars.as_str()[4..].chars();
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).map_err(|_| malformed)
}

#[cfg(test)]
mod tests;
