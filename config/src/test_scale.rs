//! How many cases properties are tried with.

use proptest::test_runner::Config;

/// Cases of one property in a default run.
const CASES: u32 = 256;

/// The default number of cases times `STREAMHOUSE_TEST_SCALE`.
pub(crate) fn cases() -> Config {
    let scale = std::env::var("STREAMHOUSE_TEST_SCALE").ok();
    let scale: u32 = scale.and_then(|text| text.parse().ok()).unwrap_or(1);
    Config::with_cases(CASES.saturating_mul(scale))
}
