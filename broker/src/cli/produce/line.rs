//! How a line becomes a record: key, value, headers.

use streamhouse_protocol::record::Header;

/// Where key and value lie in a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<'a> {
    separator: Option<&'a [u8]>,
    empty_is_null: bool,
}

impl<'a> Layout<'a> {
    /// Keys end at the first `separator`, which is not empty.
    pub(super) fn new(separator: Option<&'a str>, empty_is_null: bool) -> Self {
        Self {
            separator: separator.map(str::as_bytes),
            empty_is_null,
        }
    }

    /// Key and value of a line.
    pub(super) fn split<'l>(&self, line: &'l [u8]) -> (Option<&'l [u8]>, Option<&'l [u8]>) {
        let found = self.separator.and_then(|separator| {
            let at = line
                .windows(separator.len())
                .position(|window| window == separator)?;
            Some((&line[..at], &line[at + separator.len()..]))
        });
        let (key, value) = match found {
            Some((key, value)) => (Some(key), value),
            None => (None, line),
        };
        let kept = |bytes: &&[u8]| !(self.empty_is_null && bytes.is_empty());
        (key.filter(kept), Some(value).filter(kept))
    }
}

/// `--header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderArg {
    name: String,
    value: Option<String>,
}

impl HeaderArg {
    /// As records have it.
    pub(super) fn header(&self) -> Header<'_> {
        Header {
            key: self.name.as_bytes(),
            value: self.value.as_deref().map(str::as_bytes),
        }
    }
}

/// Reads `--header`.
pub(super) fn header(text: &str) -> Result<HeaderArg, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("a header needs a name: write name=value".to_owned());
    }
    Ok(HeaderArg {
        name: name.to_owned(),
        value,
    })
}

#[cfg(test)]
mod tests;
