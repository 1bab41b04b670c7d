#!/usr/bin/env python3
"""The figures of StreamHouse with fsync on, beside the floor, in alternating rounds. See README.md."""

import sys
import time

from drive import loads, machine, results
from drive.plan import Plan, parser
from drive.results import spread, table
from drive.servers import Floor, StreamHouse
from drive.tools import Tools

OURS, FLOOR = StreamHouse.name, Floor.name

# Settings under which a gigabyte stays in the WAL: a flush begins at the lower of its own bound and half of the WAL's.
LARGE_WAL = {"wal.max_bytes": "3GiB", "log.flush_bytes": "1GiB", "wal.max_entries": 1_000_000}

# Batches of 16 KB and what the WAL writes in front of each come to a little less than 1 GiB.
RECOVERY_BYTES = 1_050_000_000


class Figures:
    def __init__(self, plan):
        self.plan = plan
        self.tools = Tools(plan.binary)
        self.results = results.Results(plan.results)
        self.number = 0

    def run(self):
        for self.number in self.plan.rounds_with_warm_up():
            turns = [self.floor, self.ours]
            for turn in turns if self.number % 2 else reversed(turns):
                turn()
        if self.plan.sustained_seconds:
            self.number = 1
            self.with_server(self.streamhouse(loads.SUSTAINED), lambda server: self.add(
                server, "sustained", lambda: loads.sustained(self.tools, server, self.plan.sustained_seconds)))

    def floor(self):
        def work(server):
            self.produce(server)
            self.add(server, "one record", lambda: self.one_record(server))

        self.with_server(Floor(self.plan.floor), work)

    def ours(self):
        def work(server):
            self.add(server, "start", lambda: {
                "ready_seconds": server.ready_seconds, "idle_bytes": loads.idle(server)})
            self.produce(server)
            self.add(server, "one record", lambda: self.one_record(server))
            self.add(server, "consume", lambda: loads.consume(self.tools, server, self.plan))
            self.add(server, "end to end", lambda: loads.end_to_end(self.tools, server, self.plan))

        def start_again(server):
            topic = self.tools.topic(server, "again", 4)
            self.tools.bench(server, "produce", "--topic", topic, "--seconds", 1, "--warm-up", 0)
            server.stop()
            self.add(server, "start with data", lambda: {"ready_seconds": server.start(server.folder).ready_seconds})

        self.with_server(self.streamhouse(), work)
        self.with_server(self.streamhouse(), start_again)
        self.with_server(self.streamhouse(LARGE_WAL), lambda server: self.add(
            server, "recovery", lambda: loads.recovery(self.tools, server, self.plan.recovery_bytes)))
        # Flushes come often here, so that one run has many.
        self.with_server(self.streamhouse({"log.flush_interval": "500ms"}), lambda server: self.add(
            server, "idempotent", lambda: loads.idempotent(self.tools, server, self.plan)))

    def streamhouse(self, settings=None):
        return StreamHouse(self.plan.binary, settings)

    def produce(self, server):
        shapes = [
            (f"produce {text}, 16 KB batches, {connections} connection{'s' * (connections > 1)}", size, loads.SMALL, connections)
            for text, size in (("100 B", 100), ("1 KB", 1024))
            for connections in (1, 4)
        ]
        shapes.append(("produce 1 MB batches, 1 connection", 1024, loads.LARGE, 1))
        for work, size, batch, connections in shapes:
            self.add(server, work, lambda size=size, batch=batch, connections=connections: loads.produce(
                self.tools, server, self.plan, size, batch, connections))

    def one_record(self, server):
        return loads.one_record(self.tools, server, self.plan, self.plan.latency_seconds)

    def with_server(self, server, work):
        machine.settle(self.plan.folders)
        folder = self.plan.folder("broker")
        try:
            work(server.start(folder))
        finally:
            if server.process:
                server.stop()
            self.plan.remove(folder)

    def add(self, server, work, load):
        if server.process.poll() is None:
            machine.settle(self.plan.folders, server.pid)
        report = self.results.attempt(self.number, server.name, work, load) or {}
        shown = {name: report[name] for name in SHOWN if name in report}
        print(f"round {self.number}  {server.name:<12} {work:<44} {shown}", flush=True)

    def text(self):
        plan, found = self.plan, self.results
        parts = [
            "# Figures\n\n",
            f"{machine.description()}. {plan.rounds} rounds of {plan.seconds} s a load"
            f"{' after a round that was thrown away' if plan.discard else ''}; "
            "median [lowest to highest]. MB are 10^6 bytes of record batches. Client and broker share the cores; fsync is on.\n\n",
        ]
        rates = [
            ("MB/s", "megabytes_per_second", 1), ("records/s", "records_per_second", 1), ("p50 ms", "latency_us/p50", 1000),
            ("p99 ms", "latency_us/p99", 1000), ("p99.9 ms", "latency_us/p99.9", 1000),
            ("CPU s/GB", "broker/cpu_seconds_per_gigabyte", 1), ("disk wrote by batches", "disk_written_by_batches", 1),
        ]
        rows = []
        for work in dict.fromkeys(work for _, work in found.reports if work.startswith("produce") or work == "one record"):
            for broker in (OURS, FLOOR):
                cells = (spread(found.values(broker, work, name), unit) for _, name, unit in rates)
                rows.append([work if broker == OURS else "", broker, *cells])
        parts.append(table(["Work", "", *(title for title, _, _ in rates)], rows))
        parts.append("\nStreamHouse by the floor, round by round:\n\n")
        parts.append(table(["Work", "MB/s", "p99", "CPU s/GB"], list(self.ratios())))
        parts.append("\n")
        parts.append(table(["StreamHouse", "", "aim"], list(self.others())))
        return "".join(parts)

    def ratios(self):
        for broker, work in self.results.reports:
            if broker == FLOOR:
                names = "megabytes_per_second", "latency_us/p99", "broker/cpu_seconds_per_gigabyte"
                yield [work, *(spread(self.results.ratios(OURS, FLOOR, work, name), digits=2) for name in names)]

    def others(self):
        def value(work, name, unit=1.0):
            return spread(self.results.values(OURS, work, name), unit)

        peaks = [name for _, name in self.results.reports if name.startswith("produce")]
        peak = [number for work in peaks for number in self.results.values(OURS, work, "broker/memory_peak_bytes").values()]
        yield ["hot consume, MB/s", value("consume", "megabytes_per_second"), ""]
        yield ["hot consume, CPU s/GB", value("consume", "broker/cpu_seconds_per_gigabyte"), ""]
        yield ["end to end at 1,000 records/s, p50 ms", value("end to end", "latency_us/p50", 1000), ""]
        yield ["end to end at 1,000 records/s, p99 ms", value("end to end", "latency_us/p99", 1000), ""]
        yield ["memory idle, MB", value("start", "idle_bytes", 1e6), "< 40"]
        yield ["memory under load, MB, the most of all", spread([max(peak)] if peak else [], 1e6), "< 256"]
        yield ["start to first answer, empty folder, ms", value("start", "ready_seconds", 0.001), "< 300"]
        yield ["start to first answer, with data, ms", value("start with data", "ready_seconds", 0.001), "< 300"]
        yield ["recovery: WAL files in use, GiB", value("recovery", "wal_bytes", 1 << 30), "1"]
        yield ["recovery: kill -9 and cold files to first answer, s", value("recovery", "ready_seconds"), "< 5"]
        yield ["50 idempotent producers, one partition: runs per flush, at most", value("idempotent", "runs_per_flush_max"), "2"]
        yield ["50 idempotent producers, one partition: flushes", value("idempotent", "flushes"), ""]
        yield ["sustained: second 30 s, MB/s", value("sustained", "second_30_s"), ""]
        yield ["sustained: last 30 s, MB/s", value("sustained", "last_30_s"), ">= 0.9 of the second"]


# What is shown while a run goes on.
SHOWN = (
    "megabytes_per_second", "ready_seconds", "idle_bytes", "wal_bytes", "runs_per_flush_max", "flushes", "second_30_s",
    "last_30_s", "others_cpu",
)


def main():
    arguments = parser("figures", __doc__)
    arguments.add_argument("--recovery-bytes", type=int, default=RECOVERY_BYTES, help="bytes in the WAL that is recovered")
    plan = Plan(arguments.parse_args())
    begun = time.monotonic()
    figures = Figures(plan)
    try:
        figures.run()
    finally:
        plan.remove(plan.folders)
        figures.results.write("table.md", figures.text())
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes; results in {plan.results}")


if __name__ == "__main__":
    sys.exit(main())
