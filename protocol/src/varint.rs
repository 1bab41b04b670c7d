//! Zigzag varints: the numbers inside a record (lengths, deltas, counts), as in Protocol Buffers' `sint32` and
//! `sint64`.
//!
//! A 32-bit number takes at most 5 bytes and a 64-bit number at most 10; anything longer, or with bits that do not fit,
//! is refused instead of being cut.

/// A varint that no encoder writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a variable-length number of {bits} bits does not end within its {bytes_max} bytes")]
pub struct VarintError {
    bits: u32,
    bytes_max: u32,
}

/// Reads a 32-bit zigzag varint from the bytes that `next` gives.
pub fn read_i32<E: From<VarintError>>(next: impl FnMut() -> Result<u8, E>) -> Result<i32, E> {
    let raw = read_unsigned(32, next)?;
    let raw = u32::try_from(raw).map_err(|_| too_long(32))?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Reads a 64-bit zigzag varint from the bytes that `next` gives.
pub fn read_i64<E: From<VarintError>>(next: impl FnMut() -> Result<u8, E>) -> Result<i64, E> {
    let raw = read_unsigned(64, next)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Appends a 32-bit zigzag varint.
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_unsigned(
        out,
        u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()),
    );
}

/// Appends a 64-bit zigzag varint.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn read_unsigned<E: From<VarintError>>(
    bits: u32,
    mut next: impl FnMut() -> Result<u8, E>,
) -> Result<u64, E> {
    let mut value = 0_u64;
    let mut shift = 0;
    loop {
        let byte = next()?;
        let low = u64::from(byte & 0x7f);
        let room = bits - shift;
        if room < 7 && low >> room != 0 {
            return Err(too_long(bits).into());
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
        shift += 7;
        if shift >= bits {
            return Err(too_long(bits).into());
        }
    }
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const fn too_long(bits: u32) -> VarintError {
    VarintError {
        bits,
        bytes_max: bits.div_ceil(7),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(bytes: &[u8]) -> impl FnMut() -> Result<u8, Option<VarintError>> + '_ {
        let mut bytes = bytes.iter();
        move || bytes.next().copied().ok_or(None)
    }

    #[test]
    fn what_does_not_fit_is_refused_and_never_cut() {
        let check = |bytes: &[u8], small, large| {
            assert_eq!(read_i32(source(bytes)), small);
            assert_eq!(read_i64(source(bytes)), large);
        };
        let refused = |bits| Some(too_long(bits));
        check(
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            Ok(i32::MIN),
            Ok(i64::from(i32::MIN)),
        );
        check(
            &[0xff, 0xff, 0xff, 0xff, 0x1f],
            Err(refused(32)),
            Ok(-(1 << 32)),
        );
        check(
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            Err(refused(32)),
            Ok(0),
        );
        let mut long = [0xff; 10];
        long[9] = 0x01;
        check(&long, Err(refused(32)), Ok(i64::MIN));
        long[9] = 0x03;
        check(&long, Err(refused(32)), Err(refused(64)));
        long[9] = 0x81;
        check(&long, Err(refused(32)), Err(refused(64)));
        check(&[0xff, 0xff], Err(None), Err(None));
    }

    proptest! {
        #[test]
        fn what_was_put_is_read(small: i32, large: i64) {
            let mut out = Vec::new();
            put_i32(&mut out, small);
            prop_assert!(out.len() <= 5);
            put_i64(&mut out, large);
            let mut next = source(&out);
            prop_assert_eq!(read_i32(&mut next), Ok(small));
            prop_assert_eq!(read_i64(&mut next), Ok(large));
            prop_assert_eq!(next(), Err(None));
        }
    }
}
