"""The loads. Each makes a topic of its own, loads it, deletes it, and gives the report with what it found beside it.

Batches hold what fits 16,384 bytes, or 1,048,000: Kafka's default allows 1,048,588 a batch. A load has as many partitions as
connections, so that each connection has its own.
"""

import json
import pathlib
import sqlite3
import subprocess
import threading
import time

from . import machine
from .tools import Failed, run

SMALL, LARGE = 16_384, 1_048_000
GIBIBYTE = 1 << 30

# Records a second that Kafka's tools are given: about what one of them moves.
TOOL_RATE = 100_000

# What makes retention and the deletion of objects keep up with a load of minutes.
SUSTAINED = {"log.retention_check_interval": "10s", "storage.object_grace": "10s"}

# What a checkpoint begins with; docs/internals/data.md.
CHECKPOINT = b"SHCP"

# One-record requests: as many a second, on so many connections.
RATE, CONNECTIONS = 5000, 4


def produce(tools, server, plan, size, batch=SMALL, connections=4):
    """As fast as the broker takes it: five requests on the way for each connection, all of them acknowledged when durable."""
    topic = tools.topic(server, "produce", connections)
    report = tools.bench(
        server, "produce", "--topic", topic, "--record-size", size, "--batch-size", batch, "--connections", connections,
        "--seconds", plan.seconds, "--warm-up", plan.warm_up,
    )
    tools.delete(server, topic)
    if "disk_written_bytes" in report:
        # The bytes of the warm-up are not told; they come at about the same rate.
        sent = report["batch_bytes"] * (1 + plan.warm_up / plan.seconds)
        report["disk_written_by_batches"] = round(report["disk_written_bytes"] / max(sent, 1), 3)
    return report


def one_record(tools, server, plan, seconds):
    """5,000 requests a second with one record of 1 KB each, due on a schedule. Retention is at work: where the broker is
    StreamHouse, the report says how many flushes, checkpoints and trims fell into the run."""
    topic = tools.topic(server, "one-record", CONNECTIONS, {"retention.bytes": 4 << 20})
    since = time.time()
    report = tools.bench(
        server, "produce", "--topic", topic, "--record-size", 1024, "--batch-size", 1, "--connections", CONNECTIONS,
        "--rate", RATE, "--seconds", seconds, "--warm-up", plan.warm_up,
    )
    report["background"] = background(server, tools, topic, since)
    tools.delete(server, topic)
    return report


def consume(tools, server, plan):
    """1 GiB that was just written, from its beginning, with fetches of 1 MiB on one connection. Read twice, and the second
    time counts: clients and page caches are warm for everybody."""
    topic = tools.topic(server, "consume", 1)
    run(tools.bench_command(
        server, "produce", "--topic", topic, "--record-size", 1024, "--batch-size", SMALL, "--connections", 4,
        "--bytes", plan.consume_bytes, "--warm-up", 0, "--seconds", 3600,
    ))
    arguments = "consume", "--topic", topic, "--partition-bytes", 1 << 20, "--fetch-bytes", 1 << 20
    first = tools.bench(server, *arguments)
    report = tools.bench(server, *arguments)
    report["first_megabytes_per_second"] = first["megabytes_per_second"]
    tools.delete(server, topic)
    return report


