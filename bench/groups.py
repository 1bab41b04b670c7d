#!/usr/bin/env python3
"""The figures of groups: what a rebalance of two hundred members takes, here and with Apache Kafka; what commits of offsets cost the
database, and whether each that was acknowledged is there after `kill -9`; what ten thousand groups of ten members occupy. See
README.md."""

import pathlib
import queue
import sys
import time

from drive import cluster, jars, machine, plan, results, servers, wire
from drive.cluster import Cluster, Counted
from drive.results import spread, table
from drive.tools import Failed, Tools

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "compat-tests" / "members"))
from checker import Group  # noqa: E402
from clients import Clients, compile_members, now  # noqa: E402

PROCESSES = 4
PROTOCOLS = ("eager", "cooperative", "consumer")
PROTOCOL_NAMES = {"eager": "classic", "cooperative": "classic, cooperative", "consumer": "KIP-848"}

# The defaults of Kafka's consumer are a session of 45 s and a heartbeat every 3 s; the program makes the one of the other.
SESSION_MS = 30_000
SETTLED_SECONDS = 240

# Each group commits ten times a second, for one partition after the other.
COMMITTING_GROUPS, COMMIT_PARTITIONS, COMMIT_CONNECTIONS, TICK = 1_000, 10, 50, 0.01

# So many joins wait for their answer at most.
JOINS_UNANSWERED = 2_000
REST_SECONDS = 5


