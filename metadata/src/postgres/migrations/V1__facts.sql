-- The facts of a cluster. On disk: never renumber, never rename, add only.
-- Ids of 128 bits are 16 bytes, highest first; an object id is incarnation (16), seq (8) and attempt (4), highest
-- first, so that bytes sort as ids do. Unsigned 64-bit hashes and tags are stored as the signed number of equal bits.
-- Text that clients write freely (group ids, what they attach to offsets, values of configurations) is bytea: Kafka
-- allows a zero byte in it, the type text does not. Names sort by their bytes, whatever the locale of the database.

CREATE TABLE cluster (
    one integer PRIMARY KEY CHECK (one = 1),
    cluster_id bytea NOT NULL,
    shards integer NOT NULL,
    durability integer NOT NULL,            -- 0 local, 1 shared
    feature_level integer NOT NULL,         -- which kinds of entries may be written
    created_ms bigint NOT NULL,
    next_producer_id bigint NOT NULL
);

-- One row per write of topics, configurations, security or producer-id blocks. The random tag tells this history from
-- another one with the same numbers.
CREATE TABLE cluster_revision (
    revision bigint PRIMARY KEY,
    tag bigint NOT NULL,
    at_ms bigint NOT NULL
);
CREATE INDEX cluster_revision_by_age ON cluster_revision (at_ms);

-- One row per life of a broker process: its lease, by the clock of the database. A row with died_ms is never revived.
-- Heartbeats write this table all the time: room in each page keeps them in place.
CREATE TABLE brokers (
    incarnation bytea PRIMARY KEY,
    broker_id integer NOT NULL,
    endpoints text NOT NULL, -- as advertised.listeners: NAME://host:port,...
    rack text,
    registered_ms bigint NOT NULL,
    lease_until_ms bigint,
    died_ms bigint
) WITH (fillfactor = 50);

-- The fence of each shard: (epoch, incarnation, next_lsn) is compared and set by every commit. No index but the key, and
-- half of each page free: then a commit changes a row without touching an index.
CREATE TABLE shards (
    shard integer PRIMARY KEY,
    durability integer NOT NULL,            -- 0 local, 1 shared
    epoch integer NOT NULL,
    incarnation bytea,
    timeline bigint NOT NULL,               -- of the database server at the last grant
    next_lsn bigint NOT NULL,
    first_lsn bigint NOT NULL,              -- the oldest manifest kept
    wal_dir_uuid bytea,                     -- set: only the broker with this WAL folder may take the shard
    wal_since_epoch integer NOT NULL,       -- first epoch of the unbroken tenure of wal_dir_uuid
    wal_end_dir bytea,
    wal_end_position bigint,
    checkpoint_object bytea,
    checkpoint_lsn bigint,
    checkpoint_bytes bigint,
    checkpoint_hash bigint
) WITH (fillfactor = 50);

-- The fence of each shard's groups, offsets and transactions. Its epoch changes with that of the shard.
CREATE TABLE shard_coordination (
    shard integer PRIMARY KEY,
    epoch integer NOT NULL,
    incarnation bytea,
    seq bigint NOT NULL
) WITH (fillfactor = 50);

-- Every grant, until the checkpoints have passed it.
CREATE TABLE grants (
    shard integer NOT NULL,
    epoch integer NOT NULL,
    incarnation bytea NOT NULL,
    at_lsn bigint NOT NULL,
    at_seq bigint NOT NULL,
    timeline bigint NOT NULL,
    PRIMARY KEY (shard, epoch)
);

CREATE TABLE manifests (
    shard integer NOT NULL,
    lsn bigint NOT NULL,
    epoch integer NOT NULL,
    incarnation bytea NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (shard, lsn)
);