def tail(tools, server, plan):
    """Four connections follow what four others write as fast as the broker takes it."""
    topic = tools.topic(server, "tail", 4)
    common = "--topic", topic, "--connections", 4, "--warm-up", plan.warm_up
    produce = tools.bench_command(
        server, "produce", *common, "--record-size", 1024, "--batch-size", SMALL, "--seconds", plan.seconds + 1,
    )
    producing = subprocess.Popen(produce, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        report = tools.bench(server, "consume", "--follow", *common, "--seconds", plan.seconds)
    finally:
        output, error = producing.communicate()
    if producing.returncode != 0:
        raise Failed(f"the producer beside the follower failed: {error}")
    report["produced_megabytes_per_second"] = json.loads(output)["megabytes_per_second"]
    tools.delete(server, topic)
    return report


def end_to_end(tools, server, plan):
    """1,000 records of 100 bytes a second, each alone, from when it is due until a consumer has it."""
    topic = tools.topic(server, "e2e", 1)
    report = tools.bench(
        server, "e2e", "--topic", topic, "--rate", 1000, "--record-size", 100, "--seconds", plan.seconds,
        "--warm-up", plan.warm_up,
    )
    tools.delete(server, topic)
    return report


def kafka_producer(tools, server, plan):
    """Kafka's ProducerPerformance."""
    topic = tools.topic(server, "tools", 4)
    report = tools.producer_performance(server, topic, plan.seconds * TOOL_RATE, 1024)
    tools.delete(server, topic)
    return report


def kafka_consumer(tools, server, plan):
    """Kafka's ConsumerPerformance, on what `streamhouse bench` wrote."""
    topic, records = tools.topic(server, "tools", 4), plan.seconds * TOOL_RATE
    run(tools.bench_command(
        server, "produce", "--topic", topic, "--record-size", 1024, "--batch-size", SMALL, "--connections", 4,
        "--bytes", records * 1100, "--warm-up", 0, "--seconds", 3600,
    ))
    report = tools.consumer_performance(server, topic, records)
    tools.delete(server, topic)
    return report


def kafka_end_to_end(tools, server, plan):
    """Kafka's EndToEndLatency."""
    topic = tools.topic(server, "tools", 1)
    report = tools.end_to_end_latency(server, topic, plan.seconds * 500, 100)
    tools.delete(server, topic)
    return report


KAFKA_TOOLS = {
    "kafka ProducerPerformance": kafka_producer,
    "kafka ConsumerPerformance": kafka_consumer,
    "kafka EndToEndLatency": kafka_end_to_end,
}


def sustained(tools, server, seconds):
    """The 16 KB load for minutes, with retention.bytes of 1 GiB a partition: rates of every ten seconds, and what the folder
    took on the disk meanwhile."""
    topic = tools.topic(server, "sustained", 4, {"retention.bytes": GIBIBYTE})
    sizes, over = [], threading.Event()

    def watch():
        while not over.wait(5):
            sizes.append(machine.disk_bytes(server.folder))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        report = tools.bench(
            server, "produce", "--topic", topic, "--record-size", 1024, "--batch-size", SMALL, "--connections", 4,
            "--seconds", seconds, "--warm-up", 2, "--interval", 10,
        )
    finally:
        over.set()
        watching.join()
    rates = [interval["megabytes_per_second"] for interval in report["intervals"]]
    report["disk_bytes"] = sizes
    report["second_30_s"] = average(rates[3:6] or rates)
    report["last_30_s"] = average(rates[-3:])
    tools.delete(server, topic)
    return report


def idempotent(tools, server, plan):
    """50 idempotent producers that write to one partition at once. Stops the broker, and adds to the report how many runs its
    flushes held at most."""
    topic = tools.topic(server, "idempotent", 1)
    report = tools.bench(
        server, "produce", "--idempotent", "--topic", topic, "--record-size", 100, "--batch-size", 1000,
        "--connections", 50, "--seconds", plan.seconds, "--warm-up", 0,
    )
    server.stop()
    runs = manifests(server)
    report["flushes"], report["runs_per_flush_max"] = len(runs), max(runs, default=0)
    return report


def background(server, tools, topic, since):
    """What StreamHouse did beside a load since a time: objects of flushes, checkpoints, and records that retention removed.
    Nothing for other brokers. Objects must be kept for longer than the load."""
    if server.name != "StreamHouse":
        return {}
    flushes = checkpoints = 0
    for path in pathlib.Path(server.data / "objects").rglob("*"):
        if path.is_file() and path.stat().st_mtime >= since:
            with open(path, "rb") as file:
                is_checkpoint = file.read(4) == CHECKPOINT
            checkpoints, flushes = checkpoints + is_checkpoint, flushes + (not is_checkpoint)
    starts = [partition["log_start_offset"] for partition in tools.describe(server, topic)["partitions"]]
    return {"flushes": flushes, "checkpoints": checkpoints, "records_trimmed": sum(starts)}


def manifests(server):
    """The number of entries of each manifest in the database of a StreamHouse that has stopped: runs, as long as nothing is
    trimmed."""
    connection = sqlite3.connect(server.data / "metadata.db")
    try:
        return [entries(body) for (body,) in connection.execute("SELECT body FROM manifests")]
    finally:
        connection.close()


def entries(body):
    """Reads a manifest up to the number of its entries; docs/internals/data.md has the layout."""
    at = 2

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def optional(wide, numbers):
        nonlocal at
        at += 1
        if body[at - 1]:
            at += wide
            for _ in range(numbers):
                varint()

    for _ in ("shard", "lsn", "epoch"):
        varint()
    at += 16
    for _ in ("flush", "epoch of the flush before"):
        varint()
    at += 16
    for _ in ("flush before", "stamp"):
        varint()
    optional(16, 1)
    optional(0, 3)
    topics = varint()
    at += 16 * topics
    return varint()


def recovery(tools, server, size):
    """Fills the WAL with `size` bytes that no object holds, kills the broker, and starts it again with its files on the disk
    only."""
    topic = tools.topic(server, "recovery", 4)
    report = tools.bench(
        server, "produce", "--topic", topic, "--record-size", 1024, "--batch-size", SMALL, "--connections", 4,
        "--bytes", size, "--warm-up", 0, "--seconds", 3600,
    )
    held = wal_bytes(server)
    server.kill()
    machine.forget(server.folder)
    seconds = server.start(server.folder).ready_seconds
    ends = [partition["high_watermark"] for partition in tools.describe(server, topic)["partitions"]]
    if sum(ends) != report["records"]:
        raise Failed(f"{report['records']} records were acknowledged and {sum(ends)} came back")
    return {"wal_bytes": held, "batch_bytes": report["batch_bytes"], "ready_seconds": seconds}


def wal_bytes(server):
    """The size of the WAL's files that are in use."""
    files = (server.data / "wal").glob("[0-9]*.wal")
    return sum(path.stat().st_size for path in files)


def idle(server):
    """Memory of a broker that was left alone for a moment after its start."""
    time.sleep(3)
    return machine.resident_bytes(server.pid)


def average(numbers):
    return sum(numbers) / max(len(numbers), 1)
