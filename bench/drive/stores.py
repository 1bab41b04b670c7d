"""What holds the data of a cluster: a PostgreSQL server of its own, and the S3 server of the tests with a latency. Both count."""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
import time
import urllib.request

from . import machine
from .tools import Failed, run

START_SECONDS = 30

# Checkpoints of the database write pages again; they come before a measurement and not within.
SETTINGS = {
    "fsync": "on", "synchronous_commit": "on", "max_connections": "200", "checkpoint_timeout": "1h", "max_wal_size": "16GB",
    "track_wal_io_timing": "on",
}

# The tables that commits write, and who else writes them: nobody while a load runs.
COMMITTED = ("shards", "manifests", "objects")


class Postgres:
    """A PostgreSQL server in a folder of its own, with fsync on. It refuses to run as root, so that root starts it as the user
    `postgres`, or else `nobody`."""

    def __init__(self):
        self.process = None
        self.port = None
        self.folder = None

    def start(self):
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        initdb = str(programs[-1]) if programs else shutil.which("initdb")
        if not initdb:
            raise Failed("PostgreSQL is not installed: apt-get install postgresql")
        # Users other than root do not reach the cache of root.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-postgres-", dir="/var/tmp"))
        as_user = {"cwd": "/"}
        if os.getuid() == 0:
            owner = next(each for each in map(user, ("postgres", "nobody")) if each)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            as_user.update(user=owner.pw_uid, group=owner.pw_gid, extra_groups=[])
        data = str(self.folder / "data")
        made = subprocess.run(
            [initdb, "-D", data, "-U", "streamhouse", "-A", "trust", "-E", "UTF8", "--locale=C"],
            capture_output=True, text=True, **as_user,
        )
        if made.returncode != 0:
            raise Failed(f"initdb: {made.stderr}")
        self.port = machine.free_port()
        command = [str(pathlib.Path(initdb).parent / "postgres"), "-D", data, "-k", str(self.folder)]
        for name, value in {**SETTINGS, "port": self.port, "listen_addresses": "127.0.0.1"}.items():
            command += ["-c", f"{name}={value}"]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **as_user)
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                # The brokers have a database of their own, in which nobody else has transactions.
                return self.ask("CREATE DATABASE streamhouse", "postgres")
            except Failed:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
            time.sleep(0.05)

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self):
        return f"postgres://streamhouse@127.0.0.1:{self.port}/streamhouse?sslmode=disable"

    def ask(self, sql, database="streamhouse"):
        """The rows of an answer, each a list of texts."""
        told = run([
            "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", "streamhouse",
            "-d", database, "-c", sql,
        ])
        return [line.split("|") for line in told.splitlines()]

    def counters(self):
        """What the server counted until now. Its processes tell what they did a second later at most, if they go on; a
        reading is exact when nothing but heartbeats came for some seconds."""
        tables = self.ask(
            "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables WHERE schemaname = 'streamhouse'")
        found = {f"{name}/{what}": int(count)
                 for name, *counts in tables for what, count in zip(("inserted", "updated", "deleted"), counts)}
        # From another database: this one does not count itself.
        [[transactions, rolled_back]] = self.ask(
            "SELECT xact_commit, xact_rollback FROM pg_stat_database WHERE datname = 'streamhouse'", "postgres")
        [[at, records, pages, size]] = self.ask(
            "SELECT pg_current_wal_lsn() - '0/0', wal_records, wal_fpi, wal_bytes FROM pg_stat_wal", "postgres")
        return {
            **found, "transactions": int(transactions), "rolled_back": int(rolled_back), "wal_position": int(at),
            "wal_records": int(records), "wal_full_pages": int(pages), "wal_bytes": int(size),
        }


class Bucket:
    """The S3 server of the tests, in memory: each request takes `latency_ms` longer than it must."""

    def __init__(self, program, latency_ms):
        self.program = program
        self.latency_ms = latency_ms
        self.process = None
        self.endpoint = None
        self.control = None

    def start(self):
        command = [self.program, "--bucket", "bench", "--latency-ms", str(self.latency_ms)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint, self.control = (self.process.stdout.readline().split()[1] for _ in range(2))

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def counters(self):
        """Requests and bytes of each operation, by its access log."""
        with urllib.request.urlopen(f"{self.control}/totals") as answer:
            return totals(answer.read().decode())

    def log(self):
        """A line per request."""
        with urllib.request.urlopen(f"{self.control}/log") as answer:
            return answer.read().decode().splitlines()


def totals(text):
    """Reads the totals of the S3 server: `put 12 8000 0` says 12 requests, 8,000 bytes in, none out."""
    found = {}
    for line in text.splitlines():
        operation, *counts = line.split()
        for what, count in zip(("requests", "bytes_in", "bytes_out"), counts, strict=True):
            found[f"{operation}/{what}"] = int(count)
    return found


def metrics(text):
    """Reads counters and gauges as Prometheus writes them: `name{label="value"} 1` by name and labels as they stand."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[name] = float(value)
    return found


def summed(found, name, *labels):
    """The sum of a metric over all its labels, or over those that contain all of these."""
    return sum(value for key, value in found.items()
               if key.split("{")[0] == name and all(label in key for label in labels))


def difference(after, before):
    """What was counted in between."""
    return {name: value - before.get(name, 0) for name, value in after.items()}


def user(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
