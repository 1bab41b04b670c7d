//! The brokers shelf in PostgreSQL. Registrations lock the row of the cluster, so that of two processes with one number
//! one wins; leases are counted by the clock of the database alone, which each statement reads for itself.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use streamhouse_protocol::ids::BrokerId;
use tokio_postgres::Row;

use super::PostgresStore;
use super::cluster::{lock, wake_others};
use super::columns::{WHOLE, bits, column, id_bytes, incarnation, number, whole};
use super::fault::{Failure, Fallible, Fault};
use super::session::Session;
use super::work::heartbeat_limit;
use crate::store::brokers::{read_endpoints, write_endpoints};
use crate::store::laws::{bug, lease_ms};
use crate::store::{
    Beat, BrokerRow, BrokerShelf, DEAD_AGE_MAX_MS, HeartbeatError, Incarnation, Living,
    LivingBroker, RegisterError, Revision, StoreError,
};

const REGISTER: &str = "register a broker";

/// The clock of the database in milliseconds since 1970.
macro_rules! clock_ms {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::int8"
    };
}

/// The columns of a life that say whether it is over. A clock that was read before the row was waited for is behind: the
/// lease then seems to hold a little longer than it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    life: Incarnation,
    broker: BrokerId,
    until_ms: Option<i64>,
    is_dead: bool,
    now_ms: i64,
}

impl Lease {
    /// When it ends, if it holds.
    pub(super) fn held_until(&self) -> Option<i64> {
        self.until_ms
            .filter(|until| !self.is_dead && *until > self.now_ms)
    }

    pub(super) const fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// From now on it is over for good.
    pub(super) const fn declare_dead(&mut self) {
        self.is_dead = true;
    }
}

fn lease_row(row: &Row) -> Fallible<Lease> {
    Ok(Lease {
        life: incarnation(row, "incarnation")?,
        broker: BrokerId(column(row, "broker_id")?),
        until_ms: column(row, "lease_until_ms")?,
        is_dead: column::<Option<i64>>(row, "died_ms")?.is_some(),
        now_ms: column(row, "now_ms")?,
    })
}

/// The leases of lives that have rows, locked by life until the transaction ends.
pub(super) async fn lock_leases(
    session: &mut Session,
    lives: &[Vec<u8>],
) -> Fallible<BTreeMap<Incarnation, Lease>> {
    let sql = concat!(
        "SELECT incarnation, broker_id, lease_until_ms, died_ms, ",
        clock_ms!(),
        " AS now_ms FROM brokers WHERE incarnation = ANY ($1::bytea[]) ORDER BY incarnation FOR NO KEY UPDATE"
    );
    let rows = session.query(sql, &[&lives]).await?;
    rows.iter()
        .map(|row| {
            let lease = lease_row(row)?;
            Ok((lease.life, lease))
        })
        .collect()
}

/// Ends lives for good, as far as they have rows and are not dead yet.
pub(super) async fn declare_dead(session: &mut Session, lives: &[Vec<u8>]) -> Fallible<()> {
    if lives.is_empty() {
        return Ok(());
    }
    let sql = concat!(
        "UPDATE brokers SET died_ms = ",
        clock_ms!(),
        " WHERE incarnation = ANY ($1::bytea[]) AND died_ms IS NULL"
    );
    session.execute(sql, &[&lives]).await?;
    Ok(())
}

/// The lives with this number and the one that registers, locked by life until the transaction ends.
async fn lock_twins(session: &mut Session, broker: &BrokerRow) -> Fallible<Vec<Lease>> {
    let sql = concat!(
        "SELECT incarnation, broker_id, lease_until_ms, died_ms, ",
        clock_ms!(),
        " AS now_ms FROM brokers WHERE incarnation = $1 OR (broker_id = $2 AND died_ms IS NULL)
          ORDER BY incarnation FOR UPDATE"
    );
    let life = id_bytes(broker.incarnation.0);
    let rows = session.query(sql, &[&life, &broker.broker.0]).await?;
    rows.iter().map(lease_row).collect()
}

