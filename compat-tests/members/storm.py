#!/usr/bin/env python3
"""Groups of real members, in at most four processes, that join, leave and crash while their coordinator is killed and moved.

    storm.py --binary STREAMHOUSE --s3-server S3-SERVER --jars FOLDER [--sizes 1 10 200] [--protocols eager cooperative consumer]

Two brokers of one cluster, over a PostgreSQL and an S3 server of their own, serve groups of these sizes in each protocol, all at the
same time; `--apart` plays one protocol after the other, for sizes that would be too much for the machine together. Each group
reads a topic of its own, to which records are written all the while. The story is in `Storm.play`; what must hold is in
`checker.py`. What was wrong is printed, and the exit status is 1.
"""

import argparse
import pathlib
import queue
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bench"))
from checker import Group, missing_of  # noqa: E402
from clients import Broken, Clients, compile_members, now, offsets  # noqa: E402
from drive.cluster import Cluster  # noqa: E402
from drive.tools import run  # noqa: E402

PROCESSES = 4
# The one that dies. Process 0 writes the records, too.
DOOMED = 3
PROTOCOLS = ("eager", "cooperative", "consumer")

# Long enough for a machine that does other things as well, short enough that nobody waits long for a member that died.
SESSION_MS = 10_000
SETTINGS = {
    "coordinator.group_initial_rebalance_delay": "1s",
    "coordinator.group_consumer_min_session_timeout": "10s",
    "coordinator.group_consumer_session_timeout": "10s",
    "coordinator.group_consumer_min_heartbeat_interval": "1s",
    "coordinator.group_consumer_heartbeat_interval": "1s",
}

# A group that has not come to rest by then never will.
SETTLED_SECONDS = 180


class Plan:
    """What a cluster of `bench/drive` wants to know."""

    latency_ms = 5

    def __init__(self, arguments, folder):
        self.binary, self.s3_server, self.folders = arguments.binary, arguments.s3_server, folder

    def folder(self, name):
        return pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folders))

    def remove(self, folder):
        shutil.rmtree(folder, ignore_errors=True)


class Storm:
    """Groups, their members by process, and the cluster that serves them."""

    def __init__(self, cluster, clients, protocols, sizes):
        self.cluster, self.clients = cluster, clients
        self.groups, self.sizes, self.places = {}, {}, {}
        self.lives = 0
        for protocol in protocols:
            for size in sizes:
                name = f"{protocol}-{size}"
                partitions = 4 if size == 1 else 2 * size if size < 100 else size
                self.groups[name], self.sizes[name] = Group(name, protocol, partitions), size
        self.topics = [f"{name}:{group.partition_count}" for name, group in self.groups.items()]
        self.ends, self.committed = {}, {}

    def play(self, rate):
        for number in range(PROCESSES):
            self.clients.start(number)
        self.clients.tell(0, "produce", rate, *self.topics)
        first, second = self.cluster.brokers
        everybody = [(name, index) for name, size in self.sizes.items() for index in range(size)]
        # A third goes, of a single member all.
        some = [(name, index) for name, index in everybody if index % 3 == 1 or self.sizes[name] == 1]

        for one in everybody:
            self.join(*one)
        self.settle("all have joined")
        for one in some:
            self.leave(*one)
        first.kill()
        self.settle("a third left while a broker was killed")
        first.start(first.folder, first.port)
        for one in some:
            self.join(*one)
        second.stop()
        self.settle("they are back, while the other broker handed everything over")
        second.start(second.folder, second.port)
        self.crash(DOOMED)
        first.kill()
        self.settle("a quarter crashed, and the broker that led everything")
        first.start(first.folder, first.port)
        self.clients.start(DOOMED)
        for name, index in everybody:
            if place(index) == DOOMED:
                self.join(name, index)
        self.settle("all are there again")
        self.clients.tell(0, "quiet", *self.topics)
        self.wait("every record is read and committed", self.is_drained)
        for one in everybody:
            self.leave(*one)
        self.wait("all have left", lambda: not any(group.leaving for group in self.groups.values()))
        for name in self.groups:
            self.clients.tell(0, "offsets", name)
        self.wait("the offsets are told", lambda: len(self.committed) == len(self.groups))

    def join(self, name, index):
        self.lives += 1
        member = f"{name}/{index}/{self.lives}"
        self.places[name, index] = member
        self.groups[name].joins(member)
        self.clients.tell(place(index), "join", member, name, name, self.groups[name].protocol)

    def leave(self, name, index):
        member = self.places[name, index]
        self.groups[name].leaves(member)
        self.clients.tell(place(index), "leave", member)

    def crash(self, number):
        self.hear_what_came()
        died = self.clients.kill(number)
        # What it still wrote.
        self.hear_what_came()
        for (name, index), member in self.places.items():
            if place(index) == number:
                self.groups[name].goes(died, member)

    def settle(self, what):
        self.wait(what, lambda: all(group.is_settled() for group in self.groups.values()))

    def wait(self, what, is_so):
        begun = time.monotonic()
        while not is_so():
            if time.monotonic() - begun > SETTLED_SECONDS:
                shares = {name: {one: len(group.had[one]) for one in sorted(group.members)} for name, group in self.groups.items()}
                raise Broken(f"not within {SETTLED_SECONDS} s: {what}; partitions by member: {shares}")
            self.hear(0.2)
        print(f"  {time.monotonic() - begun:6.1f} s  {what}", flush=True)

    def hear_what_came(self):
        """Everything that is on its way: threads need a moment to read it."""
        time.sleep(0.5)
        while not self.clients.events.empty():
            self.hear(0)

    def hear(self, seconds):
        try:
            event = self.clients.events.get(timeout=seconds)
        except queue.Empty:
            return
        if event.name == "-":
            name, word = event.words[0], event.words[1] if len(event.words) > 1 else ""
            (self.ends if event.kind == "ends" else self.committed)[name] = offsets(word)
        elif event.kind == "failed":
            raise Broken(f"{event.name} failed: {' '.join(event.words)}")
        else:
            self.groups[event.name.split("/")[0]].hear(event)

    def is_drained(self):
        return len(self.ends) == len(self.groups) and all(
            missing_of(group.reads[partition], end) is None
            and (not end or max((offset for _, offset in group.known[partition]), default=0) >= end)
            for name, group in self.groups.items() for partition, end in self.ends[name].items())

    def verdict(self):
        """What is wrong, after a line for each group."""
        wrong = []
        for name, group in self.groups.items():
            wrong += group.finish(self.ends.get(name, {}), self.committed.get(name, {}))
            records = sum(self.ends.get(name, {}).values())
            counts = group.counts
            print(f"  {name}: {records} records, read {counts['records']} times; {counts['commit']} commits, {counts['uncommitted']} refused; "
                  f"{counts['assigned']} assignments, {counts['lost']} noticed late")
        return wrong


