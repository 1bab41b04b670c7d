//! The checkout keeps its own rules.

use std::path::Path;

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let problems = super::problems(root).unwrap();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}
