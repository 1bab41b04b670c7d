//! A file of values, for what is too much for a line of JSON: each value is its length (four bytes, big endian) and its
//! bytes. kcat writes the same with `-f %R%s`.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Writes values.
pub(crate) fn write<'a>(file: &Path, values: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
    let mut bytes = Vec::new();
    for value in values {
        let length = u32::try_from(value.len()).context("a value of more than 4 GiB")?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(value);
    }
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// Reads values.
pub(crate) fn read(file: &Path) -> Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    split(&bytes)
}

/// Splits bytes of this form into values.
pub(crate) fn split(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut values = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length))?;
        let Some((value, rest)) = rest.split_at_checked(length) else {
            bail!(
                "a value of {length} bytes is cut short after {}",
                rest.len()
            );
        };
        values.push(value.to_vec());
        bytes = rest;
    }
    if bytes.is_empty() {
        Ok(values)
    } else {
        bail!("{} bytes too many", bytes.len())
    }
}
