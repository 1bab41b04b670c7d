//! How hard the generated tests try.

/// How many cases a property runs: `base` times the variable `STREAMHOUSE_TEST_SCALE`, default 1.
pub(crate) fn cases(base: u32) -> u32 {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE")
        .ok()
        .and_then(|text| text.parse().ok());
    base.saturating_mul(scale.unwrap_or(1_u32))
}
