//! A history before it happens: operations of clients, and what is done to the broker meanwhile, drawn from a seed.
//!
//! Every operation stands by itself and draws from a stream of its own when it happens, so a history in which some are
//! left out is a history too.

use streamhouse_runtime::{Chance, SeededChance};
use streamhouse_storage::wal::crash::CrashStyle;

use crate::clients::PARTITION_NUMBERS;
use crate::cluster::disruption::Disruption;
use crate::scenario::Scenario;
use crate::sites::{Moment, Site};
use crate::world::Trigger;

/// Idempotent producers, consumers, and so on.
pub(crate) const PRODUCERS: usize = 4;
pub(crate) const CONSUMERS: usize = 3;
/// Members of each classic group.
pub(crate) const MEMBERS: usize = 3;
/// Groups with members; as many again have simple consumers only.
pub(crate) const GROUPS: usize = 2;

/// One step of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number in the history as it was drawn; its stream of chance.
    pub number: usize,
    /// How long the world goes on before the next one begins, in microseconds.
    pub gap_us: u64,
    /// What is done.
    pub(crate) action: Action,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Records(Records),
    Members(Members),
    Upkeep(Upkeep),
    Disturbance(Disturbance),
    /// Of a cluster.
    Disruption(Disruption),
}

/// What producers, consumers and the administrator do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Records {
    Produce {
        producer: u8,
        partition: u8,
        records: u8,
        burst: u8,
    },
    ProducePlain {
        partition: u8,
        records: u8,
        acks: u8,
    },
    Resend {
        producer: u8,
        partition: u8,
    },
    Fetch {
        consumer: u8,
        partition: u8,
        bytes: u32,
    },
    Rewind {
        consumer: u8,
        partition: u8,
    },
    Look {
        partition: u8,
    },
    /// A fetch that waits for more.
    Park {
        partition: u8,
    },
    Trim {
        partition: u8,
        per_mille: u16,
    },
    TurnOverTopic {
        slot: u8,
    },
}

/// What members of groups and simple consumers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Members {
    Act { group: u8, member: u8, step: u8 },
    SimpleCommit { group: u8, pick: u8 },
    SimpleFetch { group: u8, pick: u8 },
}

/// What the broker does by itself, earlier than it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upkeep {
    Flush,
    Checkpoint,
    Sweep,
    SweepOrphans,
    Retain,
    EvictProducers,
}

/// What is done to the broker and to the world around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    Freeze {
        ms: u32,
    },
    JumpWall {
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
    DiskError {
        call: u8,
        n: u8,
    },
    DiskFull {
        is_full: bool,
    },
    /// Something happens to what is stored, or the operator mends it.
    Stored(Stored),
    /// The broker goes on while another one takes its place.
    Zombie,
    /// The power is cut, and a bit of a durable record of the WAL is wrong afterwards.
    BitRot,
    Crash {
        style: CrashStyle,
        trigger: PlannedTrigger,
    },
    CrashTwice {
        style: CrashStyle,
        trigger: PlannedTrigger,
        second: CrashStyle,
        after: u8,
    },
}

/// What happens to what is stored, and what the operator does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    DamageObject,
    DamageShard {
        shard: u8,
        is_checkpoint: bool,
        style: CrashStyle,
    },
    Mend,
    CopyDatabase,
    BringCopyBack {
        style: CrashStyle,
    },
    ForgetFlush,
}

/// When a planned crash comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlannedTrigger {
    Now,
    Later(Trigger),
}

impl Action {
    /// Whether a client does it.
    fn is_of_client(self) -> bool {
        match self {
            Self::Records(_) | Self::Members(_) => true,
            Self::Upkeep(_) | Self::Disturbance(_) | Self::Disruption(_) => false,
        }
    }
}

/// Draws a history.
pub(crate) struct Draw {
    chance: SeededChance,
    seed: u64,
    crashes: u64,
}

