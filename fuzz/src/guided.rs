//! Fuzzing guided by coverage: libFuzzer bends the inputs of one target. Built and started by `cargo xtask fuzz`.
//!
//! The variable `STREAMHOUSE_FUZZ_TARGET` names the target. Checksums are repaired after most bendings, as in the seeded
//! runs. A panic ends the process, which is how libFuzzer learns of it; so does an execution that takes too much memory.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use streamhouse_fuzz::campaign::execute;
use streamhouse_fuzz::draw::Draw;
use streamhouse_fuzz::{TARGETS, Target};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("STREAMHOUSE_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.expect("STREAMHOUSE_FUZZ_TARGET names a target")
});

fuzz_target!(|input: &[u8]| {
    let target = *TARGET;
    if input.len() <= target.length_max
        && let Err(broken) = execute(target, input)
    {
        panic!("{}: {}", broken.place, broken.message);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    let mut draw = Draw::new(u64::from(seed));
    match TARGET.repair {
        Some(repair) if !draw.one_in(4) => {
            repair(&mut data[..size], &mut draw);
            size
        }
        Some(_) | None => size,
    }
});
