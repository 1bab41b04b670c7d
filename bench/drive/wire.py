"""Requests of groups as bytes, and many connections that send them on a schedule: a client so cheap that ten thousand requests a
second leave the cores to the broker."""

import collections
import selectors
import socket
import struct
import time

from .tools import Failed

CLIENT = b"bench"

# A broker that takes longer for an answer hangs.
ANSWER_SECONDS = 60


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def compact(value):
    """A compact string; None is null. Shorter than 127 bytes, so that its length is one byte."""
    return b"\0" if value is None else bytes([len(value) + 1]) + value.encode()


def frame(key, version, body, is_flexible=False):
    """A request with correlation id 0, whose place is at CORRELATION_AT."""
    header = struct.pack(">hhih", key, version, 0, len(CLIENT)) + CLIENT + (b"\0" if is_flexible else b"")
    return bytearray(struct.pack(">i", len(header) + len(body)) + header + body)


CORRELATION_AT = 8


def find_coordinator(group):
    return frame(10, 1, text(group) + b"\0")


def coordinator_of(answer):
    """Host and port."""
    (code,) = struct.unpack_from(">h", answer, 8)
    if code:
        raise Failed(f"no coordinator: error {code}")
    (message,) = struct.unpack_from(">h", answer, 10)
    at = 12 + max(message, 0) + 4
    (length,) = struct.unpack_from(">h", answer, at)
    host = answer[at + 2:at + 2 + length].decode()
    return host, struct.unpack_from(">i", answer, at + 2 + length)[0]


def offset_commit(group, topic, partition):
    """OffsetCommit of a consumer that assigns itself, for one partition; and where its offset is."""
    before = text(group) + struct.pack(">i", -1) + text("") + struct.pack(">i", 1) + text(topic) + struct.pack(">ii", 1, partition)
    made = frame(8, 6, before + struct.pack(">qi", 0, -1) + text(""))
    return made, len(frame(8, 6, before))


def commit_code(answer):
    """The error of the only partition."""
    return struct.unpack_from(">h", answer, len(answer) - 2)[0]


def offset_fetch(group, topic, partitions):
    indexes = struct.pack(f">i{partitions}i", partitions, *range(partitions))
    return frame(9, 4, text(group) + struct.pack(">i", 1) + text(topic) + indexes)


def offsets_of(answer):
    """The committed offset of each partition of the only topic; -1 is none."""
    (length,) = struct.unpack_from(">h", answer, 12)
    at = 14 + length
    (count,) = struct.unpack_from(">i", answer, at)
    at, found = at + 4, {}
    for _ in range(count):
        index, offset, note = struct.unpack_from(">iqh", answer, at)
        at += 14 + max(note, 0)
        (code,) = struct.unpack_from(">h", answer, at)
        if code:
            raise Failed(f"the offset of partition {index} is not told: error {code}")
        at, found[index] = at + 2, offset
    (code,) = struct.unpack_from(">h", answer, at)
    if code:
        raise Failed(f"offsets are not told: error {code}")
    return found


def consumer_heartbeat(group, member, topic):
    """ConsumerGroupHeartbeat in version 1 of a member that joins (KIP-848)."""
    body = compact(group) + compact(member) + struct.pack(">i", 0) + compact(None) + compact(None) + struct.pack(">i", 300_000)
    return frame(68, 1, body + b"\2" + compact(topic) + compact(None) + compact(None) + b"\1" + b"\0", is_flexible=True)


def heartbeat_code(answer):
    return struct.unpack_from(">h", answer, 9)[0]


class Connection:
    """One connection; answers come in the order of the requests."""

    def __init__(self, address):
        host, port = address if isinstance(address, tuple) else address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = bytearray()
        # What each request that waits for its answer is, and when it was due.
        self.waiting = collections.deque()

    def ask(self, request):
        """One request and its answer, without its length."""
        self.socket.sendall(request)
        while True:
            for answer in self.answers():
                return answer

    def answers(self):
        """What has come, waiting for some of it."""
        came = self.socket.recv(1 << 18)
        if not came:
            raise Failed("a broker closed a connection")
        self.unread += came
        at, found = 0, []
        while len(self.unread) - at >= 4:
            (length,) = struct.unpack_from(">i", self.unread, at)
            if len(self.unread) - at < 4 + length:
                break
            found.append(bytes(self.unread[at + 4:at + 4 + length]))
            at += 4 + length
        del self.unread[:at]
        return found

    def close(self):
        self.socket.close()


class Crowd:
    """Connections that send without waiting, while their answers are heard."""

    def __init__(self, connections):
        self.connections = connections
        self.selector = selectors.DefaultSelector()
        for one in connections:
            self.selector.register(one.socket, selectors.EVENT_READ, one)
        self.unanswered = 0

    def send(self, connection, request, what, due):
        connection.socket.sendall(request)
        connection.waiting.append((what, due))
        self.unanswered += 1

    def hear(self, seconds):
        """Each answer that comes within this time, with its request: `(answer, what, due)`."""
        for key, _ in self.selector.select(seconds):
            connection = key.data
            for answer in connection.answers():
                self.unanswered -= 1
                yield (answer, *connection.waiting.popleft())

    def hear_all(self):
        until = time.monotonic() + ANSWER_SECONDS
        while self.unanswered:
            if time.monotonic() > until:
                raise Failed(f"{self.unanswered} answers did not come")
            yield from self.hear(0.1)

    def close(self):
        self.selector.close()
        for one in self.connections:
            one.close()
