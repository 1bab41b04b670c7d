//! What records look like.

use streamhouse_protocol::compression::{Compression, Limits};
use streamhouse_protocol::record::{Header, Records};
use streamhouse_protocol::record_batch::{RecordBatchBuilder, RecordContent};

use super::{Format, JsonRecord};

fn with_record<T>(content: RecordContent<'_>, show: impl FnOnce(&super::Record<'_>) -> T) -> T {
    let mut builder = RecordBatchBuilder::new(Compression::None);
    builder.push(&content).unwrap();
    let records = Records::unpack(&builder.build().unwrap(), &Limits::DEFAULT).unwrap();
    show(&records.iter().next().unwrap().unwrap())
}

fn full() -> RecordContent<'static> {
    const HEADERS: &[Header<'static>] = &[
        Header {
            key: b"a",
            value: Some(b"1"),
        },
        Header {
            key: b"a",
            value: None,
        },
    ];
    RecordContent {
        timestamp_ms: 1_700_000_000_123,
        key: Some(b"key"),
        value: Some(b"value"),
        headers: HEADERS,
        ..RecordContent::default()
    }
}

fn shown(format: &str, content: RecordContent<'_>) -> String {
    let format = Format::parse(format, "NULL").unwrap();
    let mut out = Vec::new();
    with_record(content, |record| format.write("top", 3, record, &mut out));
    String::from_utf8(out).unwrap()
}

#[test]
fn every_token_shows_its_part() {
    assert_eq!(
        shown("%t %p %o %k %v %s %h %T %S %K %%\\n", full()),
        "top 3 0 key value value a=1,a=NULL 1700000000123 5 3 %\n"
    );
}

#[test]
fn null_is_shown_as_told_and_has_the_length_minus_one() {
    assert_eq!(
        shown("%k|%v|%K|%S|%h", RecordContent::default()),
        "NULL|NULL|-1|-1|"
    );
    let empty = RecordContent {
        key: Some(b""),
        value: Some(b""),
        ..RecordContent::default()
    };
    assert_eq!(shown("%k|%v|%K|%S", empty), "||0|0");
}

#[test]
fn escapes_are_bytes() {
    let format = Format::parse("\\x00\\xfF\\t\\r\\0\\\\%R", "").unwrap();
    let mut out = Vec::new();
    with_record(full(), |record| format.write("t", 0, record, &mut out));
    assert_eq!(out, [0, 0xff, 9, 13, 0, 0x5c, 0, 0, 0, 5]);
}

#[test]
fn what_is_no_format_is_refused_with_a_remedy() {
    for (format, reason) in [
        ("%", "ends after a percent sign"),
        ("%q", "%q is no token"),
        ("\\", "ends after a backslash"),
        ("\\q", "\\q is no escape"),
        ("\\x1", "\\x1 is no byte"),
        ("\\xzz", "\\xzz is no byte"),
    ] {
        let error = Format::parse(format, "").unwrap_err();
        assert!(error.contains(reason), "{format}: {error}");
    }
}

#[test]
fn json_keeps_text_as_text_and_other_bytes_as_base64() {
    let json = |content| {
        with_record(content, |record| {
            serde_json::to_string(&JsonRecord::new("t", 1, record)).unwrap()
        })
    };
    assert_eq!(
        json(full()),
        r#"{"topic":"t","partition":1,"offset":0,"timestamp":1700000000123,"key":"key","value":"value","headers":[{"key":"a","value":"1"},{"key":"a","value":null}]}"#
    );
    let bytes = RecordContent {
        key: Some(&[0xff]),
        value: None,
        ..RecordContent::default()
    };
    assert_eq!(
        json(bytes),
        r#"{"topic":"t","partition":1,"offset":0,"timestamp":0,"key_base64":"/w==","value":null,"headers":[]}"#
    );
}
