//! What `java.util.Properties.load` makes of each of these texts was recorded from Java.

use proptest::prelude::*;

use super::*;

fn check(text: &str, expect: &[(&str, &str)]) {
    let found = parse(text).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|p| (p.key.as_str(), p.value.as_str()))
        .collect();
    assert_eq!(found, expect, "{text:?}");
}

#[test]
fn keys_end_at_equals_signs_colons_and_blanks() {
    check("a=b", &[("a", "b")]);
    check("a = b ", &[("a", "b ")]);
    check("a:b", &[("a", "b")]);
    check("a b", &[("a", "b")]);
    check("a\tb", &[("a", "b")]);
    check("a\x0c=b", &[("a", "b")]);
    check("a   =   b", &[("a", "b")]);
    check("a==b", &[("a", "=b")]);
    check("a=b=c", &[("a", "b=c")]);
    check("  a=b", &[("a", "b")]);
    check("a", &[("a", "")]);
    check("=b", &[("", "b")]);
}

#[test]
fn comments_and_blank_lines_are_skipped() {
    check("#a=b", &[]);
    check("!a=b", &[]);
    check("   ", &[]);
    check("#c\\\na=b", &[("a", "b")]);
    check("\\#a=b", &[("#a", "b")]);
}

#[test]
fn escapes_are_resolved() {
    check("a\\=b=c", &[("a=b", "c")]);
    check("a\\:b:c", &[("a:b", "c")]);
    check("a\\ b=c", &[("a b", "c")]);
    check("a= \\ b", &[("a", " b")]);
    check("a=\\u0041", &[("a", "A")]);
    check("a=\\ud83d\\ude00", &[("a", "\u{1f600}")]);
    check("a=\\x\\y", &[("a", "xy")]);
    check("a=\\t|\\n|\\\\", &[("a", "\t|\n|\\")]);
    check("a=b\\", &[("a", "b")]);
}

#[test]
fn a_backslash_at_the_end_continues_the_line() {
    check("a=b\\\n   c", &[("a", "bc")]);
    check("a=b\\\r\n  c", &[("a", "bc")]);
    check("a=b\\\\\nc=d", &[("a", "b\\"), ("c", "d")]);
    check("a=b\\\n#c", &[("a", "b#c")]);
    check("a=b\\\n\nc=d", &[("a", "b"), ("c", "d")]);
    check("\\\n", &[("", "")]);
}

#[test]
fn every_line_end_counts() {
    check("a=1\ra=2", &[("a", "1"), ("a", "2")]);
    check("a=1\r\nb=2\nc=3", &[("a", "1"), ("b", "2"), ("c", "3")]);
}

#[test]
fn entries_know_the_line_on_which_they_begin() {
    let lines: Vec<usize> = parse("#\na=1\\\n2\n\nb=3")
        .unwrap()
        .iter()
        .map(|p| p.line)
        .collect();
    assert_eq!(lines, [2, 5]);
}

#[test]
fn malformed_unicode_escapes_name_their_line() {
    for text in ["\n\na=\\u00zz", "\n\na=\\u12", "\n\na=\\ud83d"] {
        assert_eq!(parse(text), Err(PropertiesError { line: 3 }), "{text:?}");
    }
}

/// Writes an entry as `java.util.Properties.store` does.
fn store(key: &str, value: &str) -> String {
    let escape = |text: &str, is_key: bool| {
        let mut out = String::new();
        for (index, c) in text.chars().enumerate() {
            match c {
                ' ' if is_key || index == 0 => out.push_str("\\ "),
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\x0c' => out.push_str("\\f"),
                '=' | ':' | '#' | '!' | '\\' => out.extend(['\\', c]),
                ' '..='~' => out.push(c),
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04X}"));
                    }
                }
            }
        }
        out
    };
    format!("{}={}\n", escape(key, true), escape(value, false))
}

proptest! {
    #![proptest_config(crate::test_scale::cases())]

    #[test]
    fn what_java_stores_is_read_back(entries in prop::collection::vec((any::<String>(), any::<String>()), 0..5)) {
        let text: String = entries.iter().map(|(key, value)| store(key, value)).collect();
        let found: Vec<_> = parse(&text).unwrap().into_iter().map(|p| (p.key, p.value)).collect();
        prop_assert_eq!(found, entries);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-f\\\\u=: #\\n\\r\\t0-9]{0,40}|\\PC{0,40}") {
        let entries = parse(&text).map(|entries| entries.len());
        let lines = text.split(['\n', '\r']).count();
        prop_assert!(entries.is_err() || entries.is_ok_and(|count| count <= lines));
    }
}
