//! Bends inputs: bits, numbers, lengths, varints, pieces of other inputs, words and digits.
//!
//! Most of what is bent is still nearly sound: an input gets one to four changes, so that readers go on behind the first
//! of them.

use crate::draw::Draw;

/// Input number `number` under `seed`: one of `corpus` as it is while there are enough, then bent ones.
///
/// # Panics
/// If `corpus` is empty.
#[must_use]
pub fn input(target: &crate::Target, corpus: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    if let Some(sound) = usize::try_from(number).ok().and_then(|at| corpus.get(at)) {
        return sound.clone();
    }
    let mut draw = Draw::of(target.name, seed, number);
    let mut bytes = draw.pick(corpus).clone();
    let changes = [1, 1, 1, 1, 2, 2, 3, 4][draw.below(8)];
    for _ in 0..changes {
        change(&mut bytes, corpus, target.words, &mut draw);
    }
    bytes.truncate(target.length_max);
    if let Some(repair) = target.repair
        && !draw.one_in(8)
    {
        repair(&mut bytes, &mut draw);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str], draw: &mut Draw) {
    if !words.is_empty() && draw.one_in(2) {
        return change_text(bytes, words, draw);
    }
    match draw.below(16) {
        0..=2 => flip(bytes, draw),
        3..=4 => set(bytes, draw),
        5..=7 => put_number(bytes, draw),
        8 => put_varint(bytes, draw),
        9 => cut(bytes, draw),
        10 => drop(take_out(bytes, draw)),
        11 => repeat(bytes, draw),
        12 => insert(bytes, draw),
        13 => fill(bytes, draw),
        _ => splice(bytes, &corpus[draw.below(corpus.len())], draw),
    }
}

fn flip(bytes: &mut [u8], draw: &mut Draw) {
    if !bytes.is_empty() {
        let at = place(bytes.len(), draw);
        bytes[at] ^= 1 << draw.below(8);
    }
}

fn set(bytes: &mut [u8], draw: &mut Draw) {
    if !bytes.is_empty() {
        let at = place(bytes.len(), draw);
        let now = bytes[at];
        bytes[at] = match draw.below(8) {
            0 => 0,
            1 => 0xff,
            2 => 0x7f,
            3 => 0x80,
            4 => now.wrapping_add(1),
            5 => now.wrapping_sub(1),
            6 => 1,
            _ => draw.byte(),
        };
    }
}

/// A place in an input: often near its beginning, where headers are, or its end, where footers are.
fn place(length: usize, draw: &mut Draw) -> usize {
    match draw.below(4) {
        0 => draw.below(length.min(64)),
        1 => length - 1 - draw.below(length.min(64)),
        _ => draw.below(length),
    }
}

/// A number at which readers stumble: ends of ranges, and sizes of the input itself.
fn number(length: usize, at: usize, draw: &mut Draw) -> u64 {
    let length = u64::try_from(length).unwrap_or(0);
    let left = length.saturating_sub(u64::try_from(at).unwrap_or(0));
    let near = u64::try_from(draw.below(9)).unwrap_or(0);
    match draw.below(12) {
        0 => 0,
        1 => u64::MAX,
        2 => u64::from(u32::MAX),
        3 => u64::from(u32::MAX >> 1),
        4 => u64::MAX >> 1,
        5 => 1 << draw.below(64),
        6 => length,
        7 => left.wrapping_add(near).wrapping_sub(4),
        8 => left.wrapping_sub(8),
        9 => near,
        10 => u64::MAX.wrapping_sub(near),
        _ => draw.bits(),
    }
}

/// Overwrites two, four or eight bytes with a number, of either byte order, or moves the number there by a little.
fn put_number(bytes: &mut [u8], draw: &mut Draw) {
    let width = [2, 4, 4, 8][draw.below(4)];
    if bytes.len() < width {
        return;
    }
    let at = place(bytes.len() - width + 1, draw);
    let is_little = draw.one_in(2);
    let field = &bytes[at..at + width];
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(field);
    let value = if draw.one_in(3) {
        let shift = 64 - 8 * u32::try_from(width).unwrap_or(8);
        let now = if is_little {
            u64::from_le_bytes(wide)
        } else {
            u64::from_be_bytes(wide) >> shift
        };
        let step = u64::try_from(1 + draw.below(16)).unwrap_or(1);
        if draw.one_in(2) {
            now.wrapping_add(step)
        } else {
            now.wrapping_sub(step)
        }
    } else {
        number(bytes.len(), at + width, draw)
    };
    let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
    let field = if is_little {
        &little[..width]
    } else {
        &big[8 - width..]
    };
    bytes[at..at + width].copy_from_slice(field);
}

