//! The brokers shelf in memory.

use async_trait::async_trait;

use super::{Life, MemoryStore};
use crate::store::laws::bug;
use crate::store::{BrokerRow, BrokerShelf, DEAD_AGE_MAX_MS, RegisterError, StoreError};

#[async_trait]
impl BrokerShelf for MemoryStore {
    async fn register_broker(&self, broker: BrokerRow) -> Result<(), RegisterError> {
        const OPERATION: &str = "register a broker";
        let mut facts = self.facts(OPERATION)?;
        let now = self.ambient.clock.wall_ms();
        if let Some(same) = facts.brokers.get(&broker.incarnation) {
            if same.died_ms.is_some() {
                return Err(RegisterError::Dead {
                    broker: broker.broker,
                    incarnation: broker.incarnation,
                });
            }
            if same.broker.broker != broker.broker {
                return Err(bug(OPERATION, "one incarnation cannot be two brokers").into());
            }
        }
        for life in facts.brokers.values_mut() {
            let replaced = life.broker.broker == broker.broker
                && life.broker.incarnation != broker.incarnation;
            if replaced && life.died_ms.is_none() {
                life.died_ms = Some(now);
            }
        }
        facts.brokers.retain(|_, life| {
            life.died_ms
                .is_none_or(|at| now.saturating_sub(at) <= DEAD_AGE_MAX_MS)
        });
        facts.brokers.insert(
            broker.incarnation,
            Life {
                broker,
                died_ms: None,
            },
        );
        Ok(())
    }

    async fn brokers(&self) -> Result<Vec<BrokerRow>, StoreError> {
        let facts = self.facts("list brokers")?;
        let living = facts.brokers.values().filter(|life| life.died_ms.is_none());
        let mut rows: Vec<BrokerRow> = living.map(|life| life.broker.clone()).collect();
        rows.sort_by_key(|row| row.broker);
        Ok(rows)
    }
}