class GroupFigures:
    def __init__(self, wanted):
        self.plan = wanted
        self.jars = jars.folder() if "rebalance" in wanted.works else None
        self.tools = Tools(wanted.binary, self.jars)
        self.results = results.Results(wanted.results)
        self.number = 1

    def run(self):
        works = {"rebalance": self.rebalances, "commits": self.commits, "memory": self.memory}
        for name in self.plan.works:
            works[name]()

    def rebalances(self):
        """The same members against one broker after the other."""
        path = compile_members(self.jars, self.plan.folder("classes"))
        for make in (lambda: servers.Kafka(self.jars), lambda: servers.StreamHouse(self.plan.binary)):
            server = make()
            server.start(self.plan.folder(server.name))
            try:
                for protocol in self.plan.protocols:
                    self.attempt(server.name, PROTOCOL_NAMES[protocol], lambda protocol=protocol: self.rebalance(server, path, protocol))
            finally:
                server.stop()
                self.plan.remove(server.folder)

    def rebalance(self, server, path, protocol):
        """All join; then one joins and one leaves, again and again."""
        partitions = 2 * self.plan.members
        topic = self.tools.topic(server, f"rebalance-{protocol}", partitions)
        group = Group(topic, protocol, partitions)
        with Clients(path, server.address, SESSION_MS, self.plan.folder("members") / "log") as clients:
            for number in range(PROCESSES):
                clients.start(number)

            def join(number):
                member = f"{topic}/{number}"
                group.joins(member)
                clients.tell(number % PROCESSES, "join", member, topic, topic, protocol)

            def leave(number):
                member = f"{topic}/{number}"
                group.leaves(member)
                clients.tell(number % PROCESSES, "leave", member)

            def settle(*acts):
                begun = now()
                for act, number in acts:
                    act(number)
                return (settled(group, clients) - begun) / 1e9

            used = machine.process_seconds(server.pid)
            all_joined = settle(*((join, number) for number in range(self.plan.members)))
            joins, leaves = [], []
            for turn in range(self.plan.turns):
                # Members hear of a rebalance with their next heartbeat: each turn meets another moment of its interval.
                time.sleep(0.3 + 0.9 * turn)
                joins.append(settle((join, self.plan.members + turn)))
                time.sleep(0.3 + 0.9 * turn)
                leaves.append(settle((leave, turn)))
            used = machine.process_seconds(server.pid) - used
        return {"all_joined": all_joined, "joins": joins, "leaves": leaves, "broker_cpu_seconds": used,
                "events": dict(group.counts), "wrong": group.wrong}

    def commits(self):
        """Three brokers over PostgreSQL, and one with its own database."""
        self.attempt("StreamHouse, PostgreSQL", "commits", self.commits_of_a_cluster)

    def commits_of_a_cluster(self):
        with Cluster(self.plan, brokers=self.plan.brokers) as brokers:
            topic = self.tools.topic(brokers, "commits", COMMIT_PARTITIONS)
            time.sleep(2 * REST_SECONDS)
            with Counted(brokers) as idle:
                time.sleep(2 * REST_SECONDS)
            load = Commits(brokers.address, topic)
            # The first commit of a group makes it.
            load.run(self.plan.rate, 3)
            load.hear_all()
            load.forget()
            with Counted(brokers) as counted:
                load.run(self.plan.rate, self.plan.seconds)
                load.hear_all()
            report = load.report(self.plan.seconds)
            load.run(self.plan.rate, 2)
            ports = [(broker, broker.port) for broker in brokers.brokers]
            for broker, _ in ports:
                broker.kill()
            load.close()
            for broker, port in ports:
                broker.start(broker.folder, port)
            report["read_back"] = load.read_back(brokers.address)
        at_rest = idle.found["postgres"].get("transactions", 0) / idle.found["seconds"]
        transactions = counted.found["postgres"]["transactions"] / counted.found["seconds"]
        by_commits = transactions - at_rest
        return {
            **report, "brokers": self.plan.brokers, "counted": counted.found, "idle": idle.found,
            "transactions_per_second": transactions, "transactions_at_rest": at_rest,
            "commits_per_transaction": report["per_second"] / by_commits if by_commits > 0 else None,
        }

    def memory(self):
        """Groups of ten members each, in one broker."""
        self.attempt("StreamHouse", "memory", self.grown)

    def grown(self):
        server = servers.StreamHouse(self.plan.binary, {"coordinator.group_consumer_max_session_timeout": "10m",
                                                        "coordinator.group_consumer_session_timeout": "10m"})
        server.start(self.plan.folder("memory"))
        try:
            topic = self.tools.topic(server, "memory", 10)
            time.sleep(REST_SECONDS)
            before = machine.resident_bytes(server.pid)
            crowd = wire.Crowd([wire.Connection(server.address) for _ in range(COMMIT_CONNECTIONS)])
            connected = machine.resident_bytes(server.pid)
            begun, refused, joined = time.monotonic(), 0, 0

            def count(answers):
                nonlocal refused, joined
                for answer, *_ in answers:
                    refused += wire.heartbeat_code(answer) != 0
                    joined += 1

            # One member of each group after the other: nobody waits for anybody.
            for member in range(self.plan.group_members):
                for group in range(self.plan.groups):
                    request = wire.consumer_heartbeat(f"group-{group}", f"member-{group}-{member}", topic)
                    crowd.send(crowd.connections[group % COMMIT_CONNECTIONS], request, None, 0)
                    while crowd.unanswered > JOINS_UNANSWERED:
                        count(crowd.hear(1))
            count(crowd.hear_all())
            took = time.monotonic() - begun
            time.sleep(REST_SECONDS)
            after = machine.resident_bytes(server.pid)
            crowd.close()
        finally:
            server.stop()
            self.plan.remove(server.folder)
        if refused:
            raise Failed(f"{refused} of {joined} members were refused")
        return {"groups": self.plan.groups, "members": joined, "seconds": took, "resident_before": before,
                "resident_connected": connected, "resident_after": after, "bytes_per_member": (after - connected) / joined,
                "bytes_per_group": (after - connected) / self.plan.groups}

    def attempt(self, server, work, load):
        report = self.results.attempt(self.number, server, work, load) or {}
        shown = {name: report[name] for name in SHOWN if name in report}
        print(f"{server:<24} {work:<24} {shown}", flush=True)

    def text(self):
        parts = [f"# Groups\n\n{machine.description()}. Brokers and clients share the cores. Median [lowest to highest].\n"]
        for title, header, rows in (self.rebalance_table(), self.commit_table(), self.memory_table()):
            if rows:
                parts.append(f"\n{title}\n\n{table(header, rows)}")
        return "".join(parts)

    def found(self, work):
        return [(server, reports[self.number]) for (server, name), reports in self.results.reports.items() if name == work]

    def rebalance_table(self):
        rows = []
        for work in PROTOCOL_NAMES.values():
            for server, report in self.found(work):
                rows.append([work, server, f"{report['all_joined']:.1f}", spread(report["joins"]), spread(report["leaves"]),
                             f"{report['broker_cpu_seconds']:.1f}"])
        title = (f"{self.plan.members} members of Kafka's Java consumer in {PROCESSES} processes, {2 * self.plan.members} partitions; seconds until "
                 "every member has its share:")
        return title, ["Protocol", "Broker", "all join", "one joins", "one leaves", "broker CPU s"], rows

    def commit_table(self):
        rows = []
        for server, report in self.found("commits"):
            found, latency = report["read_back"], report["latency_ms"]
            rows.append([f"{report['brokers']}", f"{report['per_second']:,.0f}", f"{report['transactions_per_second']:.0f}",
                         f"{report['transactions_at_rest']:.0f}", f"{report['commits_per_transaction']:.0f}",
                         f"{latency['p50']:.0f}", f"{latency['p99']:.0f}", f"{found['offsets']:,}, {found['lost']} lost"])
        title = "OffsetCommits of one partition each, on a schedule, over PostgreSQL with fsync:"
        header = ["Brokers", "commits/s", "transactions/s", "of them at rest", "commits a transaction", "p50 ms", "p99 ms",
                  "read back after `kill -9`"]
        return title, header, rows

    def memory_table(self):
        rows = [[f"{report['groups']:,}", f"{report['members']:,}", f"{report['resident_connected'] / 1e6:,.0f}",
                 f"{report['resident_after'] / 1e6:,.0f}", f"{report['bytes_per_member']:,.0f}", f"{report['bytes_per_group']:,.0f}",
                 f"{report['seconds']:.0f}"] for _, report in self.found("memory")]
        header = ["Groups", "Members", "MB before", "MB with them", "bytes a member", "bytes a group of ten", "s to join"]
        return "Groups of the consumer protocol in one broker with its own database:", header, rows


