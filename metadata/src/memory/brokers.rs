//! The brokers shelf in memory.

use std::time::Duration;

use async_trait::async_trait;

use super::{Facts, Life, MemoryStore};
use crate::store::laws::{bug, lease_end};
use crate::store::{
    Beat, BrokerRow, BrokerShelf, DEAD_AGE_MAX_MS, HeartbeatError, Incarnation, Living,
    LivingBroker, RegisterError, StoreError,
};

impl Life {
    /// When its lease ends, if it holds now.
    pub(super) fn held_until(&self, now_ms: i64) -> Option<i64> {
        let holds = self.died_ms.is_none() && self.lease_until_ms > now_ms;
        holds.then_some(self.lease_until_ms)
    }
}

impl Facts {
    fn register(
        &mut self,
        broker: BrokerRow,
        lease: Duration,
        now: i64,
    ) -> Result<(), RegisterError> {
        if let Some(same) = self.brokers.get(&broker.incarnation) {
            if same.died_ms.is_some() {
                return Err(RegisterError::Dead {
                    broker: broker.broker,
                    incarnation: broker.incarnation,
                });
            }
            if same.broker.broker != broker.broker {
                return Err(
                    bug("register a broker", "one incarnation cannot be two brokers").into(),
                );
            }
        }
        let is_other = |life: &Life| {
            life.broker.broker == broker.broker && life.broker.incarnation != broker.incarnation
        };
        for twin in self.brokers.values().filter(|life| is_other(life)) {
            if let Some(until_ms) = twin.held_until(now) {
                return Err(RegisterError::Twin {
                    broker: broker.broker,
                    incarnation: twin.broker.incarnation,
                    until_ms,
                    now_ms: now,
                });
            }
        }
        for life in self.brokers.values_mut().filter(|life| is_other(life)) {
            life.died_ms.get_or_insert(now);
        }
        self.brokers.retain(|_, life| {
            life.died_ms
                .is_none_or(|at| now.saturating_sub(at) <= DEAD_AGE_MAX_MS)
        });
        let life = Life {
            lease_until_ms: lease_end(now, lease),
            died_ms: None,
            broker,
        };
        self.brokers.insert(life.broker.incarnation, life);
        Ok(())
    }
}

#[async_trait]
impl BrokerShelf for MemoryStore {
    async fn register_broker(
        &self,
        broker: BrokerRow,
        lease: Duration,
    ) -> Result<(), RegisterError> {
        let mut facts = self.facts("register a broker")?;
        facts.register(broker, lease, self.ambient.clock.wall_ms())?;
        self.wake();
        Ok(())
    }

    async fn heartbeat(
        &self,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<Beat, HeartbeatError> {
        let mut facts = self.facts("renew a lease")?;
        let now_ms = self.ambient.clock.wall_ms();
        let Some(life) = facts.brokers.get_mut(&incarnation) else {
            return Err(HeartbeatError::Unknown { incarnation });
        };
        if life.died_ms.is_some() {
            return Err(HeartbeatError::Dead { incarnation });
        }
        life.lease_until_ms = lease_end(now_ms, lease);
        Ok(Beat {
            until_ms: life.lease_until_ms,
            now_ms,
            revision: facts.revision(),
            timeline: facts.timeline,
        })
    }

    async fn leave(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        let mut facts = self.facts("end a lease")?;
        if let Some(life) = facts.brokers.get_mut(&incarnation) {
            life.died_ms.get_or_insert(self.ambient.clock.wall_ms());
        }
        self.wake();
        Ok(())
    }

    async fn brokers(&self) -> Result<Vec<BrokerRow>, StoreError> {
        let facts = self.facts("list brokers")?;
        let undead = facts.brokers.values().filter(|life| life.died_ms.is_none());
        let mut rows: Vec<BrokerRow> = undead.map(|life| life.broker.clone()).collect();
        rows.sort_by_key(|row| row.broker);
        Ok(rows)
    }

    async fn living(&self) -> Result<Living, StoreError> {
        let facts = self.facts("list living brokers")?;
        let now_ms = self.ambient.clock.wall_ms();
        let living = |life: &Life| {
            let lease_until_ms = life.held_until(now_ms)?;
            Some(LivingBroker {
                row: life.broker.clone(),
                lease_until_ms,
            })
        };
        let mut brokers: Vec<LivingBroker> = facts.brokers.values().filter_map(living).collect();
        brokers.sort_by_key(|living| living.row.broker);
        Ok(Living { now_ms, brokers })
    }
}
