//! What is done to the brokers of a cluster and to the world around them.

use std::time::Duration;

use streamhouse_metadata::store::{BrokerRow, BrokerShelf, Incarnation, RegisterError};
use streamhouse_protocol::ids::BrokerId;
use streamhouse_runtime::{Chance, Clock};
use streamhouse_storage::wal::crash::CrashStyle;

use super::failover::Change;
use super::membership::LEASE;
use super::{BROKERS, Cluster};
use crate::encounters::Encounter;
use crate::executor::CLIENTS;
use crate::invariant::Invariant;
use crate::machine::Reach;
use crate::network::Network;
use crate::plan::Upkeep;
use crate::world::{Doom, Trigger, Weather};

/// What is done. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disruption {
    Kill {
        seat: u8,
    },
    /// A broker dies at this place, whichever passes it first.
    Doom {
        trigger: Trigger,
    },
    /// Nobody starts the broker of this seat for a while.
    Off {
        seat: u8,
        ms: u32,
    },
    /// A broker stands still while time goes on.
    Pause {
        seat: u8,
        ms: u32,
    },
    /// It does at this place.
    PauseAt {
        trigger: Trigger,
        ms: u32,
    },
    /// A broker leaves, as it is asked to.
    Leave {
        seat: u8,
    },
    /// A broker hands a shard over.
    Move {
        seat: u8,
    },
    /// Another process with the number of this broker starts.
    Twin {
        seat: u8,
    },
    CutDatabase {
        seat: u8,
        how: u8,
        ms: u32,
    },
    CutObjects {
        seat: u8,
        ms: u32,
    },
    JumpWall {
        seat: u8,
        ms: i64,
    },
    JumpDatabase {
        ms: i64,
    },
    Weather {
        objects: u16,
        database: u16,
        network: u16,
    },
    StoreDown {
        is_down: bool,
    },
    DatabaseDown {
        ms: u32,
    },
    FailOver {
        lag_ms: u32,
        followers: u8,
        split_ms: u32,
        down_ms: u32,
    },
    Upkeep {
        seat: u8,
        upkeep: Upkeep,
    },
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

impl Cluster {
    /// Does it. Upkeep is left to the caller.
    pub(crate) fn disrupt(&self, disruption: Disruption) {
        let world = self.world();
        let seat = |seat: u8| usize::from(seat) % BROKERS;
        match disruption {
            Disruption::Kill { seat: number } => self.kill(seat(number)),
            Disruption::Doom { trigger } => world.plan_death(Doom {
                style: CrashStyle::Kill,
                trigger,
            }),
            Disruption::Off {
                seat: number,
                ms: pause,
            } => self.switch_off(seat(number), ms(pause)),
            Disruption::Pause {
                seat: number,
                ms: pause,
            } => self.pause(seat(number), ms(pause)),
            Disruption::PauseAt { trigger, ms: pause } => world.plan_pause(trigger, ms(pause)),
            Disruption::Leave { seat: number } => self.leave(seat(number)),
            Disruption::Move { seat: number } => {
                let broker = self.broker(seat(number));
                let membership = broker.and_then(|broker| broker.membership.clone());
                membership.inspect(|membership| membership.want_to_move());
            }
            Disruption::Twin { seat: number } => self.start_a_twin(seat(number)),
            Disruption::CutDatabase {
                seat: number,
                how,
                ms: pause,
            } => {
                let ways = [Reach::Refused, Reach::Silent, Reach::NoAnswers];
                let machine = self.machine(seat(number));
                machine.set_database(ways[usize::from(how) % ways.len()]);
                self.after(ms(pause), move |_| machine.set_database(Reach::Fine));
            }
            Disruption::CutObjects {
                seat: number,
                ms: pause,
            } => {
                let machine = self.machine(seat(number));
                machine.set_cut_from_objects(true);
                self.after(ms(pause), move |_| machine.set_cut_from_objects(false));
            }
            Disruption::JumpWall { .. }
            | Disruption::JumpDatabase { .. }
            | Disruption::Weather { .. }
            | Disruption::StoreDown { .. }
            | Disruption::DatabaseDown { .. }
            | Disruption::FailOver { .. } => self.disrupt_all(disruption),
            Disruption::Upkeep { .. } => {}
        }
    }

