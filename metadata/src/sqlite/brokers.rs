//! The brokers shelf in SQLite. One process has the file, so the clock of that process is the clock of the database.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Row, Transaction, params};
use streamhouse_protocol::ids::BrokerId;

use super::SqliteStore;
use super::cluster::revision;
use super::columns::incarnation;
use super::fault::{Failure, Fallible, Fault};
use crate::store::brokers::{read_endpoints, write_endpoints};
use crate::store::laws::{bug, lease_end};
use crate::store::{
    Beat, BrokerRow, BrokerShelf, DEAD_AGE_MAX_MS, HeartbeatError, Incarnation, Living,
    LivingBroker, RegisterError, StoreError,
};

/// The columns of a life that say whether it is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) life: Incarnation,
    broker: BrokerId,
    until_ms: Option<i64>,
    pub(super) died_ms: Option<i64>,
}

impl Lease {
    /// When it ends, if it holds now.
    pub(super) fn held_until(&self, now_ms: i64) -> Option<i64> {
        self.until_ms
            .filter(|until| self.died_ms.is_none() && *until > now_ms)
    }
}

fn lease_row(row: &Row<'_>) -> Fallible<Lease> {
    Ok(Lease {
        life: incarnation(row, "incarnation")?,
        broker: BrokerId(row.get("broker_id")?),
        until_ms: row.get("lease_until_ms")?,
        died_ms: row.get("died_ms")?,
    })
}

/// The lease of a life, if it has a row.
pub(super) fn lease(transaction: &Transaction<'_>, life: Incarnation) -> Fallible<Option<Lease>> {
    let mut statement =
        transaction.prepare_cached("SELECT * FROM brokers WHERE incarnation = ?1")?;
    let mut rows = statement.query([life.0.to_be_bytes()])?;
    rows.next()?.map(lease_row).transpose()
}

/// Ends a life for good, if it has a row and is not dead yet.
pub(super) fn declare_dead(
    transaction: &Transaction<'_>,
    life: Incarnation,
    now: i64,
) -> Fallible<()> {
    transaction
        .prepare_cached(
            "UPDATE brokers SET died_ms = ?2 WHERE incarnation = ?1 AND died_ms IS NULL",
        )?
        .execute(params![life.0.to_be_bytes(), now])?;
    Ok(())
}

/// The other lives of a broker number that are not dead.
fn twins(transaction: &Transaction<'_>, broker: &BrokerRow) -> Fallible<Vec<Lease>> {
    let mut statement = transaction.prepare_cached(
        "SELECT * FROM brokers WHERE broker_id = ?1 AND incarnation <> ?2 AND died_ms IS NULL ORDER BY incarnation",
    )?;
    let mut rows = statement.query(params![broker.broker.0, broker.incarnation.0.to_be_bytes()])?;
    let mut twins = Vec::new();
    while let Some(row) = rows.next()? {
        twins.push(lease_row(row)?);
    }
    Ok(twins)
}

fn register(
    transaction: &Transaction<'_>,
    broker: &BrokerRow,
    lease_length: Duration,
    now: i64,
) -> Result<(), Failure<RegisterError>> {
    match lease(transaction, broker.incarnation)? {
        Some(Lease {
            died_ms: Some(_), ..
        }) => {
            let dead = RegisterError::Dead {
                broker: broker.broker,
                incarnation: broker.incarnation,
            };
            return Err(Failure::Refused(dead));
        }
        Some(same) if same.broker != broker.broker => {
            return Err(bug("register a broker", "one incarnation cannot be two brokers").into());
        }
        Some(_) | None => {}
    }
    for twin in twins(transaction, broker)? {
        if let Some(until_ms) = twin.held_until(now) {
            return Err(Failure::Refused(RegisterError::Twin {
                broker: broker.broker,
                incarnation: twin.life,
                until_ms,
                now_ms: now,
            }));
        }
        declare_dead(transaction, twin.life, now)?;
    }
    transaction.execute(
        "DELETE FROM brokers WHERE died_ms < ?1",
        [now.saturating_sub(DEAD_AGE_MAX_MS)],
    )?;
    transaction.execute(
        "INSERT OR REPLACE INTO brokers (incarnation, broker_id, endpoints, rack, registered_ms, lease_until_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            broker.incarnation.0.to_be_bytes(),
            broker.broker.0,
            write_endpoints(&broker.endpoints),
            broker.rack,
            now,
            lease_end(now, lease_length),
        ],
    )?;
    Ok(())
}

