//! Requests as producers send them, whole and cut off.

use bytes::{BufMut, Bytes, BytesMut};

use super::{API_VERSIONS, Answer, Head, PRODUCE, Request, checked_records, read};

fn request(key: i16, version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(9);
    frame.put_i16(1);
    frame.put_u8(b'c');
    frame.put_slice(body);
    frame.freeze()
}

fn produce(batch: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_i16(-1);
    body.put_i16(-1);
    body.put_i32(30_000);
    body.put_i32(1);
    body.put_i16(1);
    body.put_u8(b't');
    body.put_i32(1);
    body.put_i32(2);
    body.put_i32(i32::try_from(batch.len()).expect("a small batch"));
    body.put_slice(batch);
    request(PRODUCE, 7, &body)
}

/// The header of a batch of three records.
fn batch() -> Vec<u8> {
    let mut batch = vec![0; 61];
    batch[23..27].copy_from_slice(&2_i32.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn a_produce_request_gives_its_batch_and_partition() {
    let read = read(produce(&batch()));
    let Ok((
        head,
        Request::Produce {
            topic,
            partition,
            batch,
        },
    )) = read
    else {
        panic!("not a produce request");
    };
    assert_eq!(
        (head.correlation_id, topic.as_str(), partition),
        (9, "t", 2)
    );
    assert!(matches!(checked_records(&batch), Ok(3)));
}

#[test]
fn a_damaged_batch_is_refused() {
    let mut damaged = batch();
    damaged[60] ^= 1;
    assert!(checked_records(&damaged).is_err());
    assert!(checked_records(&batch()[..20]).is_err());
}

#[test]
fn requests_that_are_cut_off_or_not_spoken_are_refused() {
    let whole = produce(&batch());
    for end in 0..whole.len() {
        assert!(read(whole.slice(..end)).is_err(), "{end} bytes");
    }
    assert!(read(request(PRODUCE, 12, &[])).is_err());
    assert!(matches!(
        read(request(API_VERSIONS, 4, &[])),
        Ok((_, Request::Unknown))
    ));
}

#[test]
fn an_answer_begins_with_its_length_and_correlation_id() {
    let mut answer = Answer::new(Head { correlation_id: 9 });
    answer.produce("t", 2, 5);
    let bytes = answer.finish();
    let length = u32::try_from(bytes.len() - 4).expect("a small answer");
    assert_eq!(bytes[..4], length.to_be_bytes());
    assert_eq!(bytes[4..8], 9_i32.to_be_bytes());
}