async fn register(
    session: &mut Session,
    broker: BrokerRow,
    lease: Duration,
) -> Result<(), Failure<RegisterError>> {
    lock(session, REGISTER).await?;
    let mut over = Vec::new();
    for known in lock_twins(session, &broker).await? {
        if known.life == broker.incarnation {
            if known.is_dead {
                return Err(Failure::Refused(RegisterError::Dead {
                    broker: broker.broker,
                    incarnation: broker.incarnation,
                }));
            }
            if known.broker != broker.broker {
                return Err(bug(REGISTER, "one incarnation cannot be two brokers").into());
            }
            continue;
        }
        if let Some(until_ms) = known.held_until() {
            return Err(Failure::Refused(RegisterError::Twin {
                broker: broker.broker,
                incarnation: known.life,
                until_ms,
                now_ms: known.now_ms,
            }));
        }
        over.push(id_bytes(known.life.0));
    }
    declare_dead(session, &over).await?;
    write_row(session, &broker, lease).await?;
    Ok(wake_others(session).await?)
}

async fn write_row(session: &mut Session, broker: &BrokerRow, lease: Duration) -> Fallible<()> {
    // Rows that a grant has locked are left to the next registration.
    let forget = concat!(
        "DELETE FROM brokers WHERE incarnation IN (SELECT incarnation FROM brokers WHERE died_ms < ",
        clock_ms!(),
        " - $1::int8 FOR UPDATE SKIP LOCKED)"
    );
    session.execute(forget, &[&DEAD_AGE_MAX_MS]).await?;
    let write = concat!(
        "INSERT INTO brokers (incarnation, broker_id, endpoints, rack, registered_ms, lease_until_ms)
         SELECT $1::bytea, $2::int4, $3::text, $4::text, now.ms, now.ms + $5::int8 FROM (SELECT ",
        clock_ms!(),
        " AS ms) AS now
         ON CONFLICT (incarnation) DO UPDATE SET endpoints = excluded.endpoints, rack = excluded.rack,
             registered_ms = excluded.registered_ms, lease_until_ms = excluded.lease_until_ms"
    );
    session
        .execute(
            write,
            &[
                &id_bytes(broker.incarnation.0),
                &broker.broker.0,
                &write_endpoints(&broker.endpoints),
                &broker.rack,
                &bounded(lease),
            ],
        )
        .await?;
    Ok(())
}

/// A lease in milliseconds that can be added to any time of the database.
fn bounded(lease: Duration) -> i64 {
    lease_ms(lease).min(i64::MAX / 2)
}

/// One statement: the lease, the clock and the newest revision. Whoever was declared dead while the row was waited for
/// is not renewed, and found alive only in what the statement saw when it began.
const HEARTBEAT: &str = concat!(
    "WITH now AS MATERIALIZED (SELECT ",
    clock_ms!(),
    " AS ms), renewed AS (
         UPDATE brokers b SET lease_until_ms = now.ms + $2::int8 FROM now
         WHERE b.incarnation = $1 AND b.died_ms IS NULL RETURNING b.lease_until_ms
     ), newest AS (SELECT revision, tag FROM cluster_revision ORDER BY revision DESC LIMIT 1)
     SELECT now.ms AS now_ms, (SELECT lease_until_ms FROM renewed) AS until_ms,
         EXISTS (SELECT FROM brokers WHERE incarnation = $1) AS is_known,
         coalesce((SELECT revision FROM newest), 0) AS revision, coalesce((SELECT tag FROM newest), 0) AS tag
     FROM now"
);

