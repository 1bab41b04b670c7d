//! What tables look like.

use super::{Table, bytes};

#[test]
fn columns_are_as_wide_as_their_widest_cell_and_numbers_stand_right() {
    let mut table = Table::new(&["topic", "#partitions", "note"]);
    table.row(["a".to_owned(), "1".to_owned(), String::new()]);
    table.row(["a-long-name".to_owned(), "12345".to_owned(), "x".to_owned()]);
    assert_eq!(
        table.render(),
        "TOPIC        PARTITIONS  NOTE\n\
         a                     1\n\
         a-long-name       12345  x\n"
    );
}

#[test]
fn bytes_have_the_unit_that_people_read() {
    let shown: Vec<String> = [0, 1023, 1024, 1536, 1 << 30, u64::MAX]
        .into_iter()
        .map(bytes)
        .collect();
    assert_eq!(
        shown,
        [
            "0 B",
            "1023 B",
            "1.0 KiB",
            "1.5 KiB",
            "1.0 GiB",
            "16777215.9 TiB"
        ]
    );
}
