#!/usr/bin/env python3
"""The figures of three brokers over PostgreSQL and an S3 server with a latency: what producers wait for, what a death costs,
what commits cost the database and flushes the store. See README.md."""

import collections
import json
import os
import pathlib
import subprocess
import sys
import time

from drive import cluster, costs, jars, loads, machine, plan, results
from drive.cluster import Cluster, Counted
from drive.results import spread, table
from drive.tools import Failed, Tools, run

HERE = pathlib.Path(__file__).parent

# The latency that the aims name, and the load.
LATENCY_MS, MEGABYTES = 50, 50

# Enough connections and requests on the way that the schedule, and not an answer, decides when a request is sent.
CONNECTIONS, IN_FLIGHT, PARTITIONS = 12, 150, 24

# Partitions of the topic on which a flush finds as many of them as come in a quarter of a second.
PARTITION_COUNTS = 100, 1_000, 10_000

# After a load, processes of PostgreSQL tell what they did within a second, and brokers finish what they began.
REST_SECONDS = 5

# A load that goes on for longer will never end.
LOAD_SECONDS_MAX = 300

# Producers that differ from their defaults in what everybody who tunes for throughput changes first.
TUNED = {
    "Java": {"linger.ms": 100, "batch.size": 1_000_000, "buffer.memory": 268_435_456, "max.request.size": 8_388_608},
    "librdkafka": {"linger.ms": 100, "batch.num.messages": 100_000, "queue.buffering.max.messages": 1_000_000},
}


