// Performs operations with kafkajs: one line of JSON in, one line of JSON out. The operations and answers are described in
// src/operation.rs.
'use strict';

const fs = require('node:fs');
const readline = require('node:readline');
const { once, EventEmitter } = require('node:events');
const {
  CompressionCodecs,
  CompressionTypes,
  Kafka,
  KafkaJSError,
  Partitioners,
  logLevel,
} = require('kafkajs');
const SnappyCodec = require('kafkajs-snappy');
const lz4 = require('lz4-napi');
const { ZstdCodec } = require('zstd-codec');

const DEADLINE_MS = 60000;
// Values of a file are sent in parts of about this size: this client makes one batch of each call.
const BATCH_BYTES = 500000;

// kafkajs has gzip of its own; the others are plugged in by its users.
const zstd = new Promise((ready) => ZstdCodec.run((codec) => ready(new codec.Simple())));
CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec;
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: (buffer) => lz4.decompressFrame(buffer),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from((await zstd).decompress(buffer)),
});
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};

class Refused extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

class Driver {
  constructor(bootstrap) {
    const brokers = bootstrap.split(',');
    const quiet = { brokers, logLevel: logLevel.ERROR, logCreator: () => (entry) => console.error(JSON.stringify(entry)) };
    this.kafka = new Kafka({ ...quiet, retry: { initialRetryTime: 100, retries: 12 } });
    // An unknown topic is asked for again and again otherwise.
    this.admin = new Kafka({ ...quiet, retry: { initialRetryTime: 50, retries: 3 } }).admin();
    this.producers = new Map();
    this.readers = 0;
  }

  async start() {
    await this.admin.connect();
  }

  async metadata({ topic }) {
    const { topics } = await this.admin.fetchTopicMetadata({ topics: [topic] });
    const { brokers } = await this.admin.describeCluster();
    return {
      partitions: topics[0].partitions.length,
      brokers: brokers.map(({ nodeId, host, port }) => ({ id: nodeId, host, port })),
    };
  }

  async create_topic({ topic, partitions, configs }) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
    const topics = [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }];
    if (!(await this.admin.createTopics({ topics }))) {
      // This client's word for error 36.
      throw new Refused(36, 'createTopics says false: the topic exists');
    }
    return {};
  }

  async delete_topic({ topic }) {
    await this.admin.deleteTopics({ topics: [topic] });
    return {};
  }

  async topic_config({ topic, name }) {
    const { resources } = await this.admin.describeConfigs({ resources: [{ type: 2, name: topic, configNames: [name] }] });
    return { value: resources[0].configEntries.find((entry) => entry.configName === name).configValue };
  }

  async create_partitions({ topic, partitions }) {
    await this.admin.createPartitions({ topicPartitions: [{ topic, count: partitions }] });
    return {};
  }

  async alter_config({ topic, name, value }) {
    await this.admin.alterConfigs({ resources: [{ type: 2, name: topic, configEntries: [{ name, value }] }] });
    return {};
  }

  async delete_records({ topic, before }) {
    // This client knows the leaders of a topic once it was asked about it.
    await this.admin.fetchTopicOffsets(topic);
    await this.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: String(before) }] });
    return {};
  }

  async groups() {
    const { groups } = await this.admin.listGroups();
    return { groups: groups.map(({ groupId }) => groupId) };
  }

  async delete_group({ group }) {
    await this.admin.deleteGroups([group]);
    return {};
  }

  async producer(settings) {
    const name = JSON.stringify(settings);
    if (!this.producers.has(name)) {
      const producer = this.kafka.producer({
        idempotent: settings.idempotent,
        createPartitioner: Partitioners.DefaultPartitioner,
      });
      await producer.connect();
      this.producers.set(name, producer);
    }
    return this.producers.get(name);
  }

  async produce({ topic, records, producer }) {
    const messages = records.map((record) => {
      const message = { key: bytes(record.key), value: bytes(record.value), headers: {} };
      if (record.partition !== null) message.partition = record.partition;
      if (record.timestamp !== null) message.timestamp = String(record.timestamp);
      for (const { name, value } of record.headers) {
        (message.headers[name] ??= []).push(bytes(value));
      }
      return message;
    });
    const sender = await this.producer(producer);
    const size = producer.batch_records || messages.length;
    for (let start = 0; start < messages.length; start += size) {
      await send(sender, topic, messages.slice(start, start + size), producer);
    }
    return { count: messages.length };
  }

  async produce_file({ topic, file, producer }) {
    const content = fs.readFileSync(file);
    const sender = await this.producer(producer);
    let count = 0;
    let size = 0;
    let messages = [];
    for (let start = 0; start < content.length; ) {
      const end = start + 4 + content.readUInt32BE(start);
      messages.push({ partition: 0, key: null, value: content.subarray(start + 4, end) });
      size += end - start;
      start = end;
      if (size >= BATCH_BYTES || start >= content.length) {
        await send(sender, topic, messages, producer);
        count += messages.length;
        messages = [];
        size = 0;
      }
    }
    return { count };
  }

  // Where a position lies; a time after the last record is the end.
  async place(topic, partition, position) {
    if (position.offset !== undefined) return String(position.offset);
    const listed =
      position.time !== undefined
        ? await this.admin.fetchTopicOffsetsByTimestamp(topic, position.time)
        : await this.admin.fetchTopicOffsets(topic);
    const found = listed.find((entry) => entry.partition === partition);
    return position === 'beginning' ? found.low : found.offset;
  }

  async seek({ topic, partition, position }) {
    return { offset: Number(await this.place(topic, partition, position)) };
  }

  // Gives the next records of a partition to `use`. This client reads as a member of a group only.
  async read(topic, partition, position, count, use) {
    const offset = await this.place(topic, partition, position);
    const groupId = `reader-${process.pid}-${this.readers++}-${topic}`;
    const reader = this.kafka.consumer({ groupId, maxBytesPerPartition: 4 << 20 });
    await reader.connect();
    await reader.subscribe({ topic, fromBeginning: true });
    let left = count;
    await within(`${count} records`, () => [left], (done) => {
      reader.on(reader.events.CRASH, ({ payload }) => payload.restart || done(payload.error));
      const eachBatch = async ({ batch, resolveOffset, heartbeat }) => {
        for (const message of batch.messages) {
          // What was read ahead before the seek took effect is not asked for.
          if (batch.partition === partition && left > 0 && BigInt(message.offset) >= BigInt(offset)) {
            left -= 1;
            use(message, batch);
          }
          resolveOffset(message.offset);
        }
        await heartbeat();
        if (left === 0) done();
      };
      reader.run({ autoCommit: false, eachBatch }).catch(done);
      reader.seek({ topic, partition, offset });
    });
    await reader.disconnect();
  }

  async consume({ topic, partition, position, count }) {
    const records = [];
    await this.read(topic, partition, position, count, (message) => records.push(shown(message, partition)));
    return { records };
  }

  async consume_file({ topic, file, count }) {
    const target = fs.openSync(file, 'w');
    let parts = [];
    await this.read(topic, 0, 'beginning', count, ({ value }) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(value.length);
      parts.push(length, value);
      if (parts.length > 10000) {
        fs.writeSync(target, Buffer.concat(parts));
        parts = [];
      }
    });
    fs.writeSync(target, Buffer.concat(parts));
    fs.closeSync(target);
    return { count };
  }

  async join({ group, topic }) {
    this.topic = topic;
    this.member = this.kafka.consumer({ groupId: group, heartbeatInterval: 300, maxWaitTimeInMs: 300 });
    this.share = 0;
    this.waiting = [];
    this.next = new Map();
    this.changes = new EventEmitter();
    const shareIs = (share) => {
      this.share = share;
      this.changes.emit('change');
    };
    this.member.on(this.member.events.REBALANCING, () => shareIs(0));
    this.member.on(this.member.events.GROUP_JOIN, ({ payload }) => shareIs((payload.memberAssignment[topic] ?? []).length));
    await this.member.connect();
    await this.member.subscribe({ topic, fromBeginning: true });
    const eachMessage = async ({ partition, message }) => {
      this.waiting.push(shown(message, partition));
      this.changes.emit('change');
    };
    await this.member.run({ autoCommit: false, eachMessage });
    return {};
  }

  async until(what, isDone) {
    await within(what, () => [this.share, this.waiting.length], (done) => {
      const look = () => isDone() && done();
      this.changes.on('change', look);
      look();
    });
    this.changes.removeAllListeners('change');
  }

  async assigned({ partitions }) {
    await this.until(`${partitions} partitions`, () => this.share === partitions);
    return {};
  }

  async take({ count }) {
    await this.until(`${count} records`, () => this.waiting.length >= count);
    const records = this.waiting.splice(0, count);
    for (const { partition, offset } of records) this.next.set(partition, offset + 1);
    return { records };
  }

  async commit() {
    const offsets = [...this.next].map(([partition, offset]) => ({ topic: this.topic, partition, offset: String(offset) }));
    await this.member.commitOffsets(offsets);
    return {};
  }

  async leave() {
    await this.member.disconnect();
    return {};
  }
}

