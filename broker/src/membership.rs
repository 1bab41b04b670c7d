//! How several brokers over one database divide the shards between them.
//!
//! A broker process registers a *life* of its own, renews its lease with heartbeats, and from then on looks at the same
//! facts as all others: who lives, and who holds which shard. There is no controller; see [`placement`] for who should
//! lead what, [`shards`] for what a broker does about it, [`lease`] for until when its answers may be believed, [`history`]
//! for how it notices that the database forgot something.
//!
//! Invariants: what this broker leads was granted to this life of it, and loaded after the grant; what it hands over, it
//! serves no more before it asks for the grant; a life that was declared dead leads nothing ever again, and the process
//! begins another one.
//!
//! A broker with the embedded database is alone and needs none of it: its lease holds for ever
//! ([`lease::Lease::for_ever`]), and it leads what its log has.

pub mod history;
pub mod lease;
pub mod placement;
pub mod shards;

mod endpoints;
mod heartbeat;
mod moves;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use parking_lot::Mutex;
use streamhouse_config::membership::MembershipSettings;
use streamhouse_coordinator::Groups;
use streamhouse_log::Log;
use streamhouse_metadata::{
    Beat, HeartbeatError, Incarnation, MetadataStore, RegisterError, TopicCatalogue,
};
use streamhouse_protocol::ids::BrokerId;
use streamhouse_runtime::{Ambient, Monotonic, deadline};
use tokio::sync::watch;

use crate::reach::{Brokers, KnownBroker, ShardLeaders};
use history::Seen;
use lease::Lease;
use shards::Shards;

/// What a life is registered with.
#[derive(Clone, Debug)]
pub struct MembershipParts {
    /// Clock, chance and tasks of this life: tasks that end with it.
    pub ambient: Ambient,
    /// The database that all brokers share. Its heartbeats wait for nothing else.
    pub store: Arc<dyn MetadataStore>,
    /// This broker as clients are told of it.
    pub broker: KnownBroker,
    /// This life, which nobody had before. The log is opened with the same.
    pub incarnation: Incarnation,
    /// How long leases and stays are.
    pub settings: MembershipSettings,
    /// What the life before it saw of the database, in the same process.
    pub seen: Seen,
}

/// What a life leads shards with.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// The log, which leads nothing yet.
    pub log: Log,
    /// The groups, of which none is loaded.
    pub groups: Groups,
    /// The topics, kept up to date from here on.
    pub catalogue: Arc<TopicCatalogue>,
}

/// Why a broker did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Another process has this number, and lives: it renewed its lease meanwhile.
    #[error(
        "broker {broker} runs already, as incarnation {incarnation}: stop it, or give this one another broker.node_id"
    )]
    Twin {
        /// The number.
        broker: BrokerId,
        /// The life of the other one.
        incarnation: Incarnation,
    },
    /// The broker was not registered.
    #[error("this broker cannot be registered in the metadata database: {0}")]
    Register(RegisterError),
    /// It was registered, and no heartbeat came through for as long as a lease lasts.
    #[error("this broker has no lease: {0}")]
    Heartbeat(#[from] HeartbeatError),
}

/// Why a life is over. It answers nothing any more, and leads nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeOver {
    /// Others declared it dead, after its lease had ended.
    Dead,
    /// The database does not know it, and its lease has ended.
    Forgotten,
    /// It left.
    Left,
}

impl LifeOver {
    /// Whether the process goes on with another life.
    #[must_use]
    pub const fn is_followed(self) -> bool {
        match self {
            Self::Dead | Self::Forgotten => true,
            Self::Left => false,
        }
    }
}

impl fmt::Display for LifeOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dead => "its lease ended, and others took its shards",
            Self::Forgotten => "its lease ended, and the database does not know it any more",
            Self::Left => "it left",
        })
    }
}

/// One life of this broker among the others. Clones share it.
#[derive(Clone, Debug)]
pub struct Membership {
    life: Arc<Life>,
    shards: Arc<Mutex<Option<Arc<Shards>>>>,
}

/// What the parts of a membership share.
#[derive(Debug)]
struct Life {
    ambient: Ambient,
    store: Arc<dyn MetadataStore>,
    incarnation: Incarnation,
    began: Monotonic,
    /// This broker as clients are told of it.
    own: KnownBroker,
    settings: MembershipSettings,
    lease: Lease,
    brokers: Arc<Brokers>,
    leaders: Arc<ShardLeaders>,
    /// The newest heartbeat that came through.
    beat: watch::Sender<Option<Beat>>,
    over: watch::Sender<Option<LifeOver>>,
    /// A leaf lock: nothing is locked under it.
    state: Mutex<LifeState>,
}

#[derive(Debug, Default)]
struct LifeState {
    seen: Seen,
    /// Since when the database is heard of without a gap as long as a lease; none before the first heartbeat.
    in_touch_since: Option<Monotonic>,
    /// What the database forgot. Nothing is served from then on.
    regression: Option<String>,
}

impl Life {
    /// Completes when the life is over, or its tasks are to end.
    async fn ended(&self) {
        let mut over = self.over.subscribe();
        let is_over = async {
            // An error says that the life is gone.
            let _ = over.wait_for(Option::is_some).await;
        };
        // Both arms may be dropped: they only look.
        tokio::select! {
            biased;
            () = is_over => {}
            () = self.ambient.tasks.shutdown_requested() => {}
        }
    }

