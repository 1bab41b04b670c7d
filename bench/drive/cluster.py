"""Brokers that share a PostgreSQL server and a bucket, each a process of its own."""

import os
import time
import urllib.request

from . import machine
from .servers import Server
from .stores import Bucket, Postgres, difference, metrics, summed
from .tools import Failed

# How long brokers may take to divide the shards between them.
SHARED_SECONDS = 60

SHARDS = 64

# A broker that takes longer to tell its metrics hangs.
ANSWER_SECONDS = 10


class Broker(Server):
    """One of them, at the defaults of a cluster; `settings` differ from them."""

    name = "StreamHouse"

    def __init__(self, cluster, number):
        super().__init__()
        self.cluster = cluster
        self.number = number
        self.metrics_port = machine.free_port()

    def command(self, port):
        settings = {
            "broker.node_id": self.number,
            "listener.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "telemetry.metrics_address": f"127.0.0.1:{self.metrics_port}",
            "metadata.url": self.cluster.postgres.url,
            "storage.url": "s3://bench/cluster",
            "s3.endpoint": self.cluster.bucket.endpoint,
            "s3.region": "us-east-1",
            "coordinator.group_initial_rebalance_delay": "0ms",
            **self.cluster.settings,
        }
        command = ["env", "AWS_ACCESS_KEY_ID=key-id", "AWS_SECRET_ACCESS_KEY=secret", self.cluster.binary, "serve"]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        return command

    def metrics(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=ANSWER_SECONDS) as answer:
                return metrics(answer.read().decode())
        except OSError as error:
            raise Failed(f"broker {self.number} does not tell its metrics: {error}") from None


class Cluster:
    """Everything of one run, new and empty. What the tools take for a server: the address is that of all brokers, and what is
    told of the process is told of the first broker."""

    name = "cluster"
    is_whole = True
    topic_configs = {}

    def __init__(self, plan, brokers=3, settings=None):
        self.plan = plan
        self.binary = plan.binary
        self.settings = settings or {}
        self.postgres = Postgres()
        self.bucket = Bucket(plan.s3_server, plan.latency_ms)
        self.brokers = [Broker(self, number + 1) for number in range(brokers)]
        self.folder = plan.folder("cluster")

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.postgres.start()
        self.bucket.start()
        for broker in self.brokers:
            broker.start(self.folder / f"broker-{broker.number}")
        begun = time.monotonic()
        while not self.is_shared():
            if time.monotonic() - begun > SHARED_SECONDS:
                raise Failed("the brokers do not divide the shards between them")
            time.sleep(0.05)
        self.shared_seconds = time.monotonic() - begun
        # What a server has to do only once, it has done.
        self.postgres.ask("CHECKPOINT", "postgres")
        return self

    def stop(self):
        for broker in self.living:
            broker.kill()
        self.bucket.stop()
        self.postgres.stop()
        self.plan.remove(self.folder)

    def is_shared(self):
        """Whether every broker leads its share."""
        led = [summed(broker.metrics(), "streamhouse_membership_shards_led") for broker in self.living]
        return sum(led) == SHARDS and max(led) - min(led) <= 1

    @property
    def living(self):
        return [broker for broker in self.brokers if broker.process and broker.process.poll() is None]

    @property
    def address(self):
        return ",".join(broker.address for broker in self.living)

    @property
    def process(self):
        return self.living[0].process

    @property
    def pid(self):
        return self.process.pid

    def cpu_seconds(self):
        """What the processes of the cluster have used, by kind."""
        backends = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and parent(pid) == self.postgres.process.pid]
        return {
            "brokers": sum(machine.process_seconds(broker.pid) for broker in self.living),
            "s3": machine.process_seconds(self.bucket.process.pid),
            "postgres": sum(machine.process_seconds(pid) for pid in [self.postgres.process.pid, *backends]),
        }

    def counters(self):
        """Everything that is counted, by whom."""
        told = [broker.metrics() for broker in self.living]
        ours = {f"{operation}/{what}": sum(summed(each, name, f'{label}="{operation}"') for each in told)
                for what, name, label in (("requests", "streamhouse_storage_s3_requests_total", "operation"),)
                for operation in ("put", "get", "head", "list", "delete", "post")}
        return {
            "postgres": self.postgres.counters(), "s3": self.bucket.counters(), "ours": ours, "cpu": self.cpu_seconds(),
            "memory": {"brokers": sum(machine.resident_bytes(broker.pid) for broker in self.living)},
        }


class Counted:
    """What was counted while the block ran, in `found`, and how long it took."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.found = {}

    def __enter__(self):
        self.before, self.begun = self.cluster.counters(), time.monotonic()
        return self

    def __exit__(self, failure, *_):
        if failure:
            return
        self.found = {"seconds": time.monotonic() - self.begun}
        after = self.cluster.counters()
        for kind, counts in after.items():
            changed = difference(counts, self.before[kind])
            self.found[kind] = {name: round(count, 3) for name, count in changed.items() if count}


def parent(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None
