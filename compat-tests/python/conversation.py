"""How a driver talks with the harness: one line of JSON in, one line of JSON out, as src/operation.rs describes it."""

import json
import struct
import sys

DEADLINE = 60.0


class Refused(Exception):
    """The client says no, with Kafka's code where it tells one."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def hexed(value):
    return None if value is None else bytes(value).hex()


def unhex(value):
    return None if value is None else bytes.fromhex(value)


def read_values(file):
    """The values of a file of records: four bytes of length, big endian, and the bytes, each."""
    with open(file, "rb") as source:
        while length := source.read(4):
            yield source.read(struct.unpack(">I", length)[0])


def write_value(target, value):
    target.write(struct.pack(">I", len(value)) + value)


def shown(record):
    """A record of a library that names its parts as kafka-python does."""
    return {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "stamped_by": {0: "producer", 1: "broker"}.get(record.timestamp_type),
        "key": hexed(record.key),
        "value": hexed(record.value),
        "headers": [{"name": name, "value": hexed(value)} for name, value in record.headers],
    }


def next_request():
    """The name of the next operation and what belongs to it, or None at the end."""
    line = sys.stdin.readline()
    if not line:
        return None
    request = json.loads(line)
    return request.pop("operation"), request


def answer(told):
    print(json.dumps({"answer": told}), flush=True)


def refuse(code, text):
    print(json.dumps({"refusal": {"code": code, "text": text}}), flush=True)
