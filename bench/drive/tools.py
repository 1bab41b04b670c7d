"""What loads a broker: `streamhouse bench`, and Kafka's own benchmark tools."""

import itertools
import json
import os
import pathlib
import re
import resource
import subprocess
import time

from . import machine

# Names of topics never come twice in one run.
NUMBERS = itertools.count(1)

# How long leaders of a new topic are waited for.
LEADERS_SECONDS = 10

# The heap that kafka-producer-perf-test.sh and its siblings give their tools.
TOOL_FLAGS = ["-Xmx512M"]


class Failed(Exception):
    """A tool ended with an error, or said something that cannot be read."""


class Tools:
    """The tools of one run."""

    def __init__(self, binary, jars=None):
        self.binary = binary
        self.jars = jars

    def bench(self, server, *arguments):
        """Runs `streamhouse bench` and gives its report, with the CPU that others used meanwhile."""
        command = self.bench_command(server, *arguments)
        with Around(server) as around:
            report = json.loads(run(command))
        return {**report, **around.found}

    def bench_command(self, server, *arguments):
        command = [self.binary, "bench", *map(str, arguments)]
        return command + ["--json", "-b", server.address, "--broker-pid", str(server.pid)]

    def topic(self, server, kind, partitions, configs=None):
        """Creates a topic and gives its name."""
        name = f"{kind}-{next(NUMBERS)}"
        command = [self.binary, "topic", "create", name, "-b", server.address, "-p", str(partitions)]
        for key, value in {**server.topic_configs, **(configs or {})}.items():
            command += ["-c", f"{key}={value}"]
        run(command)
        if server.is_whole:
            self.wait_for_leaders(server, name)
        return name

    def wait_for_leaders(self, server, topic):
        """Asks for offsets until every leader gives them: a broker may know of a new topic before it leads it."""
        until = time.monotonic() + LEADERS_SECONDS
        while True:
            try:
                return self.describe(server, topic)
            except Failed:
                if time.monotonic() > until:
                    raise
            time.sleep(0.05)

    def delete(self, server, topic):
        """Deletes a topic, where the broker can do that."""
        if server.is_whole:
            run([self.binary, "topic", "delete", topic, "-b", server.address])

    def describe(self, server, topic):
        """Where the partitions of a topic begin and end."""
        return json.loads(run([self.binary, "topic", "describe", topic, "--json", "-b", server.address]))

    def producer_performance(self, server, topic, records, size):
        """Kafka's ProducerPerformance with batches of 16 KB; the first fifth of the records warms up."""
        text = self.kafka_tool(
            server, "ProducerPerformance", "--bootstrap-server", server.address, "--topic", topic,
            "--num-records", records, "--warmup-records", records // 5, "--record-size", size, "--throughput", -1,
            "--command-property", "acks=all", "batch.size=16384",
        )
        lines = [line for line in text["output"].splitlines() if " records sent, " in line and " 99th" in line]
        if not lines:
            raise Failed(f"ProducerPerformance said nothing that can be read:\n{text['output']}")
        number = r"([0-9.]+)"
        found = re.search(rf"{number} records/sec \({number} MB/sec\).* {number} ms 50th.* {number} ms 99th", lines[-1])
        rate, mebibytes, median, p99 = map(float, found.groups())
        text.update(records_per_second=rate, megabytes_per_second=mebibytes * 1.048576)
        text["latency_us"] = {"p50": median * 1000, "p99": p99 * 1000}
        return text

    def consumer_performance(self, server, topic, records):
        """Kafka's ConsumerPerformance from the beginning of a topic; its MB/s while it fetches, without joining a group."""
        text = self.kafka_tool(
            server, "ConsumerPerformance", "--bootstrap-server", server.address, "--topic", topic,
            "--num-records", records, "--timeout", 60_000,
        )
        header, values = [line.split(", ") for line in text["output"].splitlines() if ", " in line][-2:]
        found = dict(zip(header, values))
        text["megabytes_per_second"] = float(found["fetch.MB.sec"]) * 1.048576
        text["records_per_second"] = float(found["fetch.nMsg.sec"])
        return text

    def end_to_end_latency(self, server, topic, records, size):
        """Kafka's EndToEndLatency: one record after the other."""
        text = self.kafka_tool(
            server, "EndToEndLatency", "--bootstrap-server", server.address, "--topic", topic,
            "--num-records", records, "--producer-acks", "all", "--record-size", size,
        )
        found = re.search(r"50th = ([0-9.]+), 99th = ([0-9.]+), 99.9th = ([0-9.]+)", text["output"])
        if not found:
            raise Failed(f"EndToEndLatency said nothing that can be read:\n{text['output']}")
        values = [float(value) * 1000 for value in found.groups()]
        text["latency_us"] = dict(zip(("p50", "p99", "p99.9"), values))
        return text

    def kafka_tool(self, server, tool, *arguments):
        logging = pathlib.Path(server.folder) / "tool-log4j2.yaml"
        logging.write_text("Configuration: {Loggers: {Root: {level: ERROR}}}\n")
        command = ["java", *TOOL_FLAGS, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{self.jars}/*"]
        command += [f"org.apache.kafka.tools.{tool}", *map(str, arguments)]
        before = machine.process_seconds(server.pid)
        with Around(server) as around:
            output = run(command)
        used = machine.process_seconds(server.pid) - before
        return {"tool": tool, "output": output, "broker": {"cpu_seconds": used}, **around.found}


class Around:
    """What happened on the machine while the block ran: how many cores somebody else used, neither the broker nor the tool
    (kernel threads that write to the disk count as somebody else), and how many bytes went to the disk until all that was
    written had arrived there."""

    def __init__(self, server):
        self.server = server
        self.found = {}

    def __enter__(self):
        self.written = machine.disk_written_bytes(self.server.folder)
        self.begun = self.reading()
        return self

    def __exit__(self, *_):
        took, busy, ours = (after - before for after, before in zip(self.reading(), self.begun))
        self.found["others_cpu"] = round(max(busy - ours, 0) / max(took, 0.001), 3)
        if self.written is not None:
            os.sync()
            self.found["disk_written_bytes"] = machine.disk_written_bytes(self.server.folder) - self.written

    def reading(self):
        tools = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = machine.process_seconds(self.server.pid) + tools.ru_utime + tools.ru_stime
        return time.monotonic(), machine.busy_seconds(), ours


def run(command, seconds=None):
    """Standard output of a command that must end well, and within so many seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command[:3])} ... did not end within {seconds} s") from None
    if done.returncode != 0:
        raise Failed(f"{' '.join(command[:3])} ... ended with {done.returncode}:\n{done.stderr[-2000:]}{done.stdout[-2000:]}")
    return done.stdout
