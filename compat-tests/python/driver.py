"""Performs operations with confluent-kafka (librdkafka): one line of JSON in, one line of JSON out.

The operations and answers are described in src/operation.rs.
"""

import json
import sys
import time

import confluent_kafka as ck
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from conversation import DEADLINE, Refused, answer, hexed, next_request, read_values, refuse, unhex, write_value

NAMED = {"beginning": ck.OFFSET_BEGINNING, "end": ck.OFFSET_END}


def fail(error):
    raise Refused(error.code(), str(error))


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = {"bootstrap.servers": bootstrap}
        self.admin = AdminClient(self.bootstrap)
        self.producers = {}
        self.member = None
        self.assigned = []

    def metadata(self, topic):
        found = self.admin.describe_topics(ck.TopicCollection([topic]))[topic].result(DEADLINE)
        cluster = self.admin.describe_cluster().result(DEADLINE)
        brokers = [{"id": b.id, "host": b.host, "port": b.port} for b in cluster.nodes]
        return {"brokers": brokers, "partitions": len(found.partitions)}

    def create_topic(self, topic, partitions, configs):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=configs)
        self.admin.create_topics([new])[topic].result(DEADLINE)
        return {}

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])[topic].result(DEADLINE)
        return {}

    def topic_config(self, topic, name):
        resource = ConfigResource(ResourceType.TOPIC, topic)
        configs = self.admin.describe_configs([resource])[resource].result(DEADLINE)
        return {"value": configs[name].value}

    def create_partitions(self, topic, partitions):
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(DEADLINE)
        return {}

    def alter_config(self, topic, name, value):
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(DEADLINE)
        return {}

    def delete_records(self, topic, before):
        where = ck.TopicPartition(topic, 0, before)
        self.admin.delete_records([where])[where].result(DEADLINE)
        return {}

    def groups(self):
        return {"groups": [group.group_id for group in self.admin.list_consumer_groups().result(DEADLINE).valid]}

    def delete_group(self, group):
        self.admin.delete_consumer_groups([group])[group].result(DEADLINE)
        return {}

    def producer(self, settings):
        name = json.dumps(settings, sort_keys=True)
        if name not in self.producers:
            config = dict(self.bootstrap)
            config["compression.type"] = settings["compression"]
            config["enable.idempotence"] = settings["idempotent"]
            config["acks"] = "all"
            config["queue.buffering.max.kbytes"] = 1 << 20
            if settings["batch_records"]:
                config["batch.num.messages"] = settings["batch_records"]
            if settings["request_bytes"]:
                config["message.max.bytes"] = settings["request_bytes"]
            self.producers[name] = ck.Producer(config)
        return self.producers[name]

    def produce(self, topic, records, producer):
        sender, failures, delivered = self.producer(producer), [], 0

        def told(error, _message):
            nonlocal delivered
            delivered += 1
            if error is not None:
                failures.append(error)

        for record in records:
            options = {"on_delivery": told}
            if record["partition"] is not None:
                options["partition"] = record["partition"]
            if record["timestamp"] is not None:
                options["timestamp"] = record["timestamp"]
            if record["headers"]:
                options["headers"] = [(h["name"], unhex(h["value"])) for h in record["headers"]]
            send(sender, topic, unhex(record["value"]), unhex(record["key"]), options)
        return self.flushed(sender, failures, lambda: delivered, len(records))

    def produce_file(self, topic, file, producer):
        sender, failures, delivered, count = self.producer(producer), [], 0, 0

        def told(error, _message):
            nonlocal delivered
            delivered += 1
            if error is not None:
                failures.append(error)

        for value in read_values(file):
            send(sender, topic, value, None, {"partition": 0, "on_delivery": told})
            count += 1
        return self.flushed(sender, failures, lambda: delivered, count)

    def flushed(self, sender, failures, delivered, count):
        sender.flush(DEADLINE)
        if failures:
            fail(failures[0])
        if delivered() != count:
            raise Refused(None, f"{delivered()} of {count} records were answered")
        return {"count": count}

    def reader(self, extra=None):
        config = dict(self.bootstrap)
        config.update({"group.id": "nobody", "enable.auto.commit": False, "auto.offset.reset": "error"})
        config.update({"fetch.message.max.bytes": 16 << 20, "receive.message.max.bytes": 128 << 20})
        config.update({"fetch.max.bytes": 64 << 20})
        config.update(extra or {})
        return ck.Consumer(config)

    def place(self, reader, topic, partition, position):
        """A position as this client says it in an assignment."""
        if isinstance(position, str):
            return NAMED[position]
        if "offset" in position:
            return position["offset"]
        asked = [ck.TopicPartition(topic, partition, position["time"])]
        found = reader.offsets_for_times(asked, timeout=DEADLINE)[0]
        if found.error is not None:
            fail(found.error)
        return found.offset

    def seek(self, topic, partition, position):
        reader = self.reader()
        try:
            place = self.place(reader, topic, partition, position)
            if place in NAMED.values():
                where = ck.TopicPartition(topic, partition)
                low, high = reader.get_watermark_offsets(where, timeout=DEADLINE)
                return {"offset": high if place == ck.OFFSET_END else low}
            return {"offset": place}
        finally:
            reader.close()

    def consume(self, topic, partition, position, count):
        reader = self.reader()
        try:
            place = self.place(reader, topic, partition, position)
            reader.assign([ck.TopicPartition(topic, partition, place)])
            return {"records": [shown(m) for m in messages(reader, count)]}
        finally:
            reader.close()

    def consume_file(self, topic, file, count):
        reader = self.reader()
        try:
            reader.assign([ck.TopicPartition(topic, 0, ck.OFFSET_BEGINNING)])
            with open(file, "wb") as target:
                for message in messages(reader, count):
                    write_value(target, message.value())
            return {"count": count}
        finally:
            reader.close()

    def join(self, group, topic):
        self.member = self.reader({"group.id": group, "auto.offset.reset": "earliest"})

        def given(_member, partitions):
            self.assigned = partitions

        def taken(_member, _partitions):
            self.assigned = []

        self.member.subscribe([topic], on_assign=given, on_revoke=taken, on_lost=taken)
        self.waiting = []
        return {}

    def join_consumer(self, group, topic):
        settings = {"group.id": group, "auto.offset.reset": "earliest", "group.protocol": "consumer"}
        self.member = self.reader(settings)

        # By this protocol a member hears what it gets and what it loses, never all that it has.
        def given(_member, partitions):
            self.assigned = self.assigned + partitions

        def taken(_member, partitions):
            lost = {(one.topic, one.partition) for one in partitions}
            self.assigned = [one for one in self.assigned if (one.topic, one.partition) not in lost]

        self.member.subscribe([topic], on_assign=given, on_revoke=taken, on_lost=taken)
        self.waiting = []
        return {}

    def poll(self):
        message = self.member.poll(0.1)
        if message is None:
            return
        if message.error() is not None:
            if not message.error().retriable():
                fail(message.error())
            return
        self.waiting.append(message)

    def until(self, what, is_done):
        end = time.monotonic() + DEADLINE
        while not is_done():
            if time.monotonic() > end:
                raise Refused(None, f"no {what} within {DEADLINE} s; assigned: {self.assigned}")
            self.poll()

    def assigned_(self, partitions):
        self.until(f"{partitions} partitions", lambda: len(self.assigned) == partitions)
        return {}

    def take(self, count):
        self.until(f"{count} records", lambda: len(self.waiting) >= count)
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return {"records": [shown(m) for m in taken]}

    def commit(self):
        self.member.commit(asynchronous=False)
        return {}

    def leave(self):
        self.member.close()
        self.member = None
        return {}


