//! How assignments of consumers are read.

use bytes::{BufMut, Bytes, BytesMut};

use super::assignment;

fn written() -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(1);
    bytes.put_i16(2);
    bytes.put_slice(b"ab");
    bytes.put_i32(2);
    bytes.put_i32(0);
    bytes.put_i32(7);
    bytes.put_i32(-1);
    bytes.freeze()
}

#[test]
fn an_assignment_names_topics_and_partitions() {
    assert_eq!(
        assignment(written()),
        Some(vec![("ab".to_owned(), 0), ("ab".to_owned(), 7)])
    );
}

#[test]
fn bytes_that_are_no_assignment_are_none_wherever_they_end() {
    let whole = written();
    // The last four bytes are user data, which is not read.
    for end in 0..whole.len() - 4 {
        assert_eq!(assignment(whole.slice(..end)), None, "cut at {end}");
    }
    assert_eq!(
        assignment(Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff])),
        None
    );
}