async function send(sender, topic, messages, producer) {
  const told = await sender.send({ topic, messages, acks: -1, compression: CODECS[producer.compression] });
  const failed = told.find(({ errorCode }) => errorCode !== 0);
  if (failed) throw new Refused(failed.errorCode, `produce says ${failed.errorCode}`);
}

// Waits until `work` calls its argument, with an error or without.
function within(what, state, work) {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Refused(null, `no ${what} within ${DEADLINE_MS} ms; it has ${state()}`));
    const timer = setTimeout(late, DEADLINE_MS);
    work((error) => {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve();
    });
  });
}

function shown(message, partition) {
  const headers = [];
  for (const [name, values] of Object.entries(message.headers ?? {})) {
    for (const value of Array.isArray(values) ? values : [values]) headers.push({ name, value: hex(value) });
  }
  return {
    partition,
    offset: Number(message.offset),
    timestamp: Number(message.timestamp),
    stamped_by: message.batchContext.timestampType === 1 ? 'broker' : 'producer',
    key: hex(message.key),
    value: hex(message.value),
    headers,
  };
}

function hex(value) {
  return value === null || value === undefined ? null : Buffer.from(value).toString('hex');
}

function bytes(digits) {
  return digits === null ? null : Buffer.from(digits, 'hex');
}

// The error of Kafka's at the bottom of a chain of this client's own.
function refusal(error) {
  for (let cause = error; cause; cause = cause.originalError ?? cause.cause) {
    if (typeof cause.code === 'number') return { code: cause.code, text: String(error) };
    const first = cause.errors?.find((inner) => typeof inner.code === 'number');
    if (first) return { code: first.code, text: String(error) };
    if (cause.groups?.length) return { code: cause.groups[0].errorCode, text: String(error) };
  }
  return { code: null, text: String(error) };
}

async function main() {
  const driver = new Driver(process.argv[2]);
  await driver.start();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let reply;
    try {
      reply = { answer: await driver[request.operation](request) };
    } catch (error) {
      if (!(error instanceof Refused || error instanceof KafkaJSError)) throw error;
      reply = { refusal: refusal(error) };
    }
    if (!process.stdout.write(`${JSON.stringify(reply)}\n`)) await once(process.stdout, 'drain');
  }
  process.exit(0);
}

main();
