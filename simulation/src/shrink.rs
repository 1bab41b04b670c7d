//! Makes a failing history short: operations are left out while what is left still breaks the same invariant.

use crate::plan::Operation;
use crate::run::Outcome;
use crate::scenario::Scenario;

/// How many histories are tried at most.
const TRIES_MAX: usize = 400;

/// A short history that breaks the invariant that `operations` break, and what comes of it.
#[must_use]
pub fn shrink(
    scenario: Scenario,
    seed: u64,
    operations: &[Operation],
    outcome: Outcome,
) -> (Vec<Operation>, Outcome) {
    let Some(breach) = &outcome.breach else {
        return (operations.to_vec(), outcome);
    };
    let invariant = breach.violation.invariant;
    // Nothing behind the breach has happened.
    let mut kept: Vec<Operation> = operations.to_vec();
    kept.retain(|operation| operation.number <= breach.operation);
    let mut best = outcome.clone();
    let mut tries = 0;
    let mut chunk = kept.len().div_ceil(2).max(1);
    while tries < TRIES_MAX {
        let mut from = 0;
        let mut has_shrunk = false;
        while from < kept.len() && tries < TRIES_MAX {
            let to = (from + chunk).min(kept.len());
            let mut without = kept[..from].to_vec();
            without.extend_from_slice(&kept[to..]);
            tries += 1;
            let outcome = scenario.run(seed, &without, false);
            let is_same = outcome
                .breach
                .as_ref()
                .is_some_and(|breach| breach.violation.invariant == invariant);
            if is_same {
                kept = without;
                best = outcome;
                has_shrunk = true;
            } else {
                from = to;
            }
        }
        if chunk > 1 {
            chunk = chunk.div_ceil(2);
        } else if !has_shrunk {
            break;
        }
    }
    (kept, best)
}
