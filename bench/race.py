#!/usr/bin/env python3
"""The race: Apache Kafka, StreamHouse and the floor under the same loads, in alternating rounds. See README.md.

One broker runs at a time, on an empty folder, and is warmed up before it is measured; whoever begins a round comes last in
the next one. Ratios are taken within a round.
"""

import subprocess
import sys
import time

from drive import jars, loads, machine, results
from drive.plan import Plan, parser
from drive.results import spread, table
from drive.servers import Floor, Kafka, KafkaSyncing, StreamHouse
from drive.tools import Tools

OURS, KAFKA, SYNCING, FLOOR = StreamHouse.name, Kafka.name, KafkaSyncing.name, Floor.name
BROKERS = [FLOOR, KAFKA, SYNCING, OURS]

# What they are called on the command line.
WORDS = {"floor": FLOOR, "kafka": KAFKA, "kafka-syncing": SYNCING, "streamhouse": OURS}

# What makes flushes, checkpoints and retention fall into the latency load, more often than a broker at its defaults has
# them. Objects are kept, so that they can be counted.
BUSY = {"log.flush_bytes": "16MiB", "log.checkpoint_manifests": 2, "log.retention_check_interval": "5s", "storage.object_grace": "10m"}

RATE, CPU = "megabytes_per_second", "broker/cpu_seconds_per_gigabyte"
P99 = "latency_us/p99"

# The aims: text, work, figure, against whom, at least or at most, how much.
AIMS = [
    ("produce 1 KB, 16 KB batches, 4 connections", "produce 1 KB", RATE, KAFKA, ">=", 1.2),
    ("", "produce 1 KB", RATE, SYNCING, ">=", 3.0),
    ("", "produce 1 KB", RATE, FLOOR, ">=", 0.4),
    ("produce 100 B, 16 KB batches, 4 connections", "produce 100 B", RATE, KAFKA, ">=", 1.2),
    ("", "produce 100 B", RATE, SYNCING, ">=", 3.0),
    ("", "produce 100 B", RATE, FLOOR, ">=", 0.4),
    ("produce 1 MB batches, 1 connection", "produce 1 MB batches", RATE, KAFKA, ">=", 1.2),
    ("", "produce 1 MB batches", RATE, FLOOR, ">=", 0.5),
    ("p99 of 5,000 one-record requests a second", "one record", P99, FLOOR, "<=", 3.0),
    ("consume 1 GiB, 1 MB fetches", "consume", RATE, KAFKA, ">=", 1.0),
    ("tail", "tail", RATE, KAFKA, ">=", 1.0),
    ("CPU s/GB produced, 1 KB", "produce 1 KB", CPU, KAFKA, "<=", 0.4),
    ("CPU s/GB produced, 100 B", "produce 100 B", CPU, KAFKA, "<=", 0.4),
]

P99_MAX_US = 5000
MEMORY_MAX_BYTES = 256_000_000


