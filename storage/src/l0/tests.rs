//! The L0 object as bytes: what is written reads back, and no damage goes unseen.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::{
    CRC_BLOCK_BYTES, HEADER_BYTES, IndexError, L0Index, L0WriteError, L0Writer, L0Written, Section,
};
use crate::objects::rig::{Rig, key, listed, pattern, scale};
use crate::objects::{Fault, GetError, ObjectClass, ObjectId, ObjectKey, Objects, PutError};

const CLASS: ObjectClass = ObjectClass::Flush;
const CLUSTER: u128 = 0xc1;

async fn write(
    objects: &Objects,
    key: &ObjectKey,
    pieces: Vec<Bytes>,
    sections: Vec<Section>,
) -> Result<L0Written, L0WriteError> {
    let mut writer = L0Writer::begin(objects.writer(key, CLASS), CLUSTER, -5).await?;
    let mut expected = HEADER_BYTES;
    for piece in pieces {
        assert_eq!(writer.position(), expected);
        let length = piece.len() as u64;
        assert_eq!(writer.append(piece).await?, expected);
        expected += length;
    }
    writer.finish(sections).await
}

fn section(shard: u32, body: &'static [u8]) -> Section {
    Section {
        shard,
        body: Bytes::from_static(body),
    }
}

/// An object of `data` bytes of data with two sections, whole.
fn object(data: usize) -> Bytes {
    let rig = Rig::new(0);
    rig.run(async {
        let sections = vec![section(3, b"three"), section(9, b"")];
        let written = write(&rig.objects, &key(1), vec![pattern(data, 1)], sections)
            .await
            .expect("written");
        rig.objects
            .get_range(&key(1), 0..written.bytes, CLASS)
            .await
            .expect("read")
    })
}

/// Reads all of an object as a verified read does; says whether every check passed.
fn is_whole(object: &Bytes) -> bool {
    let Ok(index) = L0Index::parse_whole(object) else {
        return false;
    };
    let data_end = usize::try_from(index.data_end()).expect("in memory");
    index.verify(0, &object[..data_end]).is_ok()
}

#[test]
fn the_bytes_are_the_documented_ones() {
    // On disk: a change here is a change of the format and needs a version.
    let rig = Rig::new(0);
    let bytes = rig.run(async {
        let data = vec![
            Bytes::from_static(b"record "),
            Bytes::from_static(b"batches"),
        ];
        let sections = vec![section(3, b"three"), section(9, b"")];
        let written = write(&rig.objects, &key(0x1122), data, sections)
            .await
            .expect("written");
        rig.objects
            .get_range(&key(0x1122), 0..written.bytes, CLASS)
            .await
            .expect("read")
    });
    let mut header = BytesMut::new();
    header.put_slice(b"SHOUSEL0\x00\x01\x00\x01\x00\x01\x00\x00");
    header.put_u128(CLUSTER);
    header.put_u128(0xabcd);
    header.put_u64(0x1122);
    header.put_i64(-5);
    let mut expected = header.clone();
    expected.put_slice(b"record batches");
    let block_sum = crc32c::crc32c(&expected);
    let mut footer = header;
    footer.put_u64(64 + 14);
    footer.put_u32(2);
    footer.put_slice(b"\x00\x00\x00\x03\x00\x00\x00\x05three\x00\x00\x00\x09\x00\x00\x00\x00");
    footer.put_u32(1);
    footer.put_u32(block_sum);
    footer.put_u32(105);
    let footer_sum = crc32c::crc32c(&footer);
    footer.put_u32(footer_sum);
    footer.put_slice(b"SHL0TAIL");
    expected.put_slice(&footer);
    assert_eq!(bytes, expected);
}

#[test]
fn every_flipped_bit_is_detected() {
    // More than one block, the last one partial.
    let whole = object(70_000);
    assert!(is_whole(&whole));
    let mut damaged = whole.to_vec();
    for position in 0..whole.len() {
        for bit in 0..8 {
            damaged[position] ^= 1 << bit;
            let shown = Bytes::from(damaged);
            assert!(!is_whole(&shown), "bit {bit} of byte {position}");
            damaged = Vec::from(shown);
            damaged[position] ^= 1 << bit;
        }
    }
}

#[test]
fn truncation_at_every_byte_is_detected() {
    let whole = object(70_000);
    for length in 0..whole.len() {
        assert!(!is_whole(&whole.slice(..length)), "{length}");
    }
}

