"""Producers of librdkafka, in a process of their own and with the Python that has confluent-kafka.

`throughput` sends records of 1,024 bytes as fast as they are taken and writes a report; `probe` sends a record to each
partition again and again, and writes a line for each that was acknowledged: partition, when it was sent, when it was
acknowledged, by the clock that all processes of the machine share.
"""

import json
import sys
import time

from confluent_kafka import Producer

RECORD = bytes(range(256)) * 4


def throughput(plan):
    counted = 0

    def delivered(error, _message):
        nonlocal counted
        if error is None:
            counted += 1

    producer = Producer({"bootstrap.servers": plan["address"], **plan["settings"]}, on_delivery=delivered)
    begun = time.monotonic()
    from_, until = begun + plan["warm_up"], begun + plan["warm_up"] + plan["seconds"]
    since = None
    while (now := time.monotonic()) < until:
        if since is None and now >= from_:
            since = now, counted
        for _ in range(100):
            try:
                producer.produce(plan["topic"], RECORD)
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    took, records = time.monotonic() - since[0], counted - since[1]
    left = producer.flush(60)
    if left:
        sys.exit(f"{left} records were not acknowledged within a minute")
    rate = records / took
    return {"records_per_second": rate, "megabytes_per_second": rate * len(RECORD) / 1e6, "records": counted}


def probe(plan):
    lines = []
    sent = {}
    failures = []

    def delivered(error, message):
        begun = sent.pop((message.partition(), message.key()))
        if error is None:
            lines.append(f"{message.partition()} {begun:.4f} {time.monotonic():.4f}")
        else:
            failures.append(str(error))

    producer = Producer({"bootstrap.servers": plan["address"], **plan["settings"]}, on_delivery=delivered)
    value = bytes(plan["record_size"])
    begun, number = time.monotonic(), 0
    while (now := time.monotonic()) < begun + plan["seconds"]:
        for partition in range(plan["partitions"]):
            key = str(number).encode()
            sent[partition, key] = now
            producer.produce(plan["topic"], value, key, partition)
        number += 1
        while time.monotonic() < begun + number / plan["rate"]:
            producer.poll(0.002)
    left = producer.flush(60)
    return {"acknowledged": lines, "failures": failures, "left": left}


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    json.dump({"throughput": throughput, "probe": probe}[wanted["work"]](wanted), sys.stdout)