class Commits:
    """Groups that commit, and what was acknowledged to each."""

    def __init__(self, address, topic):
        self.topic = topic
        first = wire.Connection(address.split(",")[0])
        self.places = {}
        self.requests = []
        for number in range(COMMITTING_GROUPS):
            group = f"committing-{number}"
            self.places[group] = wire.coordinator_of(first.ask(wire.find_coordinator(group)))
            parts = [wire.offset_commit(group, topic, partition) for partition in range(COMMIT_PARTITIONS)]
            self.requests.append((group, parts))
        first.close()
        addresses = sorted(set(self.places.values()))
        share = COMMIT_CONNECTIONS // len(addresses)
        pools = {each: [wire.Connection(each) for _ in range(share)] for each in addresses}
        self.connections = [pools[self.places[group]][number % share] for number, (group, _) in enumerate(self.requests)]
        self.crowd = wire.Crowd([one for pool in pools.values() for one in pool])
        self.sent, self.acknowledged = 0, {}
        self.forget()

    def forget(self):
        """What is measured begins now."""
        self.latencies, self.codes = [], {}

    def run(self, rate, seconds):
        """An open loop: commits are due on a schedule, in ticks."""
        begun, due = time.monotonic(), 0
        while (since := time.monotonic() - begun) < seconds:
            until = int(since * rate)
            for _ in range(due, until):
                self.commit(begun + due / rate)
                due += 1
            self.hear(self.crowd.hear(TICK))

    def commit(self, due):
        number = self.sent % COMMITTING_GROUPS
        group, parts = self.requests[number]
        partition = self.sent // COMMITTING_GROUPS % COMMIT_PARTITIONS
        request, at = parts[partition]
        offset = self.sent // COMMITTING_GROUPS // COMMIT_PARTITIONS + 1
        request[at:at + 8] = offset.to_bytes(8, "big")
        self.sent += 1
        self.crowd.send(self.connections[number], request, (group, partition, offset), due)

    def hear(self, answers):
        at = time.monotonic()
        for answer, (group, partition, offset), due in answers:
            code = wire.commit_code(answer)
            self.latencies.append(at - due)
            self.codes[code] = self.codes.get(code, 0) + 1
            if code == 0:
                self.acknowledged[group, partition] = offset

    def hear_all(self):
        self.hear(self.crowd.hear_all())

    def report(self, seconds):
        sorted_ms = sorted(1000 * latency for latency in self.latencies)
        at = {name: sorted_ms[min(int(part * len(sorted_ms)), len(sorted_ms) - 1)]
              for name, part in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1))}
        return {"per_second": self.codes.get(0, 0) / seconds, "codes": self.codes, "latency_ms": at}

    def close(self):
        self.crowd.close()

    def read_back(self, address):
        """What is told of each offset that was acknowledged, as soon as anything is told."""
        lost, until = [], time.monotonic() + SETTLED_SECONDS
        for group, _ in self.requests:
            while True:
                try:
                    there = self.fetch(address, group)
                    break
                except (Failed, OSError):
                    # Coordinators load; they may not say that there is nothing.
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.1)
            for partition in range(COMMIT_PARTITIONS):
                offset = self.acknowledged.get((group, partition), -1)
                if there[partition] < offset:
                    lost.append(f"{group}, {partition}: {there[partition]} instead of {offset}")
        return {"offsets": len(self.acknowledged), "lost": len(lost), "examples": lost[:5]}

    def fetch(self, address, group):
        first = wire.Connection(address.split(",")[0])
        try:
            place = wire.coordinator_of(first.ask(wire.find_coordinator(group)))
        finally:
            first.close()
        coordinator = wire.Connection(place)
        try:
            return wire.offsets_of(coordinator.ask(wire.offset_fetch(group, self.topic, COMMIT_PARTITIONS)))
        finally:
            coordinator.close()