-- live_shards: the numbers of the shards that need the object, ascending.
-- The name of the primary key is known to the code: it tells a taken id from every other error.
CREATE TABLE objects (
    object_id bytea CONSTRAINT objects_pkey PRIMARY KEY,
    object_key text,
    state integer NOT NULL,                 -- 0 live, 1 tombstone, 2 deleted
    bytes bigint NOT NULL,
    live_shards integer[] NOT NULL,
    tombstoned_ms bigint
);
CREATE INDEX objects_unneeded ON objects (object_id) WHERE state = 0 AND live_shards = '{}';
CREATE INDEX objects_tombstones ON objects (tombstoned_ms, object_id) WHERE state = 1;
CREATE INDEX objects_deleted ON objects (object_id) WHERE state = 2;

CREATE TABLE topics (
    topic_id bytea PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    collision_key text COLLATE "C" NOT NULL UNIQUE, -- the name with '.' read as '_'
    created_ms bigint NOT NULL
);

-- The shard of a partition is stored when the partition is created, never computed at use.
CREATE TABLE partitions (
    topic_id bytea NOT NULL,
    partition integer NOT NULL,
    shard integer NOT NULL,
    PRIMARY KEY (topic_id, partition)
);

CREATE TABLE topic_configs (
    topic_id bytea NOT NULL,
    name text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (topic_id, name)
);

CREATE TABLE broker_configs (
    broker_id integer NOT NULL,             -- -1: all brokers
    name text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (broker_id, name)
);

-- A deleted topic, until each of its shards has recorded that it dropped the partitions.
CREATE TABLE topic_tombstones (
    topic_id bytea PRIMARY KEY,
    name text COLLATE "C" NOT NULL
);
CREATE TABLE topic_tombstone_shards (
    topic_id bytea NOT NULL,
    shard integer NOT NULL,
    PRIMARY KEY (topic_id, shard)
);

CREATE TABLE groups (
    shard integer NOT NULL,
    group_id bytea NOT NULL,
    blob bytea NOT NULL,
    PRIMARY KEY (shard, group_id)
);
CREATE INDEX groups_by_id ON groups (group_id);

CREATE TABLE group_offsets (
    shard integer NOT NULL,
    group_id bytea NOT NULL,
    topic_id bytea NOT NULL,
    partition integer NOT NULL,
    committed_offset bigint NOT NULL,
    leader_epoch integer NOT NULL,          -- -1: the client did not say
    metadata bytea NOT NULL,
    commit_ms bigint NOT NULL,
    expire_ms bigint,
    PRIMARY KEY (shard, group_id, topic_id, partition)
) WITH (fillfactor = 70);

-- Offsets that a transaction will commit: made final or dropped in the statement that deletes its outbox row.
CREATE TABLE pending_offsets (
    shard integer NOT NULL,
    group_id bytea NOT NULL,
    topic_id bytea NOT NULL,
    partition integer NOT NULL,
    producer_id bigint NOT NULL,
    producer_epoch integer NOT NULL,
    committed_offset bigint NOT NULL,
    leader_epoch integer NOT NULL,
    metadata bytea NOT NULL,
    commit_ms bigint NOT NULL,
    PRIMARY KEY (shard, group_id, topic_id, partition, producer_id)
);

-- The state of a transactional id, as its coordinator wrote it. Its shard is stored when the id is first seen.
CREATE TABLE transactions (
    shard integer NOT NULL,
    transactional_id bytea NOT NULL,
    blob bytea NOT NULL,
    PRIMARY KEY (shard, transactional_id)
);
CREATE INDEX transactions_by_id ON transactions (transactional_id);

-- Markers that a transaction owes to a shard; the shard's commit of the markers deletes the row.
CREATE TABLE marker_outbox (
    shard integer NOT NULL,
    outbox_id bigint NOT NULL,
    producer_id bigint NOT NULL,
    producer_epoch integer NOT NULL,
    result integer NOT NULL,                -- 0 abort, 1 commit
    coordinator_epoch integer NOT NULL,
    partitions bytea NOT NULL,
    PRIMARY KEY (shard, outbox_id)
);