class ClusterFigures:
    def __init__(self, wanted):
        self.plan = wanted
        self.tools = Tools(wanted.binary, jars.folder() if "clients" in wanted.works else None)
        self.results = results.Results(wanted.results)
        self.number = 0

    def run(self):
        works = {
            "produce": self.produce, "takeover": self.takeovers, "idle": self.idle, "commits": self.commits,
            "clients": self.clients,
        }
        for self.number in range(1, self.plan.rounds + 1):
            for name in ("produce", "clients"):
                if name in self.plan.works:
                    works[name]()
        self.number = 1
        for name in ("takeover", "idle", "commits"):
            if name in self.plan.works:
                works[name]()

    def produce(self):
        """What producers wait for at the offered load, and what a GiB costs; then half of it is read from its beginning."""
        for interval in self.plan.flush_intervals:
            with self.cluster({"shared.flush_interval": interval}) as brokers:
                topic = self.tools.topic(brokers, "produce", PARTITIONS)
                self.add(f"produce, flush every {interval}", lambda: self.offered(brokers, topic))
                if interval == self.plan.flush_intervals[0]:
                    self.add("consume", lambda: self.consumed(brokers, topic))

    def offered(self, brokers, topic):
        rate = round(self.plan.megabytes * 1e6 / loads.SMALL)
        with Counted(brokers) as counted:
            report = self.bench(
                brokers, "produce", "--topic", topic, "--record-size", 1024, "--batch-size", loads.SMALL, "--connections",
                CONNECTIONS, "--in-flight", IN_FLIGHT, "--rate", rate, "--seconds", self.plan.seconds, "--warm-up",
                self.plan.warm_up,
            )
            time.sleep(REST_SECONDS)
        report["counted"] = counted.found
        sent = sum(partition["high_watermark"] for partition in self.tools.describe(brokers, topic)["partitions"])
        report["all_batch_bytes"] = sent * report["batch_bytes"] / report["records"]
        return {**report, **costs.per_gibibyte(counted.found, report["all_batch_bytes"])}

    def consumed(self, brokers, topic):
        with Counted(brokers) as counted:
            report = self.bench(brokers, "consume", "--topic", topic, "--connections", 3)
        report["counted"] = counted.found
        return {**report, **costs.per_gibibyte(counted.found, report["batch_bytes"])}

    def takeovers(self):
        """`kill -9` of one broker after the other, each started again and given its share before the next one dies."""
        with self.cluster({"membership.shard_stay_min": "0s"}) as brokers:
            topic = self.tools.topic(brokers, "takeover", PARTITIONS)
            for self.number in range(1, self.plan.kills + 1):
                victim = brokers.brokers[(self.number - 1) % len(brokers.brokers)]
                self.add("takeover", lambda victim=victim: self.takeover(brokers, topic, victim))
                victim.start(victim.folder)
                wait(brokers.is_shared, "the brokers do not divide the shards again")

    def takeover(self, brokers, topic, victim):
        wanted = {
            "work": "probe", "address": brokers.address, "topic": topic, "partitions": PARTITIONS, "rate": 20,
            "record_size": 10_000, "seconds": self.plan.takeover_seconds, "settings": {},
        }
        before = self.tools.describe(brokers, topic)["partitions"]
        leaders = {partition["partition"]: partition["leader"] for partition in before}
        probe = subprocess.Popen(client_python(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        probe.stdin.write(json.dumps(wanted))
        probe.stdin.close()
        time.sleep(3)
        killed_at = time.monotonic()
        victim.kill()
        report = json.loads(probe.stdout.read())
        if probe.wait() != 0 or report["failures"] or report["left"]:
            raise Failed(f"records were not acknowledged: {report['failures'][:3]}, {report['left']} left")
        took = costs.takeover(report["acknowledged"], leaders, victim.number, killed_at)
        there = sum(it["high_watermark"] for it in self.tools.describe(brokers, topic)["partitions"])
        new = there - sum(it["high_watermark"] for it in before)
        if new < len(report["acknowledged"]):
            raise Failed(f"{len(report['acknowledged'])} records were acknowledged, and {new} are there")
        if None in took.values() or not took:
            raise Failed(f"partitions never took writes again: {took}")
        return {"seconds_first": min(took.values()), "seconds_last": max(took.values()), "partitions": took,
                "acknowledged": len(report["acknowledged"]), "there": new}

    def idle(self):
        """Nobody asks for anything, after somebody did."""
        with self.cluster() as brokers:
            self.add("idle", lambda: self.left_alone(brokers))

    def left_alone(self, brokers, load=True):
        if load:
            self.tools.topic(brokers, "idle", PARTITIONS)
            self.bench(brokers, "produce", "--topic", f"idle-load-{self.number}", "--partitions", PARTITIONS, "--seconds", 3)
            # What follows the taking of shards (the objects of dead lives are looked for) is over by then.
            time.sleep(6 * REST_SECONDS)
        asked = len(brokers.bucket.log())
        with Counted(brokers) as counted:
            time.sleep(self.plan.idle_seconds)
        found = {**counted.found, "requests_seen": brokers.bucket.log()[asked:]}
        return {**found, "per_hour": costs.per_hour(found)}

    def commits(self):
        """What a flush costs the database when its batches lie in ever more partitions. The rate stays the same."""
        for partitions in self.plan.partitions:
            with self.cluster({"shared.early_uploads_per_second": 0, "shared.early_uploads_burst": 0}) as brokers:
                topic = self.tools.topic(brokers, "commits", partitions)
                self.add(f"commits, {partitions} partitions", lambda: self.committed(brokers, topic))

    def committed(self, brokers, topic):
        arguments = (
            "produce", "--topic", topic, "--record-size", 100, "--batch-size", 1, "--connections", 4, "--in-flight", 1_000,
            "--rate", 2_000, "--warm-up", 1,
        )
        # Pages that are written for the first time since the last checkpoint are written whole.
        self.bench(brokers, *arguments, "--seconds", 2)
        # What followed the making of the topic is over by then.
        time.sleep(3 * REST_SECONDS)
        with Counted(brokers) as idle:
            time.sleep(2 * REST_SECONDS)
        with Counted(brokers) as loaded:
            report = self.bench(brokers, *arguments, "--seconds", self.plan.seconds)
            time.sleep(REST_SECONDS)
        found = costs.per_commit(loaded.found, idle.found)
        [[bodies]] = brokers.postgres.ask("SELECT avg(length(body))::int FROM streamhouse.manifests")
        return {**report, "counted": loaded.found, "idle": idle.found, "manifest_bytes": int(bodies), **found}

    def clients(self):
        """Producers at their defaults beside the same ones with larger batches."""
        for partitions in self.plan.client_partitions:
            with self.cluster() as brokers:
                turns = [(client, kind) for client in TUNED for kind in ("defaults", "tuned")]
                for client, kind in turns if self.number % 2 else reversed(turns):
                    settings = TUNED[client] if kind == "tuned" else {}
                    topic = self.tools.topic(brokers, "clients", partitions)
                    load = self.java if client == "Java" else self.librdkafka
                    self.add(f"{client}, {partitions} partitions, {kind}", lambda load=load, topic=topic, settings=settings: load(
                        brokers, topic, settings))

    def java(self, brokers, topic, settings):
        text = {"output": ""}
        command = ["java", "-Xmx1G", "-cp", f"{self.tools.jars}/*", "org.apache.kafka.tools.ProducerPerformance"]
        command += ["--bootstrap-server", brokers.address, "--topic", topic, "--record-size", "1024", "--throughput", "-1"]
        command += ["--num-records", str(self.plan.client_records * (4 if settings else 1)), "--reporting-interval", "1000"]
        if settings:
            command += ["--command-property", *(f"{key}={value}" for key, value in settings.items())]
        text["output"] = run(command, LOAD_SECONDS_MAX)
        return {**text, **costs.steady(text["output"])}

    def librdkafka(self, brokers, topic, settings):
        wanted = {
            "work": "throughput", "address": brokers.address, "topic": topic, "settings": settings,
            "seconds": self.plan.client_seconds, "warm_up": self.plan.warm_up,
        }
        done = subprocess.run(client_python(), input=json.dumps(wanted), capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(done.stderr[-2000:])
        return json.loads(done.stdout)

    def bench(self, brokers, *arguments):
        command = [self.plan.binary, "bench", *map(str, arguments), "--json", "-b", brokers.address]
        return json.loads(run(command, LOAD_SECONDS_MAX))

    def cluster(self, settings=None):
        machine.settle(self.plan.folders)
        return Cluster(self.plan, settings=settings)

    def add(self, work, load):
        begun, busy = time.monotonic(), machine.busy_seconds()
        report = self.results.attempt(self.number, cluster.Cluster.name, work, load) or {}
        cores = (machine.busy_seconds() - busy) / (time.monotonic() - begun)
        shown = {name: report[name] for name in SHOWN if name in report}
        print(f"round {self.number}  {work:<40} {shown}  {cores:.2f} cores busy", flush=True)

    def text(self):
        wanted = self.plan
        parts = [
            "# Cluster\n\n",
            f"{machine.description()}. Three brokers, PostgreSQL with fsync, an S3 server with {wanted.latency_ms} ms a request "
            "and the clients share the cores. Median [lowest to highest].\n",
        ]
        tables = (self.produce_table, self.request_table, self.takeover_table, self.idle_table, self.commit_table,
                  self.client_table)
        for each in tables:
            title, header, rows = each()
            if rows:
                parts.append(f"\n{title}\n\n{table(header, rows)}")
        return "".join(parts)

    def works(self, begins):
        return [work for _, work in self.results.reports if work.startswith(begins)]

    def value(self, work, name, unit=1.0):
        return spread(self.results.values(cluster.Cluster.name, work, name), unit)

    def produce_table(self):
        names = [("MB/s", "megabytes_per_second", 1)]
        names += [(f"{name} ms", f"latency_us/{name}", 1000) for name in ("p50", "p99", "p99.9", "max")]
        names += [("brokers' CPU s", "counted/cpu/brokers", 1), ("PostgreSQL's", "counted/cpu/postgres", 1),
                  ("S3's", "counted/cpu/s3", 1), ("client's", "client_cpu_seconds", 1)]
        rows = [[work, *(self.value(work, name, unit) for _, name, unit in names)] for work in self.works("produce")]
        title = f"{self.plan.megabytes} MB/s offered in requests of 16 KB, acks=all; latency from when a request was due:"
        return title, ["Work", *(name for name, *_ in names)], rows

    def request_table(self):
        names = [("PUT/GiB", "put_per_gibibyte"), ("GET/GiB", "get_per_gibibyte"),
                 ("transactions/GiB", "transactions_per_gibibyte"), ("our count by the server's", "ours_by_theirs")]
        works = self.works("produce") + self.works("consume")
        rows = [[work, *(self.value(work, name) for _, name in names)] for work in works]
        return "Requests by the server's access log:", ["Work", *(name for name, _ in names)], rows

    def takeover_table(self):
        rows = [[work, self.value(work, "seconds_first"), self.value(work, "seconds_last")] for work in self.works("takeover")]
        title = "`kill -9` of a broker to the acknowledgement of a record that was sent after it, in seconds:"
        return title, ["Work", "first of its partitions", "last of its partitions"], rows

    def idle_table(self):
        names = ("requests", "transactions", "rows", "wal_bytes")
        rows = [[work, *(self.value(work, f"per_hour/{name}") for name in names)] for work in self.works("idle")]
        return "An idle hour:", ["Work", "requests to the store", "transactions", "rows written", "bytes of WAL"], rows

    def commit_table(self):
        names = ("flushes", "shards_per_flush", "rows_per_flush", "rows_by_aim", "transactions_per_flush", "wal_bytes_per_flush",
                 "wal_bytes_per_shard", "manifest_bytes")
        rows = [[work, *(self.value(work, name) for name in names)] for work in self.works("commits")]
        title = "A flush in the database; rows by 2 for each shard and 1 for the object:"
        header = ["Work", "flushes", "shards a flush", "rows a flush", "by the aim", "transactions a flush", "WAL bytes a flush",
                  "a shard", "bytes of a manifest"]
        return title, header, rows

    def client_table(self):
        rows, works = [], self.works(tuple(TUNED))
        found = collections.OrderedDict.fromkeys(work.rpartition(", ")[0] for work in works)
        for name in found:
            default, tuned = (self.results.values(cluster.Cluster.name, f"{name}, {kind}", "megabytes_per_second")
                              for kind in ("defaults", "tuned"))
            ratios = [default[number] / tuned[number] for number in default if tuned.get(number)]
            rows.append([name, spread(default), spread(tuned), spread(ratios)])
        return "Producers, MB/s of 1 KB records:", ["Client", "defaults", "tuned", "ratio"], rows


# What is shown while a run goes on.
SHOWN = (
    "megabytes_per_second", "latency_us", "put_per_gibibyte", "ours_by_theirs", "seconds_first", "seconds_last", "per_hour",
    "rows_per_flush", "shards_per_flush", "transactions_per_flush", "wal_bytes_per_flush",
)


def client_python():
    """The command that runs drive/librdkafka.py with the Python that .ci/install-clients prepared."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    python = home / "streamhouse" / "clients" / "python" / "bin" / "python"
    if not python.exists():
        raise Failed("confluent-kafka is missing: bash .ci/install-clients")
    return [str(python), str(HERE / "drive" / "librdkafka.py")]


def wait(is_so, otherwise, seconds=cluster.SHARED_SECONDS):
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            raise Failed(otherwise)
        time.sleep(0.05)


def main():
    arguments = plan.parser("cluster", __doc__)
    arguments.set_defaults(floor="-", seconds=20, warm_up=5)
    all_works = ["produce", "takeover", "idle", "commits", "clients"]
    arguments.add_argument("--works", nargs="+", choices=all_works, default=all_works, help="which loads")
    arguments.add_argument("--s3-server", help="the release build of the S3 server of the tests [default: cargo build --release]")
    arguments.add_argument("--latency-ms", type=int, default=LATENCY_MS, help="what each request to the store takes")
    arguments.add_argument("--megabytes", type=int, default=MEGABYTES, help="the offered load, in MB/s")
    arguments.add_argument("--flush-intervals", nargs="+", default=["150ms", "250ms"], help="shared.flush_interval")
    arguments.add_argument("--kills", type=int, default=6, help="brokers that are killed")
    arguments.add_argument("--takeover-seconds", type=int, default=16, help="how long records are sent around a kill")
    arguments.add_argument("--idle-seconds", type=int, default=120, help="how long nobody asks for anything")
    arguments.add_argument("--partitions", nargs="+", type=int, default=PARTITION_COUNTS, help="partitions of the commits")
    arguments.add_argument("--client-partitions", nargs="+", type=int, default=[12, 48], help="partitions for the clients")
    arguments.add_argument("--client-seconds", type=int, default=10, help="length of a load of librdkafka")
    arguments.add_argument("--client-records", type=int, default=100_000, help="records of a load of Java at its defaults")
    wanted = plan.Plan(arguments.parse_args())
    if not wanted.s3_server:
        wanted.s3_server = plan.built(
            plan.ROOT / "storage" / "Cargo.toml", "s3-server", "--features", "test-support", "--bin", "s3-server")
    begun = time.monotonic()
    figures = ClusterFigures(wanted)
    try:
        figures.run()
    finally:
        wanted.remove(wanted.folders)
        figures.results.write("table.md", figures.text())
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes; results in {wanted.results}")


if __name__ == "__main__":
    sys.exit(main())
