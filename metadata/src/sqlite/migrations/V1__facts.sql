-- The facts of a cluster. On disk: never renumber, never rename, add only.
-- Ids of 128 bits are 16 bytes, highest first; an object id is incarnation (16), seq (8) and attempt (4), highest
-- first, so that bytes sort as ids do. Unsigned 64-bit hashes and tags are stored as the signed number of equal bits.

CREATE TABLE cluster (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    cluster_id BLOB NOT NULL,
    shards INTEGER NOT NULL,
    durability INTEGER NOT NULL,            -- 0 local, 1 shared
    feature_level INTEGER NOT NULL,         -- which kinds of entries may be written
    created_ms INTEGER NOT NULL,
    next_producer_id INTEGER NOT NULL
) STRICT;

-- One row per write of topics, configurations, security or producer-id blocks. The random tag tells this history from
-- another one with the same numbers.
CREATE TABLE cluster_revision (
    revision INTEGER PRIMARY KEY,
    tag INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX cluster_revision_by_age ON cluster_revision (at_ms);

-- One row per life of a broker process: its lease. The embedded store leaves lease_until_ms empty, because the lock of
-- the data folder is the lease. A row with died_ms is never revived.
CREATE TABLE brokers (
    incarnation BLOB PRIMARY KEY,
    broker_id INTEGER NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    rack TEXT,
    registered_ms INTEGER NOT NULL,
    lease_until_ms INTEGER,
    died_ms INTEGER
) STRICT, WITHOUT ROWID;

-- The fence of each shard: (epoch, incarnation, next_lsn) is compared and set by every commit.
CREATE TABLE shards (
    shard INTEGER PRIMARY KEY,
    durability INTEGER NOT NULL,            -- 0 local, 1 shared
    epoch INTEGER NOT NULL,
    incarnation BLOB,
    timeline INTEGER NOT NULL,              -- of the database server at the last grant
    next_lsn INTEGER NOT NULL,
    first_lsn INTEGER NOT NULL,             -- the oldest manifest kept
    wal_dir_uuid BLOB,                      -- set: only the broker with this WAL folder may take the shard
    wal_since_epoch INTEGER NOT NULL,       -- first epoch of the unbroken tenure of wal_dir_uuid
    wal_end_dir BLOB,
    wal_end_position INTEGER,
    checkpoint_object BLOB,
    checkpoint_lsn INTEGER,
    checkpoint_bytes INTEGER,
    checkpoint_hash INTEGER
) STRICT;

-- The fence of each shard's groups, offsets and transactions. Its epoch changes with that of the shard.
CREATE TABLE shard_coordination (
    shard INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    incarnation BLOB,
    seq INTEGER NOT NULL
) STRICT;

-- Every grant, until the checkpoints have passed it.
CREATE TABLE grants (
    shard INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    incarnation BLOB NOT NULL,
    at_lsn INTEGER NOT NULL,
    at_seq INTEGER NOT NULL,
    timeline INTEGER NOT NULL,
    PRIMARY KEY (shard, epoch)
) STRICT, WITHOUT ROWID;

-- A rowid table: bodies are large, and the key would be copied through the tree with them.
CREATE TABLE manifests (
    shard INTEGER NOT NULL,
    lsn INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    incarnation BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (shard, lsn)
) STRICT;

-- live_shards: the numbers of the shards that need the object, ascending, 4 bytes each, highest first.
CREATE TABLE objects (
    object_id BLOB PRIMARY KEY,
    object_key TEXT,
    state INTEGER NOT NULL,                 -- 0 live, 1 tombstone, 2 deleted
    bytes INTEGER NOT NULL,
    live_shards BLOB NOT NULL,
    tombstoned_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX objects_unneeded ON objects (object_id) WHERE state = 0 AND live_shards = x'';
CREATE INDEX objects_tombstones ON objects (tombstoned_ms, object_id) WHERE state = 1;
CREATE INDEX objects_deleted ON objects (object_id) WHERE state = 2;

CREATE TABLE topics (
    topic_id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    collision_key TEXT NOT NULL UNIQUE,     -- the name with '.' read as '_'
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The shard of a partition is stored when the partition is created, never computed at use.
CREATE TABLE partitions (
    topic_id BLOB NOT NULL,
    partition INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    PRIMARY KEY (topic_id, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE topic_configs (
    topic_id BLOB NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (topic_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE broker_configs (
    broker_id INTEGER NOT NULL,             -- -1: all brokers
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (broker_id, name)
) STRICT, WITHOUT ROWID;

-- A deleted topic, until each of its shards has recorded that it dropped the partitions.
CREATE TABLE topic_tombstones (
    topic_id BLOB PRIMARY KEY,
    name TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE topic_tombstone_shards (
    topic_id BLOB NOT NULL,
    shard INTEGER NOT NULL,
    PRIMARY KEY (topic_id, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE "groups" (
    shard INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    blob BLOB NOT NULL,
    PRIMARY KEY (shard, group_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX groups_by_id ON "groups" (group_id);

CREATE TABLE group_offsets (
    shard INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    topic_id BLOB NOT NULL,
    partition INTEGER NOT NULL,
    committed_offset INTEGER NOT NULL,
    leader_epoch INTEGER NOT NULL,          -- -1: the client did not say
    metadata TEXT NOT NULL,
    commit_ms INTEGER NOT NULL,
    expire_ms INTEGER,
    PRIMARY KEY (shard, group_id, topic_id, partition)
) STRICT, WITHOUT ROWID;

-- Offsets that a transaction will commit: made final or dropped in the statement that deletes its outbox row.
CREATE TABLE pending_offsets (
    shard INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    topic_id BLOB NOT NULL,
    partition INTEGER NOT NULL,
    producer_id INTEGER NOT NULL,
    producer_epoch INTEGER NOT NULL,
    committed_offset INTEGER NOT NULL,
    leader_epoch INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    commit_ms INTEGER NOT NULL,
    PRIMARY KEY (shard, group_id, topic_id, partition, producer_id)
) STRICT, WITHOUT ROWID;

-- The state of a transactional id, as its coordinator wrote it. Its shard is stored when the id is first seen.
CREATE TABLE transactions (
    shard INTEGER NOT NULL,
    transactional_id TEXT NOT NULL,
    blob BLOB NOT NULL,
    PRIMARY KEY (shard, transactional_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX transactions_by_id ON transactions (transactional_id);

-- Markers that a transaction owes to a shard; the shard's commit of the markers deletes the row.
CREATE TABLE marker_outbox (
    shard INTEGER NOT NULL,
    outbox_id INTEGER NOT NULL,
    producer_id INTEGER NOT NULL,
    producer_epoch INTEGER NOT NULL,
    result INTEGER NOT NULL,                -- 0 abort, 1 commit
    coordinator_epoch INTEGER NOT NULL,
    partitions BLOB NOT NULL,
    PRIMARY KEY (shard, outbox_id)
) STRICT, WITHOUT ROWID;
