//! How lines become records.

use super::{Layout, header};

type Split = (Option<&'static [u8]>, Option<&'static [u8]>);

#[test]
fn the_first_separator_ends_the_key() {
    let layout = Layout::new(Some(": "), false);
    let split = |line: &'static str| -> Split { layout.split(line.as_bytes()) };
    assert_eq!(split("k: v: w"), (Some(&b"k"[..]), Some(&b"v: w"[..])));
    assert_eq!(split("no key"), (None, Some(&b"no key"[..])));
    assert_eq!(split(": v"), (Some(&b""[..]), Some(&b"v"[..])));
    assert_eq!(split(""), (None, Some(&b""[..])));
}

#[test]
fn empty_is_null_only_when_told() {
    let layout = Layout::new(Some(":"), true);
    let split = |line: &'static str| -> Split { layout.split(line.as_bytes()) };
    assert_eq!(split("k:"), (Some(&b"k"[..]), None));
    assert_eq!(split(":v"), (None, Some(&b"v"[..])));
    assert_eq!(split(""), (None, None));
}

#[test]
fn without_a_separator_the_line_is_the_value() {
    assert_eq!(
        Layout::new(None, false).split(b"a:b"),
        (None, Some(&b"a:b"[..]))
    );
}

#[test]
fn a_header_without_equals_has_the_value_null() {
    let read = |text: &str| {
        header(text).map(|header| {
            (
                header.header().key.to_vec(),
                header.header().value.map(<[u8]>::to_vec),
            )
        })
    };
    assert_eq!(read("a=b=c"), Ok((b"a".to_vec(), Some(b"b=c".to_vec()))));
    assert_eq!(read("a="), Ok((b"a".to_vec(), Some(Vec::new()))));
    assert_eq!(read("a"), Ok((b"a".to_vec(), None)));
    assert!(read("=b").is_err());
}
