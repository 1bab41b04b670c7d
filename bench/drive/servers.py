"""The brokers of a race: each starts in a folder of its own, tells when it is ready, and stops."""

import pathlib
import signal
import socket
import struct
import subprocess
import time

from . import machine

READY_SECONDS = 60
STOP_SECONDS = 60

# As kafka-server-start.sh and kafka-run-class.sh have them.
KAFKA_FLAGS = (
    "-Xmx1G -Xms1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
    "-XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true"
).split()

# One broker that is its own controller; what a cluster of three would have is set to one. The rest is Kafka's default.
KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.delete.delay.ms=1000
"""

# Warnings only, on standard output, without files that grow.
KAFKA_LOGGING = """\
Configuration:
  Appenders:
    Console:
      name: STDOUT
      PatternLayout: {pattern: "[%d] %p %m (%c)%n"}
  Loggers:
    Root: {level: WARN, AppenderRef: [{ref: STDOUT}]}
"""

# ApiVersions in version 0: its length, key, version, correlation id 1 and an empty client id. Whoever answers is ready.
HELLO = struct.pack(">ihhih", 10, 18, 0, 1, 0)


class Server:
    """A broker in a process of its own."""

    # What the tables call it.
    name = ""
    # Whether consumers can read from it, and topics be deleted.
    is_whole = True
    # Configs of every topic that is loaded.
    topic_configs = {}

    def __init__(self):
        self.process = None
        self.folder = None
        self.port = None
        self.address = None
        self.ready_seconds = None

    def command(self, port):
        """The command that serves on `port` from `self.folder`; it may prepare the folder."""
        raise NotImplementedError

    def start(self, folder, port=None):
        """Starts the broker, on a free port if none is named, and waits until it answers."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        port = self.port = port or machine.free_port()
        command = self.command(port)
        self.address = f"127.0.0.1:{port}"
        with open(self.folder / "log", "ab") as log:
            begun = time.monotonic()
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while not answers(port):
            if self.process.poll() is not None or time.monotonic() - begun > READY_SECONDS:
                log = (self.folder / "log").read_text(errors="replace")
                self.kill()
                raise RuntimeError(f"{self.name} did not become ready:\n{log[-2000:]}")
            time.sleep(0.001)
        self.ready_seconds = time.monotonic() - begun
        return self

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        """Asks the broker to end, and waits for it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self):
        """Ends the broker as a power cut would end its process."""
        self.process.kill()
        self.process.wait()


class Floor(Server):
    """The smallest durable broker, bench/floor."""

    name = "floor"
    is_whole = False

    def __init__(self, binary):
        super().__init__()
        self.binary = binary

    def command(self, port):
        return [self.binary, f"127.0.0.1:{port}", str(self.folder / "wal")]


class StreamHouse(Server):
    """Our broker at its defaults, with fsync, which it always does; `settings` differ from them."""

    name = "StreamHouse"

    def __init__(self, binary, settings=None):
        super().__init__()
        self.binary = binary
        self.settings = settings or {}

    @property
    def data(self):
        return self.folder / "data"

    def command(self, port):
        settings = {
            "listener.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "telemetry.metrics_address": "127.0.0.1:0",
            "storage.data_dir": str(self.data),
            # Deleted objects go soon, so that rounds do not fill the disk.
            "storage.object_grace": "10s",
            # As for Kafka: a benchmark has one consumer, for which nobody else is waited.
            "coordinator.group_initial_rebalance_delay": "0ms",
            **self.settings,
        }
        command = [self.binary, "serve"]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        return command


class Kafka(Server):
    """Apache Kafka in KRaft mode, as it is shipped: it leaves syncing to the system."""

    name = "Kafka"

    def __init__(self, jars):
        super().__init__()
        self.jars = jars

    def command(self, port):
        properties = self.folder / "server.properties"
        controller = machine.free_port()
        properties.write_text(KAFKA_PROPERTIES.format(folder=self.folder, port=port, controller=controller))
        if not (self.folder / "data").exists():
            cluster = self.java("kafka.tools.StorageTool", "random-uuid").split()[-1]
            self.java("kafka.tools.StorageTool", "format", "-t", cluster, "--standalone", "-c", str(properties))
        collector_log = f"-Xlog:gc*:file={self.folder}/gc.log:time,tags:filecount=10,filesize=100M"
        return ["java", *KAFKA_FLAGS, collector_log, *self.class_path(), "kafka.Kafka", str(properties)]

    def class_path(self):
        logging = self.folder / "log4j2.yaml"
        logging.write_text(KAFKA_LOGGING)
        return [f"-Dlog4j2.configurationFile={logging}", "-cp", f"{self.jars}/*"]

    def java(self, *arguments):
        command = ["java", *self.class_path(), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class KafkaSyncing(Kafka):
    """Apache Kafka that syncs every batch before it answers."""

    name = "Kafka, flush.messages=1"
    topic_configs = {"flush.messages": "1"}


def answers(port):
    """Whether a broker answers ApiVersions at this port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(HELLO)
            return len(connection.recv(4)) > 0
    except OSError:
        return False
