//! The brokers shelf in SQLite.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Transaction, params};
use streamhouse_protocol::ids::BrokerId;

use super::SqliteStore;
use super::columns::{incarnation, number};
use super::fault::{Failure, Fallible, Fault};
use crate::store::laws::bug;
use crate::store::{BrokerRow, BrokerShelf, DEAD_AGE_MAX_MS, RegisterError, StoreError};

fn register(
    transaction: &Transaction<'_>,
    broker: &BrokerRow,
    now: i64,
) -> Result<(), Failure<RegisterError>> {
    let life = broker.incarnation.0.to_be_bytes();
    let same: Option<(i32, Option<i64>)> = transaction
        .query_row(
            "SELECT broker_id, died_ms FROM brokers WHERE incarnation = ?1",
            [life],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    match same {
        Some((_, Some(_))) => {
            let dead = RegisterError::Dead {
                broker: broker.broker,
                incarnation: broker.incarnation,
            };
            return Err(Failure::Refused(dead));
        }
        Some((id, None)) if id != broker.broker.0 => {
            return Err(bug("register a broker", "one incarnation cannot be two brokers").into());
        }
        Some(_) | None => {}
    }
    transaction.execute(
        "UPDATE brokers SET died_ms = ?3 WHERE broker_id = ?1 AND incarnation <> ?2 AND died_ms IS NULL",
        params![broker.broker.0, life, now],
    )?;
    transaction.execute(
        "DELETE FROM brokers WHERE died_ms < ?1",
        [now.saturating_sub(DEAD_AGE_MAX_MS)],
    )?;
    transaction.execute(
        "INSERT OR REPLACE INTO brokers (incarnation, broker_id, host, port, rack, registered_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            life,
            broker.broker.0,
            broker.host,
            broker.port,
            broker.rack,
            now
        ],
    )?;
    Ok(())
}

fn living(transaction: &Transaction<'_>) -> Fallible<Vec<BrokerRow>> {
    let mut statement = transaction
        .prepare_cached("SELECT * FROM brokers WHERE died_ms IS NULL ORDER BY broker_id")?;
    let mut rows = statement.query([])?;
    let mut brokers = Vec::new();
    while let Some(row) = rows.next()? {
        let port = number(row, "port")?;
        brokers.push(BrokerRow {
            broker: BrokerId(row.get("broker_id")?),
            incarnation: incarnation(row, "incarnation")?,
            host: row.get("host")?,
            port: u16::try_from(port)
                .map_err(|_| Fault::Damaged(format!("column port holds {port}")))?,
            rack: row.get("rack")?,
        });
    }
    Ok(brokers)
}

#[async_trait]
impl BrokerShelf for SqliteStore {
    async fn register_broker(&self, broker: BrokerRow) -> Result<(), RegisterError> {
        let now = self.ambient.clock.wall_ms();
        self.worker
            .write("register a broker", move |transaction| {
                register(transaction, &broker, now)
            })
            .await
    }

    async fn brokers(&self) -> Result<Vec<BrokerRow>, StoreError> {
        self.worker.read("list brokers", living).await
    }
}
