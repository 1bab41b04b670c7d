//! Which connection has which partitions.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use streamhouse_client::connection::{Connection, ConnectionOptions};
use streamhouse_client::metadata::Topic;
use streamhouse_client::{Client, ClientError};

/// Each partition with a connection to its leader: one per leader.
pub(super) async fn places(
    client: &Client,
    topic: &Topic,
    positions: &[usize],
    options: &ConnectionOptions,
) -> Result<Vec<(i32, Connection)>, ClientError> {
    let mut connections: BTreeMap<i32, Connection> = BTreeMap::new();
    let mut places = Vec::with_capacity(positions.len());
    for position in positions {
        let partition = topic.partitions[*position].index;
        let (_, leader) = client.leader(&topic.name, partition).await?;
        let connection = match connections.entry(leader) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => place
                .insert(client.separate_connection(leader, options).await?)
                .clone(),
        };
        places.push((partition, connection));
    }
    Ok(places)
}

/// The partitions of one of `connections`: every so-manieth, or a shared one if there are fewer partitions.
pub(super) fn own_partitions(partitions: usize, connections: usize, index: usize) -> Vec<usize> {
    if partitions <= connections {
        return vec![index % partitions.max(1)];
    }
    (index..partitions).step_by(connections).collect()
}

#[cfg(test)]
mod tests;
