"""Performs operations with aiokafka: one line of JSON in, one line of JSON out.

The operations and answers are described in src/operation.rs.
"""

import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from conversation import DEADLINE, Refused, answer, next_request, read_values, refuse, shown, unhex, write_value

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
        self.bootstrap = bootstrap
        self.administrator = None
        self.producers = {}
        self.member = None

    async def admin(self):
        if self.administrator is None:
            self.administrator = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await self.administrator.start()
        return self.administrator

    async def metadata(self, topic):
        admin = await self.admin()
        # To describe a topic that does not exist creates it, in this client.
        if topic not in await admin.list_topics():
            raise Refused(3, f"{topic} is not in the list of topics")
        found = (await admin.describe_topics([topic]))[0]
        ensure_done(found["error_code"])
        brokers = (await admin.describe_cluster())["brokers"]
        return {
            "brokers": [{"id": b["node_id"], "host": b["host"], "port": b["port"]} for b in brokers],
            "partitions": len(found["partitions"]),
        }

    async def create_topic(self, topic, partitions, configs):
        new = NewTopic(topic, partitions, 1, topic_configs=configs)
        told = await (await self.admin()).create_topics([new])
        for row in told.topic_errors:
            ensure_done(row[1])
        return {}

    async def delete_topic(self, topic):
        told = await (await self.admin()).delete_topics([topic])
        for _, code in told.topic_error_codes:
            ensure_done(code)
        return {}

    async def topic_config(self, topic, name):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        told = await (await self.admin()).describe_configs([resource])
        code, _, _, _, configs = told[0].resources[0]
        ensure_done(code)
        return {"value": next(row[1] for row in configs if row[0] == name)}

    async def create_partitions(self, topic, partitions):
        await (await self.admin()).create_partitions({topic: NewPartitions(partitions)})
        return {}

    async def alter_config(self, topic, name, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: value})
        told = await (await self.admin()).alter_configs([resource])
        ensure_done(told[0].resources[0][0])
        return {}

    async def delete_records(self, topic, before):
        await (await self.admin()).delete_records({TopicPartition(topic, 0): RecordsToDelete(before)})
        return {}

    async def producer(self, settings):
        name = json.dumps(settings, sort_keys=True)
        if name not in self.producers:
            config = {"bootstrap_servers": self.bootstrap, "acks": "all", "linger_ms": 5}
            config["enable_idempotence"] = settings["idempotent"]
            if settings["compression"] != "none":
                config["compression_type"] = settings["compression"]
            if settings["batch_records"]:
                # Batches are bounded by bytes here.
                config["max_batch_size"] = settings["batch_records"] * 20
            if settings["request_bytes"]:
                config["max_request_size"] = settings["request_bytes"]
                config["max_batch_size"] = settings["request_bytes"]
            producer = AIOKafkaProducer(**config)
            await producer.start()
            self.producers[name] = producer
        return self.producers[name]

    async def produce(self, topic, records, producer):
        sender = await self.producer(producer)
        sent = []
        for record in records:
            headers = [(h["name"], unhex(h["value"])) for h in record["headers"]]
            future = await sender.send(
                topic,
                value=unhex(record["value"]),
                key=unhex(record["key"]),
                headers=headers,
                partition=record["partition"],
                timestamp_ms=record["timestamp"],
            )
            sent.append(future)
        return await arrived(sent)

    async def produce_file(self, topic, file, producer):
        sender = await self.producer(producer)
        return await arrived([await sender.send(topic, value=value, partition=0) for value in read_values(file)])

    async def reader(self, **extra):
        config = {"bootstrap_servers": self.bootstrap, "enable_auto_commit": False, "max_partition_fetch_bytes": 4 << 20}
        return AIOKafkaConsumer(**config, **extra)

    async def place(self, reader, topic, partition, position):
        """Where a position lies; -1 for a time after the last record."""
        where = TopicPartition(topic, partition)
        if position == "beginning":
            return (await reader.beginning_offsets([where]))[where]
        if position == "end":
            return (await reader.end_offsets([where]))[where]
        if "offset" in position:
            return position["offset"]
        found = (await reader.offsets_for_times({where: position["time"]}))[where]
        return -1 if found is None else found.offset

    async def seek(self, topic, partition, position):
        reader = await self.reader()
        await reader.start()
        try:
            return {"offset": await self.place(reader, topic, partition, position)}
        finally:
            await reader.stop()

    async def read(self, topic, partition, position, count, use):
        """Gives the next records of a partition to `use`."""
        reader = await self.reader(auto_offset_reset="none")
        await reader.start()
        try:
            where = TopicPartition(topic, partition)
            reader.assign([where])
            reader.seek(where, await self.place(reader, topic, partition, position))
            end = asyncio.get_running_loop().time() + DEADLINE
            while count > 0:
                if asyncio.get_running_loop().time() > end:
                    raise Refused(None, f"{count} records are missing after {DEADLINE} s")
                got = await reader.getmany(timeout_ms=POLL_MS)
                for record in got.get(where, [])[:count]:
                    count -= 1
                    use(record)
        finally:
            await reader.stop()

    async def consume(self, topic, partition, position, count):
        records = []
        await self.read(topic, partition, position, count, lambda record: records.append(shown(record)))
        return {"records": records}

    async def consume_file(self, topic, file, count):
        with open(file, "wb") as target:
            await self.read(topic, 0, "beginning", count, lambda record: write_value(target, record.value))
        return {"count": count}

    async def join(self, group, topic):
        # Heartbeats are how a member hears that others came.
        self.member = await self.reader(group_id=group, auto_offset_reset="earliest", heartbeat_interval_ms=300)
        self.share = Share()
        self.waiting = []
        self.member.subscribe([topic], listener=self.share)
        await self.member.start()
        return {}

    async def until(self, what, is_done):
        end = asyncio.get_running_loop().time() + DEADLINE
        while not is_done():
            if asyncio.get_running_loop().time() > end:
                raise Refused(None, f"no {what} within {DEADLINE} s; assigned: {self.share.partitions}")
            for records in (await self.member.getmany(timeout_ms=POLL_MS)).values():
                self.waiting.extend(records)

    async def assigned(self, partitions):
        await self.until(f"{partitions} partitions", lambda: len(self.share.partitions) == partitions)
        return {}

    async def take(self, count):
        await self.until(f"{count} records", lambda: len(self.waiting) >= count)
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return {"records": [shown(record) for record in taken]}

    async def commit(self):
        await self.member.commit()
        return {}

    async def leave(self):
        await self.member.stop()
        self.member = None
        return {}


def ensure_done(code):
    """This client's admin hands on the broker's codes instead of raising them."""
    if code:
        raise for_code(code)()


async def arrived(sent):
    async with asyncio.timeout(DEADLINE):
        for future in sent:
            await future
    return {"count": len(sent)}


async def main():
    driver = Driver(sys.argv[1])
    loop = asyncio.get_running_loop()
    # Members send heartbeats while the next line is awaited.
    while (asked := await loop.run_in_executor(None, next_request)) is not None:
        operation, request = asked
        try:
            answer(await getattr(driver, operation)(**request))
        except Refused as refused:
            refuse(refused.code, str(refused))
        except KafkaError as error:
            refuse(getattr(error, "errno", None), str(error))


asyncio.run(main())
