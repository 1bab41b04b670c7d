//! What can be afforded, whatever the order of successes and repetitions.

use proptest::prelude::*;

use super::{Budget, COST, CREDITS_MAX};

#[test]
fn an_outage_ends_the_repetitions_and_successes_bring_them_back() {
    let mut budget = Budget::full();
    let paid = (0..1_000).filter(|_| budget.pay()).count();
    assert_eq!(paid, 100);
    for _ in 1..COST {
        budget.earn();
    }
    assert!(!budget.pay(), "four successes are not enough");
    budget.earn();
    assert!(budget.pay());
    assert!(!budget.pay());
}

proptest! {
    #[test]
    fn repetitions_never_exceed_the_start_and_a_fifth_of_the_successes(
        successes in proptest::collection::vec(any::<bool>(), 0..3_000)
    ) {
        let mut budget = Budget::full();
        let (mut earned, mut paid) = (0, 0);
        for is_success in successes {
            if is_success {
                budget.earn();
                earned += 1;
            } else if budget.pay() {
                paid += 1;
            }
            prop_assert!(paid * COST <= CREDITS_MAX + earned);
        }
    }
}
