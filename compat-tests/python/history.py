"""Plays the parts of a history with confluent-kafka (librdkafka): commands come in, events go out, one a line.

The parts and the events are described in src/history/driver.rs and src/history/event.rs.
"""

import queue
import sys
import threading
import time
import zlib

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic

BLOCK = bytes((n * 31 + (n >> 8)) & 255 for n in range(1 << 18))
NULL = b"\xff\xff\xff\xff"
REQUEST_MS = 3000
output = threading.Lock()


def say(lines):
    with output:
        sys.stdout.write("".join(lines))
        sys.stdout.flush()


def part(data):
    return NULL if data is None else len(data).to_bytes(4, "big") + data


def digest(key, value, headers):
    text = part(key) + part(value)
    for name, held in headers or []:
        text += part(name.encode()) + part(held)
    return f"{zlib.crc32(text):08x}"


def named(data):
    """The record that these bytes name: NAME.NUMBER; at their beginning."""
    if data is None or not data.startswith(b"h:"):
        return None
    end = data.find(b";", 0, 64)
    return data[2:end].decode("ascii", "replace") if end > 0 else None


def shown(name, message):
    key, value, headers = message.key(), message.value(), message.headers()
    record = (named(value) or named(key) or "-").replace(" ", "_")
    _, timestamp = message.timestamp()
    place = f"{message.partition()} {message.offset()}"
    return f"{name} read {place} {record} {digest(key, value, headers)} {timestamp}\n"


class Producer:
    """Sends what it is told: NUMBER PARTITION BYTES SHAPE, and tells what became of it."""

    def __init__(self, name, settings, topic):
        self.name, self.topic, self.commands = name, topic, queue.Queue()
        config = {"enable.idempotence": True, "acks": "all", "request.timeout.ms": REQUEST_MS}
        self.client = ck.Producer({**settings, **config})

    def run(self):
        while True:
            try:
                self.send(*self.commands.get(timeout=0.02))
            except queue.Empty:
                pass
            self.client.poll(0)

    def send(self, number, partition, size, shape):
        head = f"h:{self.name}.{number};".encode()
        key, value, headers = None, None, None
        if shape == "v":
            value = head + BLOCK[int(number) & 1023 :][: max(0, int(size) - len(head))]
        elif shape == "k":
            key, value = head, BLOCK[int(number) & 1023 :][: int(size)]
        elif shape == "n":
            key = head
        else:
            key, value = b"", head + BLOCK[: int(size)]
            headers = [("first", b""), ("second", BLOCK[: int(number) & 255])]
        at = time.time_ns() // 1_000_000
        name = self.name
        say([f"{name} send {number} {partition} {digest(key, value, headers)} {at}\n"])

        def told(error, message):
            if error is None:
                offset = message.offset() if message.offset() >= 0 else "-"
                say([f"{name} ack {number} {message.partition()} {offset}\n"])
            else:
                print(f"{name} {number}: {error}", file=sys.stderr, flush=True)
                say([f"{name} unknown {number}\n"])

        while True:
            try:
                self.client.produce(
                    self.topic, value, key, partition=int(partition), timestamp=at, headers=headers, on_delivery=told
                )
                return
            except BufferError:
                self.client.poll(0.1)
            except ck.KafkaException as error:
                print(f"{name} {number}: {error}", file=sys.stderr, flush=True)
                say([f"{name} unknown {number}\n"])
                return


