//! The committed page and the line of the README are those that the table makes.

use std::path::Path;

#[test]
fn the_committed_page_is_fresh() {
    is_fresh("docs/reference/apis.md", |_| super::reference_markdown());
}

#[test]
fn the_readme_names_every_api_and_its_versions() {
    is_fresh("README.md", |committed| {
        let mut lines: Vec<String> = committed.lines().map(str::to_owned).collect();
        let mut ours = lines
            .iter_mut()
            .filter(|line| line.starts_with(super::README_LINE));
        *ours.next().expect("the README has a line for them") = super::readme_line();
        lines.join("\n") + "\n"
    });
}

fn is_fresh(file: &str, make: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var("STREAMHOUSE_BLESS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, make(&read())).unwrap();
    }
    let committed = read();
    assert!(
        committed == make(&committed),
        "{file} is stale: run the test again with STREAMHOUSE_BLESS=1"
    );
}

#[test]
fn every_key_stands_once_and_in_order() {
    let keys: Vec<i16> = crate::handlers::APIS
        .iter()
        .map(|api| api.key as i16)
        .collect();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
}