#[test]
fn an_object_inside_the_data_is_not_taken_for_the_object() {
    // A producer can send the bytes of an L0 object as a record; cut behind them, the outer object must not pass.
    let inner = object(100);
    let rig = Rig::new(0);
    let outer = rig.run(async {
        let written = write(
            &rig.objects,
            &key(1),
            vec![inner.clone(), pattern(9, 9)],
            vec![],
        )
        .await;
        let bytes = written.expect("written").bytes;
        rig.objects
            .get_range(&key(1), 0..bytes, CLASS)
            .await
            .expect("read")
    });
    let cut = outer.slice(..64 + inner.len());
    assert!(cut.ends_with(b"SHL0TAIL"));
    assert!(L0Index::parse_whole(&cut).is_err());
}

#[test]
fn an_index_is_loaded_from_the_end_alone() {
    let rig = Rig::new(1);
    rig.run(async {
        let data = vec![pattern(3_000_000, 1)];
        let sections = vec![section(0, b"zero"), section(63, b"last")];
        let written = write(&rig.objects, &key(1), data, sections.clone())
            .await
            .expect("written");
        let before = rig.faults.requests();
        let loaded = L0Index::load(&rig.objects, &key(1), written.bytes, CLASS)
            .await
            .expect("loaded");
        assert_eq!(rig.faults.requests() - before, 1);
        assert_eq!(loaded, written.index);
        assert_eq!(loaded.sections(), sections);
        assert_eq!(loaded.header().created_ms, -5);
        assert_eq!(loaded.data_end(), 3_000_064);
        assert_eq!(loaded.without_sections().sections(), []);
    });
}

#[test]
fn a_long_footer_is_loaded_in_two_requests() {
    let rig = Rig::new(2);
    rig.run(async {
        for body_bytes in [65_000, 65_536, 300_000] {
            let sections = vec![Section {
                shard: 7,
                body: pattern(body_bytes, 2),
            }];
            let written = write(&rig.objects, &key(1), vec![pattern(10, 1)], sections)
                .await
                .expect("written");
            let before = rig.faults.requests();
            let loaded = L0Index::load(&rig.objects, &key(1), written.bytes, CLASS)
                .await
                .expect("loaded");
            assert_eq!(loaded, written.index);
            assert!(rig.faults.requests() - before <= 2);
        }
    });
}

#[test]
fn an_object_under_another_name_is_refused() {
    let rig = Rig::new(3);
    let body = object(1_000);
    rig.run(async {
        let size = body.len() as u64;
        let other = ObjectId {
            seq: 2,
            ..key(1).id()
        }
        .key(key(1).kind());
        let same = ObjectId {
            attempt: 7,
            ..key(1).id()
        }
        .key(key(1).kind());
        for key in [&other, &same] {
            rig.objects
                .put(key, CLASS, vec![body.clone()])
                .await
                .expect("stored");
        }
        let loaded = L0Index::load(&rig.objects, &other, size, CLASS).await;
        assert!(
            matches!(loaded, Err(IndexError::Damaged { .. })),
            "{loaded:?}"
        );
        L0Index::load(&rig.objects, &same, size, CLASS)
            .await
            .expect("an attempt has the same content");
    });
}

#[test]
fn a_wrong_size_is_an_error_and_never_another_index() {
    let rig = Rig::new(4);
    let body = object(200);
    rig.run(async {
        let size = body.len() as u64;
        rig.objects
            .put(&key(1), CLASS, vec![body])
            .await
            .expect("stored");
        for claimed in (0..size).chain([size + 1, size + 100_000]) {
            let loaded = L0Index::load(&rig.objects, &key(1), claimed, CLASS).await;
            let is_refused = matches!(
                loaded,
                Err(IndexError::Damaged { .. } | IndexError::Get(GetError::Short { .. }))
            );
            assert!(is_refused, "{claimed}: {loaded:?}");
        }
    });
}

#[test]
fn an_object_of_a_later_format_names_the_version_it_needs() {
    let whole = object(10);
    let mut later = BytesMut::from(whole.as_ref());
    let footer = later.len() - 16 - 105;
    later[footer + 11] = 9;
    let sum = crc32c::crc32c(&later[footer..footer + 105 + 4]);
    later[footer + 109..footer + 113].copy_from_slice(&sum.to_be_bytes());
    let rig = Rig::new(5);
    rig.run(async {
        let size = later.len() as u64;
        rig.objects
            .put(&key(1), CLASS, vec![later.freeze()])
            .await
            .expect("stored");
        let loaded = L0Index::load(&rig.objects, &key(1), size, CLASS).await;
        assert!(
            matches!(loaded, Err(IndexError::TooNew { min_reader: 9, .. })),
            "{loaded:?}"
        );
    });
}