class Consumer:
    """Reads by hand (with ends: up to them) or as a member of the group, and commits when told."""

    def __init__(self, name, settings, topic, ends=None, group=None, partitions=0):
        self.name, self.topic, self.group, self.ends = name, topic, group, ends
        self.commands = queue.Queue()
        self.next = {}
        config = {"enable.auto.commit": False, "auto.offset.reset": "earliest" if group else "error"}
        if group:
            config.update({"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000, "max.poll.interval.ms": 60000})
        self.client = ck.Consumer({**settings, **config, "group.id": group or "nobody"})
        if group:
            self.client.subscribe([topic], on_assign=self.given, on_revoke=self.taken, on_lost=self.taken)
        else:
            say([f"{name} assigned {p} 0\n" for p in range(partitions)])
            self.client.assign([ck.TopicPartition(topic, p, 0) for p in range(partitions)])

    def given(self, _client, partitions):
        say([f"{self.name} assigned {p.partition} -\n" for p in partitions])

    def taken(self, _client, partitions):
        for p in partitions:
            self.next.pop(p.partition, None)
        say([f"{self.name} revoked {p.partition}\n" for p in partitions])

    def whole(self):
        for partition, end in list((self.ends or {}).items()):
            if self.next.get(partition, 0) >= end:
                say([f"{self.name} whole {partition} {end}\n"])
                del self.ends[partition]
        return self.ends is not None and not self.ends

    def messages(self):
        if not self.group:
            return self.client.consume(500, timeout=0.1)
        # One at a time: what a batch holds may be older than the change of the assignment that came with it.
        message = self.client.poll(0.1)
        return [] if message is None else [message]

    def run(self):
        while not self.whole():
            lines = []
            for message in self.messages():
                if message.error() is None:
                    lines.append(shown(self.name, message))
                    self.next[message.partition()] = message.offset() + 1
                    continue
                print(f"{self.name}: {message.error()}", file=sys.stderr, flush=True)
                if message.error().code() == ck.KafkaError._AUTO_OFFSET_RESET:
                    say([f"{self.name} gone\n"])
                    return
            say(lines)
            while not self.commands.empty():
                self.commands.get()
                self.commit()
        self.client.close()

    def commit(self):
        offsets = [ck.TopicPartition(self.topic, p, offset) for p, offset in self.next.items()]
        outcome = "ok"
        if offsets:
            try:
                self.client.commit(offsets=offsets, asynchronous=False)
            except ck.KafkaException as error:
                print(f"{self.name}: commit: {error}", file=sys.stderr, flush=True)
                outcome = "unknown"
        say([f"{self.name} commit {o.partition} {o.offset} {outcome}\n" for o in offsets])
        say([f"{self.name} done\n"])


class Admin:
    """Creates and deletes other topics, as noise; failures are none of its business."""

    def __init__(self, name, settings):
        self.name, self.commands, self.client = name, queue.Queue(), AdminClient(settings)

    def run(self):
        while True:
            command = self.commands.get()
            asked = {
                "create": lambda topic: self.client.create_topics([NewTopic(topic, 3, 1)]),
                "delete": lambda topic: self.client.delete_topics([topic]),
            }[command[0]](command[1])
            for future in asked.values():
                try:
                    future.result(30)
                except Exception as error:
                    print(f"{self.name}: {command}: {error}", file=sys.stderr, flush=True)
            say([f"{self.name} done\n"])


def main():
    bootstrap, topic, partitions, group = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    settings = {"bootstrap.servers": bootstrap, "socket.timeout.ms": REQUEST_MS, "reconnect.backoff.max.ms": 500}
    parts = {}
    for line in sys.stdin:
        name, command, *words = line.split()
        if command == "producer":
            parts[name] = Producer(name, {**settings, "bootstrap.servers": words[0]}, topic)
        elif command == "reader":
            parts[name] = Consumer(name, settings, topic, partitions=partitions)
        elif command == "final":
            ends = {p: int(end) for p, end in enumerate(words)}
            parts[name] = Consumer(name, settings, topic, ends=ends, partitions=partitions)
        elif command == "member":
            parts[name] = Consumer(name, settings, topic, group=group)
        elif command == "admin":
            parts[name] = Admin(name, settings)
        else:
            parts[name].commands.put(words)
            continue
        threading.Thread(target=parts[name].run, daemon=True).start()


main()
