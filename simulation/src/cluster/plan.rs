//! A history of a cluster before it happens, drawn from a seed.

use super::disruption::Disruption;
use crate::plan::{Action, Draw, Operation, Upkeep};
use crate::scenario::Scenario;
use crate::sites::{Moment, Site};
use crate::world::Trigger;

/// The history of `seed` with that many operations of clients.
pub(crate) fn history(seed: u64, operations: usize) -> Vec<Operation> {
    let mut draw = Draw::new(seed ^ 0x636c_7573);
    let mut history = Vec::with_capacity(operations + operations / 16);
    let mut of_clients = 0;
    // In a calm world what stands still is left alone until it wakes up, and others have taken what it led.
    let is_calm = draw.below(3) == 0;
    let per_mille = if is_calm { 5 } else { 25 };
    while of_clients < operations {
        let is_of_client = draw.below(1000) >= per_mille;
        let action = if is_of_client {
            of_clients += 1;
            draw.of_client()
        } else if is_calm && draw.below(2) == 0 {
            Action::Disruption(pause_at(&mut draw))
        } else {
            Action::Disruption(disruption(&mut draw))
        };
        history.push(Operation {
            number: history.len(),
            gap_us: draw.gap(),
            action,
        });
    }
    history
}

fn seat(draw: &Draw) -> u8 {
    draw.small(super::BROKERS as u64)
}

/// Mostly short, sometimes longer than a lease.
fn pause(draw: &Draw) -> u32 {
    u32::try_from(draw.below(1 << (4 + draw.below(9)))).unwrap_or(1)
}

fn jump(draw: &Draw, bits: u64) -> i64 {
    let ms = i64::try_from(draw.below(1 << (6 + draw.below(bits)))).unwrap_or(0);
    if draw.below(2) == 0 { ms } else { -ms }
}

fn upkeep(draw: &Draw) -> Upkeep {
    match draw.below(12) {
        0..4 => Upkeep::Checkpoint,
        4..7 => Upkeep::Sweep,
        7..9 => Upkeep::SweepOrphans,
        9..11 => Upkeep::Retain,
        _ => Upkeep::EvictProducers,
    }
}

fn disruption(draw: &mut Draw) -> Disruption {
    match draw.below(100) {
        0..22 => Disruption::Upkeep {
            seat: seat(draw),
            upkeep: upkeep(draw),
        },
        22..30 => Disruption::Kill { seat: seat(draw) },
        30..38 => Disruption::Doom {
            trigger: trigger(draw),
        },
        38..40 => Disruption::Off {
            seat: seat(draw),
            ms: 1_000 + pause(draw),
        },
        40..45 => Disruption::Pause {
            seat: seat(draw),
            ms: pause(draw),
        },
        45..52 => pause_at(draw),
        52..54 => Disruption::Leave { seat: seat(draw) },
        54..60 => Disruption::Move { seat: seat(draw) },
        60 => Disruption::Twin { seat: seat(draw) },
        61..68 => Disruption::CutDatabase {
            seat: seat(draw),
            how: draw.small(3),
            ms: pause(draw),
        },
        68..71 => Disruption::CutObjects {
            seat: seat(draw),
            ms: pause(draw),
        },
        71..74 => Disruption::JumpWall {
            seat: seat(draw),
            ms: jump(draw, 18),
        },
        74 => Disruption::JumpDatabase { ms: jump(draw, 6) },
        75..84 => weather(draw),
        84..87 => Disruption::StoreDown {
            is_down: draw.below(3) == 0,
        },
        87..92 => Disruption::DatabaseDown {
            ms: pause(draw) / 2,
        },
        _ => Disruption::FailOver {
            lag_ms: match draw.below(2) {
                0 => 0,
                _ => 10 + u32::try_from(draw.below(400)).unwrap_or(0),
            },
            followers: if draw.below(2) == 0 { draw.small(8) } else { 0 },
            split_ms: pause(draw),
            down_ms: pause(draw) / 8,
        },
    }
}

/// A broker stands still with something to say, until nobody wants to hear it.
fn pause_at(draw: &mut Draw) -> Disruption {
    let (trigger, ms) = match draw.below(6) {
        0 => (trigger(draw), 1_000 + pause(draw)),
        1 => (
            Trigger::At(Site::GroupsWrite, Moment::Before),
            1_000 + pause(draw),
        ),
        // Until just behind its lease, when others have taken some of its shards and not yet all.
        _ => (
            Trigger::At(Site::Commit, Moment::Before),
            800 + u32::try_from(draw.below(400)).unwrap_or(0),
        ),
    };
    Disruption::PauseAt { trigger, ms }
}

fn weather(draw: &Draw) -> Disruption {
    let ill = |bound: u64| match draw.below(3) {
        0 => u16::try_from(draw.below(bound)).unwrap_or(0),
        _ => 0,
    };
    Disruption::Weather {
        objects: ill(200),
        database: ill(250),
        network: ill(150),
    }
}

fn trigger(draw: &mut Draw) -> Trigger {
    match draw.below(8) {
        0 => Trigger::Poll(1 + draw.below(300)),
        1 | 2 => Trigger::Crossing(1 + draw.below(120)),
        _ => {
            // Every site has its turn, whatever the seed.
            let site: Site = draw.next_site(Scenario::Cluster);
            let moment = if draw.below(2) == 0 {
                Moment::Before
            } else {
                Moment::After
            };
            Trigger::At(site, moment)
        }
    }
}