/// The history of `seed` with that many operations of clients.
#[must_use]
pub fn history(seed: u64, operations: usize) -> Vec<Operation> {
    let mut draw = Draw::new(seed);
    let mut history = Vec::with_capacity(operations + operations / 8);
    let mut of_clients = 0;
    while of_clients < operations {
        let action = if draw.below(100) < 9 {
            draw.unasked()
        } else {
            draw.of_client()
        };
        of_clients += usize::from(action.is_of_client());
        history.push(Operation {
            number: history.len(),
            gap_us: draw.gap(),
            action,
        });
    }
    history
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: SeededChance::new(crate::chance::mix(seed ^ 0x6869_7374)),
            seed,
            crashes: 0,
        }
    }

    /// The next place to die: every site has its turn, whatever the seed.
    pub(crate) fn next_site(&mut self, scenario: Scenario) -> Site {
        self.crashes += 1;
        let turn = self.seed.wrapping_mul(31).wrapping_add(self.crashes * 7);
        let all = Site::of(scenario);
        all[usize::try_from(turn % all.len() as u64).unwrap_or(0)]
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    pub(crate) fn small(&self, bound: u64) -> u8 {
        u8::try_from(self.below(bound)).unwrap_or(0)
    }

    fn partition(&self) -> u8 {
        self.small(PARTITION_NUMBERS)
    }

    pub(crate) fn gap(&self) -> u64 {
        match self.below(20) {
            0..8 => self.below(200),
            8..18 => self.below(2_500),
            18 => self.below(20_000),
            _ => self.below(120_000),
        }
    }

    pub(crate) fn of_client(&self) -> Action {
        match self.below(100) {
            0..80 => Action::Records(self.records()),
            _ => Action::Members(self.members()),
        }
    }

    fn records(&self) -> Records {
        let partition = self.partition();
        match self.below(80) {
            0..30 => Records::Produce {
                producer: self.small(PRODUCERS as u64),
                partition,
                records: 1 + self.small(4),
                burst: 1 + self.small(3),
            },
            30..42 => Records::ProducePlain {
                partition,
                records: 1 + self.small(6),
                acks: self.small(3),
            },
            42..48 => Records::Resend {
                producer: self.small(PRODUCERS as u64),
                partition,
            },
            48..70 => Records::Fetch {
                consumer: self.small(CONSUMERS as u64),
                partition,
                bytes: u32::try_from(100 << self.below(9)).unwrap_or(100),
            },
            70..73 => Records::Rewind {
                consumer: self.small(CONSUMERS as u64),
                partition,
            },
            73..75 => Records::Look { partition },
            75 => Records::Park { partition },
            76..78 => Records::Trim {
                partition,
                per_mille: u16::try_from(self.below(1001)).unwrap_or(0),
            },
            _ => Records::TurnOverTopic {
                slot: self.small(3),
            },
        }
    }

    fn members(&self) -> Members {
        let group = self.small(GROUPS as u64);
        match self.below(20) {
            0..14 => Members::Act {
                group,
                member: self.small(MEMBERS as u64),
                step: self.small(64),
            },
            14..17 => Members::SimpleCommit {
                group,
                pick: self.small(16),
            },
            _ => Members::SimpleFetch {
                group,
                pick: self.small(16),
            },
        }
    }

    fn unasked(&mut self) -> Action {
        match self.below(100) {
            0..12 => Action::Upkeep(Upkeep::Flush),
            12..18 => Action::Upkeep(Upkeep::Checkpoint),
            18..22 => Action::Upkeep(Upkeep::Sweep),
            22..24 => Action::Upkeep(Upkeep::SweepOrphans),
            24..27 => Action::Upkeep(Upkeep::Retain),
            27..30 => Action::Upkeep(Upkeep::EvictProducers),
            _ => Action::Disturbance(self.disturbance()),
        }
    }

    fn disturbance(&mut self) -> Disturbance {
        match self.below(84) {
            70..82 => Disturbance::Stored(self.stored()),
            82..84 => Disturbance::Zombie,
            0..6 => Disturbance::Freeze {
                ms: u32::try_from(self.below(1 << (6 + self.below(14)))).unwrap_or(1),
            },
            6..10 => Disturbance::JumpWall {
                ms: i64::try_from(self.below(1 << (8 + self.below(18)))).unwrap_or(0)
                    * if self.below(2) == 0 { 1 } else { -1 },
            },
            10..25 => self.weather(),
            25..28 => Disturbance::StoreDown {
                is_down: self.below(3) == 0,
            },
            28..32 => Disturbance::DiskError {
                call: self.small(7),
                n: 1 + self.small(12),
            },
            32..36 => Disturbance::DiskFull {
                is_full: self.below(3) == 0,
            },
            36 => Disturbance::BitRot,
            37..62 => Disturbance::Crash {
                style: self.style(),
                trigger: self.trigger(),
            },
            _ => Disturbance::CrashTwice {
                style: self.style(),
                trigger: self.trigger(),
                second: self.style(),
                after: 1 + self.small(40),
            },
        }
    }

    fn stored(&self) -> Stored {
        match self.below(24) {
            0..3 => Stored::DamageObject,
            3..7 => Stored::DamageShard {
                shard: self.small(64),
                is_checkpoint: self.below(2) == 0,
                style: self.style(),
            },
            7..15 => Stored::Mend,
            15..18 => Stored::CopyDatabase,
            18..20 => Stored::BringCopyBack {
                style: self.style(),
            },
            _ => Stored::ForgetFlush,
        }
    }

    fn weather(&self) -> Disturbance {
        let ill = |bound: u64| match self.below(4) {
            0 => u16::try_from(self.below(bound)).unwrap_or(0),
            _ => 0,
        };
        Disturbance::Weather {
            objects: ill(300),
            database: ill(300),
            network: ill(200),
        }
    }

    fn style(&self) -> CrashStyle {
        let styles = [
            CrashStyle::Kill,
            CrashStyle::Kill,
            CrashStyle::Forget,
            CrashStyle::Torn,
            CrashStyle::Sectors,
            CrashStyle::Sectors,
        ];
        styles[usize::from(self.small(styles.len() as u64))]
    }

    fn trigger(&mut self) -> PlannedTrigger {
        match self.below(10) {
            0 => PlannedTrigger::Now,
            1 | 2 => PlannedTrigger::Later(Trigger::Poll(1 + self.below(300))),
            3 | 4 => PlannedTrigger::Later(Trigger::Crossing(1 + self.below(120))),
            _ => {
                let site = self.next_site(Scenario::Single);
                let moment = match self.below(3) {
                    0 => Moment::Before,
                    1 if site.has_half() => Moment::Half,
                    _ => Moment::After,
                };
                PlannedTrigger::Later(Trigger::At(site, moment))
            }
        }
    }
}
