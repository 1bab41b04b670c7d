"""What figures are made from counts: pure, for bench/cluster.py."""

import re

from .stores import COMMITTED

GIBIBYTE = 1 << 30

# A line of ProducerPerformance within its run; the last one goes on with percentiles.
REPORTED = r"records sent, [0-9.]+ records/sec \(([0-9.]+) MB/sec\), [0-9.]+ ms avg latency, [0-9.]+ ms max latency\."


def rows(counts, tables=None):
    """Rows written, of all tables or of these."""
    written = 0
    for name, count in counts.items():
        table, _, what = name.partition("/")
        if what in ("inserted", "updated", "deleted") and (tables is None or table in tables):
            written += count
    return written


def per_commit(loaded, idle):
    """What a flush costs the database: from counts while a load ran, less what heartbeats cost in as long a time.

    Rows of heartbeats are in a table of their own, transactions and WAL are not.
    """
    counts, share = loaded["postgres"], loaded["seconds"] / idle["seconds"]

    def beyond_idle(name):
        return counts.get(name, 0) - share * idle["postgres"].get(name, 0)

    flushes = counts.get("objects/inserted", 0)
    manifests = counts.get("manifests/inserted", 0)
    written = rows(counts, COMMITTED)
    return {
        "flushes": flushes,
        "shards_per_flush": manifests / max(flushes, 1),
        "rows_per_flush": written / max(flushes, 1),
        # 1 where each flush writes two rows for each shard and one for the object.
        "rows_by_aim": written / max(2 * manifests + flushes, 1),
        "transactions_per_flush": beyond_idle("transactions") / max(flushes, 1),
        "wal_bytes_per_flush": beyond_idle("wal_bytes") / max(flushes, 1),
        "wal_bytes_per_shard": beyond_idle("wal_bytes") / max(manifests, 1),
        "wal_full_pages": counts.get("wal_full_pages", 0),
    }


def per_gibibyte(counted, batch_bytes):
    """Requests to the store and transactions of the database for 2^30 bytes of batches; and our own count of requests by that
    of the store."""
    gibibytes = batch_bytes / GIBIBYTE
    theirs, ours = counted["s3"], counted["ours"]
    requests = {name.split("/")[0]: count for name, count in theirs.items() if name.endswith("/requests")}
    # A part of a large object is a PUT, too.
    requests["put"] = requests.get("put", 0) + requests.pop("part", 0)
    found = {f"{operation}_per_gibibyte": count / gibibytes for operation, count in requests.items()}
    found["transactions_per_gibibyte"] = counted["postgres"].get("transactions", 0) / gibibytes
    told = sum(count for name, count in ours.items() if name.endswith("/requests"))
    asked = sum(requests.values())
    found["ours_by_theirs"] = told / asked if asked else None
    return found


def per_hour(idle):
    """What a cluster that nobody uses costs in an hour."""
    share = 3600 / idle["seconds"]
    return {
        "requests": share * sum(count for name, count in idle["s3"].items() if name.endswith("/requests")),
        "transactions": share * idle["postgres"].get("transactions", 0),
        "rows": share * rows(idle["postgres"]),
        "wal_bytes": share * idle["postgres"].get("wal_bytes", 0),
    }


def takeover(lines, leaders, killed, killed_at):
    """For how long the partitions of a broker that was killed took no writes: for each of them, from the kill to the first
    acknowledgement of a record that was sent after it; `None` for one that never took any. `leaders` are from before."""
    first = {partition: None for partition, leader in leaders.items() if leader == killed}
    for line in lines:
        partition, sent, acknowledged = line.split()
        partition = int(partition)
        if partition in first and float(sent) > killed_at:
            seconds = float(acknowledged) - killed_at
            first[partition] = seconds if first[partition] is None else min(first[partition], seconds)
    return first


def steady(text):
    """What ProducerPerformance moved in its steady half: it reports each second, and the first half warms up. Its rate over all
    records holds the start of its process and the wait for the last answers, too."""
    rates = [float(rate) for rate in re.findall(REPORTED, text)]
    half = rates[len(rates) // 2:]
    return {"megabytes_per_second": 1.048576 * sum(half) / len(half) if half else None}