    /// Runs `work` unless the life ends before it is done. For work that may be dropped.
    async fn while_alive<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.ended() => None,
            done = work => Some(done),
        }
    }

    fn is_over(&self) -> bool {
        self.over.borrow().is_some()
    }

    /// The life is over; the first reason stays.
    fn end(&self, why: LifeOver) {
        self.lease.lose();
        let is_first = self.over.send_if_modified(|over| {
            let is_first = over.is_none();
            over.get_or_insert(why);
            is_first
        });
        if is_first && why.is_followed() {
            tracing::error!(
                incarnation = %self.incarnation,
                "this life of the broker is over: {why}; the process goes on with another one"
            );
        }
    }

    fn regression(&self) -> Option<String> {
        self.state.lock().regression.clone()
    }

    /// For how long the database is heard of.
    fn in_touch_for(&self) -> Duration {
        let since = self.state.lock().in_touch_since;
        let now = self.ambient.clock.monotonic();
        since.map_or(Duration::ZERO, |since| now - since)
    }
}

impl Membership {
    /// Registers this life and begins its heartbeats. It leads nothing yet, and clients are told of this broker alone.
    ///
    /// The lease of an earlier life with the same number, which was killed, is waited for; a twin that lives is refused.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn join(parts: MembershipParts) -> Result<Self, JoinError> {
        let MembershipParts {
            ambient,
            store,
            broker,
            incarnation,
            settings,
            seen,
        } = parts;
        let life = Arc::new(Life {
            lease: Lease::not_yet(Arc::clone(&ambient.clock), settings.lease),
            began: ambient.clock.monotonic(),
            ambient,
            store,
            incarnation,
            brokers: Arc::new(Brokers::alone(broker.clone())),
            own: broker,
            settings,
            leaders: Arc::default(),
            beat: watch::Sender::new(None),
            over: watch::Sender::new(None),
            state: Mutex::new(LifeState {
                seen,
                ..LifeState::default()
            }),
        });
        life.register().await?;
        life.first_beat().await?;
        let tasks = &life.ambient.tasks;
        tasks.spawn("heartbeat", Arc::clone(&life).keep_alive());
        tracing::info!(
            broker = life.own.broker.0, incarnation = %life.incarnation,
            "this broker is a member of the cluster"
        );
        Ok(Self {
            life,
            shards: Arc::default(),
        })
    }

    /// Begins to take, load, hand over and cede shards. Returns when this broker has looked at the others once, so that
    /// clients can be told of them; shards are loaded from then on, and clients that ask for one earlier try again.
    pub async fn lead(&self, rooms: Rooms) {
        let shards = Shards::new(Arc::clone(&self.life), rooms);
        *self.shards.lock() = Some(Arc::clone(&shards));
        shards.first_round().await;
        let tasks = &self.life.ambient.tasks;
        tasks.spawn("membership", Arc::clone(&shards).run());
    }

    /// The lease of this life: what the dispatcher asks before it sends an answer.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.life.lease.clone()
    }

    /// The living brokers, kept up to date.
    #[must_use]
    pub fn brokers(&self) -> Arc<Brokers> {
        Arc::clone(&self.life.brokers)
    }

    /// Who leads which shard, kept up to date.
    #[must_use]
    pub fn leaders(&self) -> Arc<ShardLeaders> {
        Arc::clone(&self.life.leaders)
    }

    /// What this life saw of the database, for the next one in this process.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.life.state.lock().seen
    }

    /// Completes when the life is over, and says why. All of it is torn down then, and the process begins another one
    /// ([`LifeOver::is_followed`]).
    pub async fn over(&self) -> LifeOver {
        let mut over = self.life.over.subscribe();
        let over = over.wait_for(Option::is_some).await;
        // The sender lives as long as this.
        over.map_or(LifeOver::Left, |over| over.unwrap_or(LifeOver::Left))
    }

    /// Leaves: stages nothing more, records what is staged, at most until `within` has passed, and says so to the others,
    /// who take over at once.
    pub async fn leave(&self, within: Duration) {
        let life = &self.life;
        let until = life.ambient.clock.monotonic() + within;
        let shards = self.shards.lock().clone();
        if let Some(shards) = shards {
            shards.give_up_all(until).await;
        }
        if life.is_over() {
            return;
        }
        let left = deadline(&*life.ambient.clock, until, life.say_goodbye()).await;
        if left.is_none() {
            tracing::warn!(
                "the others were not told that this broker leaves; they wait for the end of its lease"
            );
        }
        life.end(LifeOver::Left);
    }

    /// Why clients are not served, if they are not.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let life = &self.life;
        let mut reasons = Vec::new();
        if let Some(regression) = life.regression() {
            reasons.push(format!("metadata_regression: {regression}"));
        }
        if !life.lease.holds() {
            reasons.push(
                "the lease of this broker is over: the metadata database did not answer a heartbeat in time"
                    .to_owned(),
            );
        }
        reasons
    }

    /// Brings the metrics up to date.
    pub fn observe(&self) {
        let life = &self.life;
        let remaining = life.lease.remaining().unwrap_or_default();
        gauge!("streamhouse_membership_lease_remaining_seconds").set(remaining.as_secs_f64());
        let shards = self.shards.lock().clone();
        let led = shards.map_or(0, |shards| shards.serving());
        gauge!("streamhouse_membership_shards_led").set(led as f64);
        gauge!("streamhouse_membership_brokers_living").set(life.brokers.current().len() as f64);
        let is_regressed = life.regression().is_some();
        gauge!("streamhouse_membership_regression").set(f64::from(u8::from(is_regressed)));
        // Counters are there from the start, so that their first increase is seen.
        for name in COUNTERS {
            counter!(name).increment(0);
        }
    }
}

/// What is counted as it happens.
const COUNTERS: [&str; 3] = [
    "streamhouse_membership_handovers_total",
    "streamhouse_membership_heartbeats_failed_total",
    "streamhouse_membership_takeovers_total",
];

/// The brokers that live, by their lives.
type LivingById = BTreeMap<Incarnation, KnownBroker>;
