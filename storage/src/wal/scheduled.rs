//! The work of both threads as one task, for simulations: a group, then perhaps some upkeep, with pauses between them that
//! are drawn, so that other tasks come in between.

use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use super::{Turn, WalListener};

/// The longest pause before a queue is looked at again.
const LOOK_AGAIN_US: u64 = 1_500;

pub(super) async fn drive(shared: Arc<Shared>, listener: Arc<dyn WalListener>) {
    let ambient = &shared.ambient;
    loop {
        let mut pause = Duration::from_micros(10 + ambient.chance.below(300));
        match shared.turn(listener.as_ref()) {
            Turn::Wrote { .. } => {}
            Turn::Idle { .. } => {
                pause = Duration::from_micros(100 + ambient.chance.below(LOOK_AGAIN_US));
            }
            Turn::Stopped => break,
        }
        if ambient.chance.below(3) == 0 {
            shared.upkeep();
        }
        ambient.clock.sleep(pause).await;
    }
    shared.stop_upkeep();
}