class Race:
    def __init__(self, plan):
        self.plan = plan
        self.jars = jars.folder()
        self.tools = Tools(plan.binary, self.jars)
        self.results = results.Results(plan.results)
        self.number = 0

    def broker(self, name, settings=None):
        if name == FLOOR:
            return Floor(self.plan.floor)
        if name == OURS:
            return StreamHouse(self.plan.binary, settings)
        return KafkaSyncing(self.jars) if name == SYNCING else Kafka(self.jars)

    def run(self):
        for self.number in self.plan.rounds_with_warm_up():
            brokers = [WORDS[word] for word in self.plan.brokers]
            turn = self.number % len(brokers)
            for name in brokers[turn:] + brokers[:turn]:
                self.one(name)
        if self.plan.sustained_seconds and "streamhouse" in self.plan.brokers:
            self.number = 1
            self.with_broker(OURS, loads.SUSTAINED, lambda server: self.measure(
                server, "sustained", lambda: loads.sustained(self.tools, server, self.plan.sustained_seconds)))

    def one(self, name):
        """All loads of one broker in one round."""

        def everything(server):
            self.results.add(self.number, name, "start", {"ready_seconds": server.ready_seconds})
            self.warm(server)
            for work, load in self.works(server):
                if self.is_wanted(work):
                    self.measure(server, work, load)

        self.with_broker(name, None, everything)
        if name == OURS and self.is_wanted("one record"):
            # Checkpoints and retention at work, which the other loads have as rarely as a broker at its defaults.
            def busy(server):
                self.warm(server)
                self.measure(server, "one record", lambda: loads.one_record(
                    self.tools, server, self.plan, self.plan.latency_seconds))

            self.with_broker(name, BUSY, busy)

    def works(self, server):
        """What a broker runs in a round, in order."""
        tools, plan = self.tools, self.plan
        yield "produce 1 KB", lambda: loads.produce(tools, server, plan, 1024)
        yield "produce 100 B", lambda: loads.produce(tools, server, plan, 100)
        yield "produce 1 MB batches", lambda: loads.produce(tools, server, plan, 1024, loads.LARGE, connections=1)
        if server.name != OURS:
            # Kafka that syncs each batch does not hold the rate, and works off what is due for long.
            seconds = plan.seconds if server.name == SYNCING else plan.latency_seconds
            yield "one record", lambda: loads.one_record(tools, server, plan, seconds)
        if server.is_whole:
            yield "consume", lambda: loads.consume(tools, server, plan)
            yield "tail", lambda: loads.tail(tools, server, plan)
            yield "end to end", lambda: loads.end_to_end(tools, server, plan)
            for work, load in loads.KAFKA_TOOLS.items():
                yield work, lambda load=load: load(tools, server, plan)

    def is_wanted(self, work):
        return not self.plan.works or work in self.plan.works

    def with_broker(self, name, settings, work):
        machine.settle(self.plan.folders)
        folder = self.plan.folder("broker")
        server = self.broker(name, settings)
        try:
            work(server.start(folder))
        finally:
            if server.process:
                server.stop()
            self.plan.remove(folder)

    def warm(self, server):
        """Lets a Java broker compile what it will run; the others get the same."""
        seconds = ["--seconds", self.plan.warm_seconds, "--warm-up", 0]
        for options in (["--batch-size", loads.SMALL, "--connections", 4], ["--batch-size", 1, "--rate", loads.RATE]):
            topic = self.tools.topic(server, "warm", 4)
            self.tools.bench(server, "produce", "--topic", topic, "--record-size", 1024, *options, *seconds)
            if server.is_whole:
                self.tools.bench(server, "consume", "--topic", topic, "--seconds", self.plan.warm_seconds)
            self.tools.delete(server, topic)

    def measure(self, server, work, load):
        machine.settle(self.plan.folders, server.pid)
        report = self.results.attempt(self.number, server.name, work, load)
        if report is None:
            return
        p99 = report.get("latency_us", {}).get("p99", 0) / 1000
        shown = f"{report.get(RATE, 0):8.1f} MB/s, p99 {p99:7.2f} ms"
        print(f"round {self.number}  {server.name:<24} {work:<22} {shown}, others {report['others_cpu']:.2f} cores", flush=True)

    def text(self):
        found, plan = self.results, self.plan
        parts = [
            "# StreamHouse, Apache Kafka 4.3.1 and the floor\n\n",
            f"{machine.description()}. {java()}. {plan.rounds} rounds of {plan.seconds} s a load"
            f"{' after a round that was thrown away' if plan.discard else ''}; "
            "median [lowest to highest]. MB are 10^6 bytes of record batches. Client and broker share the cores.\n\n",
            "## Aims\n\nThe figure of StreamHouse by that of the other, round by round.\n\n",
            table(["Work", "against", "aim", "ratio", ""], list(self.aims())),
        ]
        figures = [
            ("MB/s", RATE, 1), ("records/s", "records_per_second", 1), ("p50 ms", "latency_us/p50", 1000),
            ("p99 ms", P99, 1000), ("p99.9 ms", "latency_us/p99.9", 1000), ("broker CPU s/GB", CPU, 1),
            ("broker CPU s", "broker/cpu_seconds", 1), ("client CPU s", "client_cpu_seconds", 1),
            ("broker peak MB", "broker/memory_peak_bytes", 1e6), ("disk wrote MB", "disk_written_bytes", 1e6),
            ("disk wrote by batches", "disk_written_by_batches", 1), ("others, cores", "others_cpu", 1),
        ]
        works = dict.fromkeys(work for _, work in found.reports)
        for work in works:
            rows = []
            for title, name, unit in figures:
                cells = [spread(found.values(broker, work, name), unit) for broker in BROKERS]
                if any(cell != "-" for cell in cells):
                    rows.append([title, *cells])
            if rows:
                parts += [f"\n## {work[0].upper()}{work[1:]}\n\n", table(["", *BROKERS], rows)]
        starts = [spread(found.values(broker, "start", "ready_seconds"), 0.001) for broker in BROKERS]
        parts += ["\n## Start to first answer, ms\n\n", table(BROKERS, [starts])]
        return "".join(parts)

    def aims(self):
        found = self.results
        for text, work, name, against, sign, bound in AIMS:
            ratios = found.ratios(OURS, against, work, name)
            yield [text, against, f"{sign} {bound}", spread(ratios, digits=2), verdict(ratios, sign, bound)]
        p99 = list(found.values(OURS, "one record", P99).values())
        yield ["the same p99, ms", "", "< 5", spread(p99, 1000), verdict(p99, "<=", P99_MAX_US - 1)]
        background = self.background()
        yield ["in its window", "", ">= 3 flushes, checkpoint, trim", background, ""]
        rate = [report["last_30_s"] / report["second_30_s"]
                for report in found.reports.get((OURS, "sustained"), {}).values() if report["second_30_s"]]
        yield ["sustained: last 30 s by second 30 s", "", ">= 0.9", spread(rate), verdict(rate, ">=", 0.9)]
        disk = [max(report["disk_bytes"], default=0) for report in found.reports.get((OURS, "sustained"), {}).values()]
        yield ["sustained: most on the disk, GB (retention allows 4.3)", "", "bounded", spread(disk, 1e9), ""]
        peaks = [max(report["broker"]["memory_peak_bytes"] for report in rounds.values())
                 for (broker, _), rounds in found.reports.items()
                 if broker == OURS and all("memory_peak_bytes" in report.get("broker", {}) for report in rounds.values())]
        yield ["peak memory, MB, the most of all loads", "", "< 256", spread([max(peaks)] if peaks else [], 1e6),
               verdict([max(peaks)] if peaks else [], "<=", MEMORY_MAX_BYTES)]

    def background(self):
        """The least that happened in any round beside the latency load."""
        rounds = [report.get("background", {}) for report in self.results.reports.get((OURS, "one record"), {}).values()]
        names = dict.fromkeys(name for report in rounds for name in report)
        return ", ".join(f"{min(report.get(name, 0) for report in rounds):,} {name.replace('_', ' ')}" for name in names)


def verdict(values, sign, bound):
    """Whether the median reaches the aim."""
    values = sorted(values)
    if not values:
        return "not measured"
    middle = (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
    return "met" if (middle >= bound if sign == ">=" else middle <= bound) else "**missed**"


def java():
    return subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()[0]


def main():
    arguments = parser("race", __doc__)
    arguments.add_argument("--warm-seconds", type=int, default=15, help="seconds of each load that warms a broker up")
    arguments.add_argument("--brokers", nargs="+", choices=WORDS, default=list(WORDS), help="who races")
    arguments.add_argument("--works", nargs="+", help="which loads run, by the names in the table [default: all]")
    plan = Plan(arguments.parse_args())
    begun = time.monotonic()
    race = Race(plan)
    try:
        race.run()
    finally:
        plan.remove(plan.folders)
        race.results.write("table.md", race.text())
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes; results in {plan.results}")


if __name__ == "__main__":
    sys.exit(main())