#[test]
fn sections_out_of_order_are_refused_and_nothing_is_stored() {
    let rig = Rig::new(6);
    rig.run(async {
        for sections in [
            vec![section(2, b""), section(1, b"")],
            vec![section(1, b""), section(1, b"")],
        ] {
            let written = write(&rig.objects, &key(1), vec![], sections).await;
            assert!(
                matches!(written, Err(L0WriteError::Sections)),
                "{written:?}"
            );
        }
        assert_eq!(listed(&rig.truth).await, []);
    });
}

#[test]
fn a_failed_upload_says_what_happened() {
    let rig = Rig::new(7);
    rig.faults.script([Some(Fault::FailAfter)]);
    let written = rig.run(write(&rig.objects, &key(1), vec![pattern(100, 1)], vec![]));
    assert!(
        matches!(
            written,
            Err(L0WriteError::Put(PutError::MayHaveHappened { .. }))
        ),
        "{written:?}"
    );
}

#[test]
fn partial_blocks_do_not_verify() {
    let whole = object(200_000);
    let index = L0Index::parse_whole(&whole).expect("whole");
    let block = usize::try_from(CRC_BLOCK_BYTES).expect("small");
    assert!(
        index
            .verify(CRC_BLOCK_BYTES, &whole[block..3 * block])
            .is_ok()
    );
    assert!(
        index
            .verify(CRC_BLOCK_BYTES, &whole[block..3 * block - 1])
            .is_err()
    );
    assert!(
        index
            .verify(CRC_BLOCK_BYTES + 1, &whole[block + 1..2 * block])
            .is_err()
    );
    assert!(
        index.verify(0, &whole[block..2 * block]).is_err(),
        "the right bytes of another block"
    );
    assert!(index.verify(1 << 40, &whole[..block]).is_err());
}

/// A footer with any bytes in it whose checksum is right: what a damaged writer or an attacker could make.
fn resealed(whole: &Bytes, changes: &[(usize, u8)]) -> Bytes {
    let footer_len = 105;
    let mut bytes = whole.to_vec();
    let footer = bytes.len() - 16 - footer_len;
    for (position, byte) in changes {
        bytes[footer + position % footer_len] = *byte;
    }
    let sum = crc32c::crc32c(&bytes[footer..footer + footer_len + 4]);
    bytes[footer + footer_len + 4..footer + footer_len + 8].copy_from_slice(&sum.to_be_bytes());
    bytes.into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64 * u32::try_from(scale()).unwrap_or(u32::MAX)))]

    #[test]
    fn what_is_written_reads_back(
        lengths in prop::collection::vec(prop_oneof![0..100_usize, 60_000..70_000_usize, 0..300_000_usize], 0..8),
        shards in prop::collection::btree_set(any::<u32>(), 0..5),
    ) {
        let rig = Rig::new(8);
        rig.run(async {
            let pieces: Vec<Bytes> = (0..).zip(&lengths).map(|(salt, len)| pattern(*len, salt)).collect();
            let data = pieces.concat();
            let sections: Vec<Section> =
                shards.iter().map(|shard| Section { shard: *shard, body: pattern(*shard as usize % 999, 3) }).collect();
            let written = write(&rig.objects, &key(1), pieces, sections.clone()).await.expect("written");
            let whole = rig.objects.get_range(&key(1), 0..written.bytes, CLASS).await.expect("read");
            assert!(is_whole(&whole));
            assert_eq!(&whole[64..64 + data.len()], data.as_slice());
            let loaded = L0Index::load(&rig.objects, &key(1), written.bytes, CLASS).await.expect("loaded");
            assert_eq!(loaded.sections(), sections);
        });
    }

    #[test]
    fn hostile_footers_are_refused_or_read_without_harm(
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..12),
    ) {
        let shown = resealed(&object(100), &changes);
        if let Ok(index) = L0Index::parse_whole(&shown) {
            prop_assert!(index.memory_bytes() < 4_096);
            let _ = is_whole(&shown);
        }
    }

    #[test]
    fn any_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..400), length: u32, is_marked: bool) {
        if is_marked {
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(b"SHL0TAIL");
        }
        prop_assert!(!is_whole(&bytes.into()));
    }
}