def send(sender, topic, value, key, options):
    while True:
        try:
            sender.produce(topic, value, key, **options)
            sender.poll(0)
            return
        except BufferError:
            sender.poll(1)


def messages(reader, count):
    """The next records of an assigned reader."""
    end = time.monotonic() + DEADLINE
    while count > 0:
        if time.monotonic() > end:
            raise Refused(None, f"{count} records are missing after {DEADLINE} s")
        for message in reader.consume(min(count, 1000), timeout=1.0):
            if message.error() is None:
                count -= 1
                yield message
            elif not message.error().retriable():
                fail(message.error())


def shown(message):
    kind, timestamp = message.timestamp()
    stamped = {ck.TIMESTAMP_CREATE_TIME: "producer", ck.TIMESTAMP_LOG_APPEND_TIME: "broker"}
    headers = [{"name": name, "value": hexed(value)} for name, value in message.headers() or []]
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": timestamp,
        "stamped_by": stamped.get(kind),
        "key": hexed(message.key()),
        "value": hexed(message.value()),
        "headers": headers,
    }


def main():
    driver = Driver(sys.argv[1])
    while (asked := next_request()) is not None:
        operation, request = asked
        method = getattr(driver, "assigned_" if operation == "assigned" else operation)
        try:
            answer(method(**request))
        except Refused as refused:
            refuse(refused.code, str(refused))
        except ck.KafkaException as error:
            refuse(error.args[0].code(), str(error))


main()
