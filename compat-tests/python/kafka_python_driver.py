"""Performs operations with kafka-python: one line of JSON in, one line of JSON out.

The operations and answers are described in src/operation.rs.
"""

import json
import sys
import time

from conversation import DEADLINE, Refused, answer, next_request, read_values, refuse, shown, unhex, write_value
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, for_code

POLL_MS = 100


class Share(ConsumerRebalanceListener):
    """The partitions that a member has, as it is told."""

    def __init__(self):
        self.partitions = set()

    def on_partitions_revoked(self, revoked):
        self.partitions -= set(revoked)

    def on_partitions_assigned(self, assigned):
        self.partitions |= set(assigned)


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap.split(",")
        self.administrator = None
        self.producers = {}
        self.member = None

    def admin(self):
        if self.administrator is None:
            self.administrator = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        return self.administrator

    def metadata(self, topic):
        found = self.admin().describe_topics([topic])[0]
        if found["error_code"]:
            raise for_code(found["error_code"])()
        brokers = self.admin().describe_cluster()["brokers"]
        return {
            "brokers": [{"id": b["broker_id"], "host": b["host"], "port": b["port"]} for b in brokers],
            "partitions": len(found["partitions"]),
        }

    def create_topic(self, topic, partitions, configs):
        new = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
        self.admin().create_topics({topic: new})
        return {}

    def delete_topic(self, topic):
        self.admin().delete_topics([topic])
        return {}

    def topic_config(self, topic, name):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = self.admin().describe_configs([resource], config_filter="all")
        return {"value": found["topic"][topic][name]["value"]}

    def create_partitions(self, topic, partitions):
        self.admin().create_partitions({topic: partitions})
        return {}

    def alter_config(self, topic, name, value):
        self.admin().alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: value})])
        return {}

    def delete_records(self, topic, before):
        self.admin().delete_records({TopicPartition(topic, 0): before})
        return {}

    def groups(self):
        return {"groups": [group["group_id"] for group in self.admin().list_groups()]}

    def delete_group(self, group):
        # Refusals are told by the name of their class.
        told = self.admin().delete_groups([group])[group]
        if told != "OK":
            raise getattr(errors, told)()
        return {}

    def producer(self, settings):
        name = json.dumps(settings, sort_keys=True)
        if name not in self.producers:
            config = {"bootstrap_servers": self.bootstrap, "acks": "all", "linger_ms": 5}
            config["enable_idempotence"] = settings["idempotent"]
            if settings["compression"] != "none":
                config["compression_type"] = settings["compression"]
            if settings["batch_records"]:
                # Batches are bounded by bytes here.
                config["batch_size"] = settings["batch_records"] * 20
            if settings["request_bytes"]:
                config["max_request_size"] = settings["request_bytes"]
            self.producers[name] = KafkaProducer(**config)
        return self.producers[name]

    def produce(self, topic, records, producer):
        sender = self.producer(producer)
        sent = []
        for record in records:
            headers = [(h["name"], unhex(h["value"])) for h in record["headers"]]
            future = sender.send(
                topic,
                value=unhex(record["value"]),
                key=unhex(record["key"]),
                headers=headers,
                partition=record["partition"],
                timestamp_ms=record["timestamp"],
            )
            sent.append(future)
        return arrived(sent)

    def produce_file(self, topic, file, producer):
        sender = self.producer(producer)
        return arrived([sender.send(topic, value=value, partition=0) for value in read_values(file)])

    def reader(self, **extra):
        config = {"bootstrap_servers": self.bootstrap, "enable_auto_commit": False, "max_partition_fetch_bytes": 4 << 20}
        return KafkaConsumer(**config, **extra)

    def place(self, reader, topic, partition, position):
        """Where a position lies; -1 for a time after the last record."""
        where = TopicPartition(topic, partition)
        if position == "beginning":
            return reader.beginning_offsets([where])[where]
        if position == "end":
            return reader.end_offsets([where])[where]
        if "offset" in position:
            return position["offset"]
        found = reader.offsets_for_times({where: position["time"]})[where]
        return -1 if found is None else found.offset

    def seek(self, topic, partition, position):
        reader = self.reader()
        try:
            return {"offset": self.place(reader, topic, partition, position)}
        finally:
            reader.close()

    def read(self, topic, partition, position, count):
        """The next records of a partition."""
        reader = self.reader(auto_offset_reset="none")
        try:
            where = TopicPartition(topic, partition)
            reader.assign([where])
            reader.seek(where, self.place(reader, topic, partition, position))
            end = time.monotonic() + DEADLINE
            while count > 0:
                if time.monotonic() > end:
                    raise Refused(None, f"{count} records are missing after {DEADLINE} s")
                for record in reader.poll(POLL_MS).get(where, [])[:count]:
                    count -= 1
                    yield record
        finally:
            reader.close()

    def consume(self, topic, partition, position, count):
        return {"records": [shown(record) for record in self.read(topic, partition, position, count)]}

    def consume_file(self, topic, file, count):
        with open(file, "wb") as target:
            for record in self.read(topic, 0, "beginning", count):
                write_value(target, record.value)
        return {"count": count}

    def join(self, group, topic):
        # Heartbeats are how a member hears that others came.
        self.member = self.reader(group_id=group, auto_offset_reset="earliest", heartbeat_interval_ms=300)
        self.share = Share()
        self.waiting = []
        self.next = {}
        self.member.subscribe([topic], listener=self.share)
        return {}

    def until(self, what, is_done):
        end = time.monotonic() + DEADLINE
        while not is_done():
            if time.monotonic() > end:
                raise Refused(None, f"no {what} within {DEADLINE} s; assigned: {self.share.partitions}")
            for records in self.member.poll(POLL_MS).values():
                self.waiting.extend(records)

    def assigned(self, partitions):
        self.until(f"{partitions} partitions", lambda: len(self.share.partitions) == partitions)
        return {}

    def take(self, count):
        self.until(f"{count} records", lambda: len(self.waiting) >= count)
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return {"records": [shown(record) for record in taken]}

    def commit(self):
        self.member.commit()
        return {}

    def leave(self):
        self.member.close()
        self.member = None
        return {}


def arrived(sent):
    for future in sent:
        future.get(timeout=DEADLINE)
    return {"count": len(sent)}


def main():
    driver = Driver(sys.argv[1])
    while (asked := next_request()) is not None:
        operation, request = asked
        try:
            answer(getattr(driver, operation)(**request))
        except Refused as refused:
            refuse(refused.code, str(refused))
        except KafkaError as error:
            refuse(getattr(error, "errno", None), str(error))


main()