# What is shown while a run goes on.
SHOWN = (
    "all_joined", "joins", "leaves", "broker_cpu_seconds", "wrong", "per_second", "latency_ms", "codes", "transactions_per_second", "transactions_at_rest",
    "commits_per_transaction", "read_back", "resident_before", "resident_after", "bytes_per_member", "seconds",
)


def settled(group, clients):
    """The time of the event after which every member has its share."""
    until = time.monotonic() + SETTLED_SECONDS
    at = now()
    while not group.is_settled():
        if time.monotonic() > until:
            raise Failed(f"{group.name} does not come to rest: {sorted(len(group.had[one]) for one in group.members)}")
        try:
            event = clients.events.get(timeout=0.2)
        except queue.Empty:
            continue
        if event.kind == "failed":
            raise Failed(f"{event.name} failed: {event.words}")
        group.hear(event)
        at = event.at
    return at


def main():
    arguments = plan.parser("groups", __doc__)
    arguments.set_defaults(floor="-", seconds=20, latency_ms=50)
    all_works = ["rebalance", "commits", "memory"]
    arguments.add_argument("--works", nargs="+", choices=all_works, default=all_works, help="which loads")
    arguments.add_argument("--s3-server", help="the release build of the S3 server of the tests [default: cargo build --release]")
    arguments.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=PROTOCOLS, help="protocols of the rebalances")
    arguments.add_argument("--members", type=int, default=200, help="members that rebalance")
    arguments.add_argument("--turns", type=int, default=3, help="how often one joins and one leaves")
    arguments.add_argument("--rate", type=int, default=10_000, help="commits a second")
    arguments.add_argument("--brokers", type=int, default=3, help="brokers that take the commits")
    arguments.add_argument("--groups", type=int, default=10_000, help="groups that are held in memory")
    arguments.add_argument("--group-members", type=int, default=10, help="members of each of them")
    wanted = plan.Plan(arguments.parse_args())
    if not wanted.s3_server and "commits" in wanted.works:
        wanted.s3_server = plan.built(
            plan.ROOT / "storage" / "Cargo.toml", "s3-server", "--features", "test-support", "--bin", "s3-server")
    begun = time.monotonic()
    figures = GroupFigures(wanted)
    try:
        figures.run()
    finally:
        figures.results.write("table.md", figures.text())
        wanted.remove(wanted.folders)
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if figures.results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