/// Writes a varint over one byte, or over what looks like a varint.
fn put_varint(bytes: &mut Vec<u8>, draw: &mut Draw) {
    let at = draw.below(bytes.len() + 1);
    let mut value = number(bytes.len(), at, draw);
    if draw.one_in(2) {
        // Lengths and counts have 32 bits.
        value &= u64::from(u32::MAX);
    }
    let mut varint = Vec::new();
    while value >= 0x80 {
        varint.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    varint.push(value.to_le_bytes()[0]);
    let old = bytes[at..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let end = bytes.len().min(at + old.min(10));
    bytes.splice(at..end, varint);
}

fn cut(bytes: &mut Vec<u8>, draw: &mut Draw) {
    let at = draw.below(bytes.len() + 1);
    if draw.one_in(4) {
        bytes.drain(..at);
    } else {
        bytes.truncate(at);
    }
}

/// A range: mostly short.
fn range(length: usize, draw: &mut Draw) -> std::ops::Range<usize> {
    let from = draw.below(length + 1);
    let most = if draw.one_in(4) { length } else { 16 };
    from..length.min(from + draw.below(most + 1))
}

fn take_out(bytes: &mut Vec<u8>, draw: &mut Draw) -> Vec<u8> {
    let range = range(bytes.len(), draw);
    bytes.drain(range).collect()
}

fn repeat(bytes: &mut Vec<u8>, draw: &mut Draw) {
    let range = range(bytes.len(), draw);
    let piece = bytes[range.clone()].to_vec();
    let times = 1 + draw.below(4);
    bytes.splice(range.end..range.end, piece.repeat(times));
}

fn insert(bytes: &mut Vec<u8>, draw: &mut Draw) {
    let at = draw.below(bytes.len() + 1);
    let count = 1 + draw.below(8);
    let byte = draw.byte();
    bytes.splice(at..at, vec![byte; count]);
}

fn fill(bytes: &mut [u8], draw: &mut Draw) {
    let range = range(bytes.len(), draw);
    let byte = *draw.pick(&[0, 0xff, 0x80, 1, b' ']);
    bytes[range].fill(byte);
}

/// A beginning with another's end, or a piece of another in the middle.
fn splice(bytes: &mut Vec<u8>, other: &[u8], draw: &mut Draw) {
    let from = range(other.len(), draw);
    match draw.below(3) {
        0 => {
            let at = draw.below(bytes.len() + 1);
            let start = if draw.one_in(2) {
                at.min(other.len())
            } else {
                from.start
            };
            bytes.truncate(at);
            bytes.extend_from_slice(&other[start..]);
        }
        1 => {
            let at = draw.below(bytes.len() + 1);
            bytes.splice(at..at, other[from].iter().copied());
        }
        _ => {
            let at = draw.below(bytes.len() + 1);
            let end = bytes.len().min(at + from.len());
            bytes.splice(at..end, other[from].iter().copied());
        }
    }
}

/// A word, a number in digits, or two lines in each other's place.
fn change_text(bytes: &mut Vec<u8>, words: &[&str], draw: &mut Draw) {
    let at = draw.below(bytes.len() + 1);
    match draw.below(4) {
        0 => drop(bytes.splice(at..at, draw.pick(words).bytes())),
        1 => {
            let end = bytes[at..]
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric());
            let end = at + end.count();
            bytes.splice(at..end, draw.pick(words).bytes());
        }
        2 => {
            let digits = |byte: &u8| byte.is_ascii_digit();
            let from = bytes
                .iter()
                .skip(at)
                .position(digits)
                .map_or(at, |skip| at + skip);
            let end = from + bytes[from..].iter().take_while(|byte| digits(byte)).count();
            let number = number(bytes.len(), at, draw);
            let sign = if draw.one_in(4) { "-" } else { "" };
            bytes.splice(from..end, format!("{sign}{number}").into_bytes());
        }
        _ => {
            let mut lines: Vec<Vec<u8>> = bytes
                .split(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect();
            let (one, other) = (draw.below(lines.len()), draw.below(lines.len()));
            match draw.below(3) {
                0 => lines.swap(one, other),
                1 => drop(lines.remove(one)),
                _ => lines.insert(one, lines[other].clone()),
            }
            *bytes = lines.join(&b'\n');
        }
    }
}