async fn heartbeat(
    session: &mut Session,
    incarnation: Incarnation,
    lease: Duration,
) -> Result<Beat, Failure<HeartbeatError>> {
    let life = id_bytes(incarnation.0);
    let rows = session
        .commit_by(HEARTBEAT, &[&life, &bounded(lease)])
        .await?;
    let row = rows
        .first()
        .ok_or_else(|| Fault::Damaged("a heartbeat was answered with no row".to_owned()))?;
    match column::<Option<i64>>(row, "until_ms")? {
        Some(until_ms) => Ok(Beat {
            until_ms,
            now_ms: column(row, "now_ms")?,
            revision: Revision {
                number: number(row, "revision")?,
                tag: bits(row, "tag")?,
            },
            timeline: session.timeline(),
        }),
        None if column(row, "is_known")? => {
            Err(Failure::Refused(HeartbeatError::Dead { incarnation }))
        }
        None => Err(Failure::Refused(HeartbeatError::Unknown { incarnation })),
    }
}

fn broker_row(row: &Row) -> Fallible<BrokerRow> {
    let endpoints: String = column(row, "endpoints")?;
    Ok(BrokerRow {
        broker: BrokerId(column(row, "broker_id")?),
        incarnation: incarnation(row, "incarnation")?,
        endpoints: read_endpoints(&endpoints)
            .ok_or_else(|| Fault::Damaged(format!("column endpoints holds {endpoints}")))?,
        rack: column(row, "rack")?,
    })
}

async fn undead(session: &mut Session) -> Fallible<Vec<BrokerRow>> {
    let sql = "SELECT broker_id, incarnation, endpoints, rack FROM brokers \
               WHERE died_ms IS NULL ORDER BY broker_id LIMIT $1";
    let rows = session.query(sql, &[&WHOLE]).await?;
    whole(rows, "brokers")?.iter().map(broker_row).collect()
}

async fn living(session: &mut Session) -> Fallible<Living> {
    // The clock is there even if nobody lives.
    let sql = concat!(
        "SELECT now.ms AS now_ms, b.broker_id, b.incarnation, b.endpoints, b.rack, b.lease_until_ms
         FROM (SELECT ",
        clock_ms!(),
        " AS ms) AS now LEFT JOIN brokers b ON b.died_ms IS NULL AND b.lease_until_ms > now.ms
         ORDER BY b.broker_id LIMIT $1"
    );
    let rows = whole(session.query(sql, &[&WHOLE]).await?, "brokers")?;
    let mut living = Living {
        now_ms: 0,
        brokers: Vec::new(),
    };
    for row in &rows {
        living.now_ms = column(row, "now_ms")?;
        if let Some(lease_until_ms) = column(row, "lease_until_ms")? {
            living.brokers.push(LivingBroker {
                row: broker_row(row)?,
                lease_until_ms,
            });
        }
    }
    Ok(living)
}

#[async_trait]
impl BrokerShelf for PostgresStore {
    async fn register_broker(
        &self,
        broker: BrokerRow,
        lease: Duration,
    ) -> Result<(), RegisterError> {
        self.write(REGISTER, move |session| {
            register(session, broker, lease).boxed()
        })
        .await
    }

    /// On a connection of its own, so that it never waits behind commits, and given up in time for another try.
    async fn heartbeat(
        &self,
        incarnation: Incarnation,
        lease: Duration,
    ) -> Result<Beat, HeartbeatError> {
        let limit = heartbeat_limit(lease);
        self.beat("renew a lease", limit, move |session| {
            heartbeat(session, incarnation, lease).boxed()
        })
        .await
    }

    async fn leave(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        self.write("end a lease", move |session| {
            async move {
                declare_dead(session, &[id_bytes(incarnation.0)]).await?;
                Ok(wake_others(session).await?)
            }
            .boxed()
        })
        .await
    }

    async fn brokers(&self) -> Result<Vec<BrokerRow>, StoreError> {
        self.read("list brokers", |session| undead(session).boxed())
            .await
    }

    async fn living(&self) -> Result<Living, StoreError> {
        self.read("list living brokers", |session| living(session).boxed())
            .await
    }
}
