//! Tests of ropes.

use bytes::{Buf, BufMut, Bytes};
use std::io::IoSlice;

use super::{LINK_BYTES_MIN, Rope, RopeWriter};

fn large(byte: u8) -> Bytes {
    vec![byte; LINK_BYTES_MIN].into()
}

/// "head", a large piece, "middle", two large pieces, "tail".
fn mixed() -> (Rope, Vec<u8>) {
    let mut writer = RopeWriter::with_capacity(4);
    writer.buffer().put_slice(b"head");
    writer.link(large(1));
    writer.buffer().put_slice(b"middle");
    writer.link(large(2));
    writer.link(large(3));
    writer.link(Bytes::from_static(b"tail"));
    let flat = [
        b"head".as_slice(),
        &large(1),
        b"middle",
        &large(2),
        &large(3),
        b"tail",
    ]
    .concat();
    assert_eq!(writer.len(), flat.len());
    (writer.finish(), flat)
}

#[test]
fn the_pieces_in_order_are_the_message() {
    let (rope, flat) = mixed();
    assert_eq!(rope.len(), flat.len());
    assert_eq!(
        rope.pieces()
            .flat_map(|piece| piece.iter().copied())
            .collect::<Vec<_>>(),
        flat
    );
    assert_eq!(rope.pieces().count(), 6);
    assert_eq!(rope.into_bytes(), flat);
}

#[test]
fn large_pieces_are_linked_and_small_ones_copied() {
    let (big, small) = (large(7), Bytes::from_static(b"small"));
    let mut writer = RopeWriter::with_capacity(0);
    writer.link(big.clone());
    writer.link(small.clone());
    let rope = writer.finish();
    let pieces: Vec<_> = rope.pieces().collect();
    assert_eq!(pieces[0].as_ptr(), big.as_ptr());
    assert_eq!(pieces[1], &small);
    assert_ne!(pieces[1].as_ptr(), small.as_ptr());
}

#[test]
fn a_rope_can_be_sent_in_steps_of_any_length() {
    for step in [1, 3, 4, 5, 1000, 1028, 4000] {
        let (mut rope, flat) = mixed();
        let mut sent = Vec::new();
        while rope.has_remaining() {
            let count = step.min(rope.remaining());
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = rope.chunks_vectored(&mut slices);
            let vectored: Vec<u8> = slices[..filled]
                .iter()
                .flat_map(|s| s.iter().copied())
                .collect();
            assert_eq!(vectored, flat[sent.len()..]);
            assert!(!rope.chunk().is_empty());
            sent.extend_from_slice(&vectored[..count]);
            rope.advance(count);
            assert_eq!(rope.len(), flat.len() - sent.len());
        }
        assert_eq!(sent, flat);
        assert!(rope.is_empty());
    }
}

#[test]
fn fewer_slices_than_pieces_are_filled_as_far_as_they_go() {
    let (rope, _) = mixed();
    let mut slices = [IoSlice::new(&[]); 2];
    assert_eq!(rope.chunks_vectored(&mut slices), 2);
    assert_eq!(&*slices[0], b"head");
    assert_eq!(slices[1].len(), LINK_BYTES_MIN);
}

#[test]
fn parts_can_be_taken_out() {
    let (mut rope, flat) = mixed();
    assert_eq!(rope.copy_to_bytes(4), flat[..4], "a whole piece");
    assert_eq!(rope.copy_to_bytes(10), flat[4..14], "a part of one");
    assert_eq!(rope.copy_to_bytes(2000), flat[14..2014], "parts of several");
    assert_eq!(rope.len(), flat.len() - 2014);
    assert_eq!(rope.into_bytes(), flat[2014..]);
}

#[test]
fn nothing_is_a_rope_without_pieces() {
    let rope = RopeWriter::with_capacity(0).finish();
    assert!(rope.is_empty() && rope.pieces().next().is_none());
    assert!(Rope::from(Bytes::new()).pieces().next().is_none());
    assert_eq!(rope.into_bytes(), Bytes::new());
}