def place(index):
    """The process of a member; the only one of a group is in the one that dies."""
    return (DOOMED - index) % PROCESSES


def played(arguments, protocols, folder):
    """One storm; what went wrong."""
    sizes = arguments.sizes
    print(f"{' '.join(protocols)}: groups of {' '.join(map(str, sizes))}", flush=True)
    with Cluster(Plan(arguments, folder), brokers=2, settings=SETTINGS) as cluster:
        class_path = compile_members(arguments.jars, folder)
        log = folder / "members.log"
        with Clients(class_path, cluster.address, SESSION_MS, log) as clients:
            storm = Storm(cluster, clients, protocols, sizes)
            for topic in storm.topics:
                name, partitions = topic.split(":")
                run([arguments.binary, "topic", "create", name, "-b", cluster.address, "-p", partitions])
            try:
                storm.play(arguments.rate)
            except Broken as broken:
                logs = [broker.folder / "log" for broker in cluster.brokers]
                tails = "".join(f"\n--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in [log, *logs])
                return [f"{broken}{tails}", *storm.verdict()]
            return storm.verdict()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the streamhouse binary")
    parser.add_argument("--s3-server", required=True, help="the S3 server of the tests")
    parser.add_argument("--jars", required=True, help="the folder with kafka-clients")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10], help="members of each group")
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=PROTOCOLS)
    parser.add_argument("--apart", action="store_true", help="one protocol after the other")
    parser.add_argument("--rate", type=int, default=200, help="records a second, to all topics together")
    arguments = parser.parse_args()
    # Whoever ends this ends its processes, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    begun, wrong = time.monotonic(), []
    for protocols in [[one] for one in arguments.protocols] if arguments.apart else [arguments.protocols]:
        with tempfile.TemporaryDirectory(prefix="storm-", ignore_cleanup_errors=True) as folder:
            wrong += played(arguments, protocols, pathlib.Path(folder))
    for line in wrong[:50]:
        print(f"WRONG {line}")
    print(f"{len(wrong)} things are wrong" if wrong else f"nothing is wrong; {time.monotonic() - begun:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