    fn disrupt_all(&self, disruption: Disruption) {
        let database = &self.ground.database;
        match disruption {
            Disruption::JumpWall { seat, ms } => {
                self.machine(usize::from(seat) % BROKERS).jump_wall(ms);
            }
            Disruption::JumpDatabase { ms } => self.jump_database(ms),
            Disruption::Weather {
                objects,
                database,
                network,
            } => {
                self.ground.bucket.set_ill(u64::from(objects));
                self.world().set_weather(Weather {
                    database_per_mille: u64::from(database),
                    network_per_mille: u64::from(network),
                });
            }
            Disruption::StoreDown { is_down } => self.ground.bucket.set_down(is_down),
            Disruption::DatabaseDown { ms: pause } => {
                database.set_down(true);
                self.after(ms(pause), |cluster| cluster.ground.database.set_down(false));
            }
            Disruption::FailOver {
                lag_ms,
                followers,
                split_ms,
                down_ms,
            } => self.change_server(Change {
                lag: ms(lag_ms),
                followers,
                split: ms(split_ms),
                down: ms(down_ms),
            }),
            Disruption::Kill { .. }
            | Disruption::Doom { .. }
            | Disruption::Off { .. }
            | Disruption::Pause { .. }
            | Disruption::PauseAt { .. }
            | Disruption::Leave { .. }
            | Disruption::Move { .. }
            | Disruption::Twin { .. }
            | Disruption::CutDatabase { .. }
            | Disruption::CutObjects { .. }
            | Disruption::Upkeep { .. } => {}
        }
    }

    /// Does something later.
    pub(super) fn after(&self, pause: Duration, act: impl FnOnce(&Self) + Send + 'static) {
        let cluster = self.clone();
        let later = async move {
            cluster.world().clock.sleep(pause).await;
            act(&cluster);
        };
        self.world()
            .executor
            .spawn(CLIENTS, "end of a disruption", Box::pin(later));
    }

    fn switch_off(&self, seat: usize, pause: Duration) {
        if self.inner.lock().seats[seat].is_off {
            return;
        }
        self.inner.lock().seats[seat].is_off = true;
        self.kill(seat);
        self.after(pause, move |cluster| cluster.switch_on(seat));
    }

    /// The machine of a seat runs again.
    pub(crate) fn switch_on(&self, seat: usize) {
        if self.is_repairing() {
            return;
        }
        let was_off = std::mem::take(&mut self.inner.lock().seats[seat].is_off);
        if was_off {
            self.start(seat, Duration::ZERO);
        }
    }

    fn pause(&self, seat: usize, pause: Duration) {
        let life = self.life(seat);
        self.world().pause(&life, pause);
        let Some(broker) = self.broker(seat) else {
            return;
        };
        let Some(membership) = broker.membership.clone() else {
            return;
        };
        let had = !membership.served().is_empty();
        drop(broker);
        let process = life.process;
        self.after(pause, move |cluster| {
            let lives = (0..BROKERS).any(|seat| cluster.life(seat).process == process);
            if had && lives && !membership.holds() {
                cluster.world().met(Encounter::PausedOverLease);
            }
        });
    }

    fn leave(&self, seat: usize) {
        let Some(broker) = self.broker(seat) else {
            return;
        };
        let process = broker.life.process;
        let leaving = async move {
            if let Some(membership) = &broker.membership {
                membership.leave(&broker).await;
            }
        };
        self.world()
            .executor
            .spawn(process, "leaving", Box::pin(leaving));
    }

    /// A twin is refused while the broker has a lease.
    fn start_a_twin(&self, seat: usize) {
        let world = self.world();
        let number = i32::try_from(seat).unwrap_or(0) + 1;
        let row = BrokerRow {
            broker: BrokerId(number),
            incarnation: Incarnation(world.chance.next_u128()),
            endpoints: Vec::new(),
            rack: None,
        };
        let membership = self
            .broker(seat)
            .and_then(|broker| broker.membership.clone());
        let holds = membership.is_some_and(|membership| membership.holds());
        let twin = self.ground.database.truth.register_broker(row, LEASE);
        let registered = futures::FutureExt::now_or_never(twin);
        match registered {
            Some(Err(RegisterError::Twin { .. })) => world.met(Encounter::TwinRefused),
            Some(Ok(())) if holds && self.are_leases_certain() && self.are_leases_known() => {
                let what = format!("a twin of broker {number} was taken, whose lease holds");
                world.breach(Invariant::OneLeader, what);
            }
            Some(Ok(()) | Err(RegisterError::Dead { .. } | RegisterError::Store(_))) | None => {}
        }
    }

    /// All faults end: brokers run, clocks may stay wrong.
    pub(crate) fn heal(&self) {
        let world = self.world();
        world.forget_death();
        world.set_weather(Weather::default());
        self.ground.bucket.set_ill(0);
        self.ground.bucket.set_down(false);
        self.ground.database.set_down(false);
        self.ground.database.end_split(&self.machines());
        for seat in 0..BROKERS {
            let machine = self.machine(seat);
            machine.set_database(Reach::Fine);
            machine.set_cut_from_objects(false);
            world.executor.resume(self.life(seat).process);
            self.switch_on(seat);
        }
    }
}