fn heartbeat(
    transaction: &Transaction<'_>,
    incarnation: Incarnation,
    lease_length: Duration,
    now_ms: i64,
) -> Result<Beat, Failure<HeartbeatError>> {
    match lease(transaction, incarnation)? {
        None => return Err(Failure::Refused(HeartbeatError::Unknown { incarnation })),
        Some(Lease {
            died_ms: Some(_), ..
        }) => {
            return Err(Failure::Refused(HeartbeatError::Dead { incarnation }));
        }
        Some(_) => {}
    }
    let until_ms = lease_end(now_ms, lease_length);
    transaction
        .prepare_cached("UPDATE brokers SET lease_until_ms = ?2 WHERE incarnation = ?1")?
        .execute(params![incarnation.0.to_be_bytes(), until_ms])?;
    Ok(Beat {
        until_ms,
        now_ms,
        revision: revision(transaction)?,
        timeline: 0,
    })
}

fn broker_row(row: &Row<'_>) -> Fallible<BrokerRow> {
    let endpoints: String = row.get("endpoints")?;
    Ok(BrokerRow {
        broker: BrokerId(row.get("broker_id")?),
        incarnation: incarnation(row, "incarnation")?,
        endpoints: read_endpoints(&endpoints)
            .ok_or_else(|| Fault::Damaged(format!("column endpoints holds {endpoints}")))?,
        rack: row.get("rack")?,
    })
}

/// The lives that are not dead, each with its lease.
fn undead(transaction: &Transaction<'_>) -> Fallible<Vec<(BrokerRow, Lease)>> {
    let mut statement = transaction
        .prepare_cached("SELECT * FROM brokers WHERE died_ms IS NULL ORDER BY broker_id")?;
    let mut rows = statement.query([])?;
    let mut brokers = Vec::new();
    while let Some(row) = rows.next()? {
        brokers.push((broker_row(row)?, lease_row(row)?));
    }
    Ok(brokers)
}

#[async_trait]
impl BrokerShelf for SqliteStore {
    async fn register_broker(
        &self,
        broker: BrokerRow,
        lease: Duration,
    ) -> Result<(), RegisterError> {
        let now = self.ambient.clock.wall_ms();
        let registered = self
            .worker
            .write("register a broker", move |transaction| {
                register(transaction, &broker, lease, now)
            })
            .await;
        self.wake(registered)
    }

    async fn heartbeat(
        &self,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<Beat, HeartbeatError> {
        let now = self.ambient.clock.wall_ms();
        self.worker
            .write("renew a lease", move |transaction| {
                heartbeat(transaction, incarnation, lease, now)
            })
            .await
    }

    async fn leave(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        let now = self.ambient.clock.wall_ms();
        let left = self
            .worker
            .write("end a lease", move |transaction| {
                Ok(declare_dead(transaction, incarnation, now)?)
            })
            .await;
        self.wake(left)
    }

    async fn brokers(&self) -> Result<Vec<BrokerRow>, StoreError> {
        let brokers = self.worker.read("list brokers", undead).await?;
        Ok(brokers.into_iter().map(|(row, _)| row).collect())
    }

    async fn living(&self) -> Result<Living, StoreError> {
        let now_ms = self.ambient.clock.wall_ms();
        let undead = self.worker.read("list living brokers", undead).await?;
        let living = |(row, lease): (BrokerRow, Lease)| {
            let lease_until_ms = lease.held_until(now_ms)?;
            Some(LivingBroker {
                row,
                lease_until_ms,
            })
        };
        let brokers = undead.into_iter().filter_map(living).collect();
        Ok(Living { now_ms, brokers })
    }
}
