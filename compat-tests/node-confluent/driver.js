// Performs operations with confluent-kafka-javascript: one line of JSON in, one line of JSON out. The operations and answers
// are described in src/operation.rs.
'use strict';

const fs = require('node:fs');
const readline = require('node:readline');
const { once, EventEmitter } = require('node:events');
const { promisify } = require('node:util');
const { KafkaConsumer, CODES, KafkaJS } = require('@confluentinc/kafka-javascript');

const DEADLINE_MS = 60000;

class Refused extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

class Driver {
  constructor(bootstrap) {
    this.bootstrap = bootstrap;
    const quiet = { brokers: bootstrap.split(','), logLevel: KafkaJS.logLevel.ERROR, logger: logger() };
    this.kafka = new KafkaJS.Kafka({ kafkaJS: quiet });
    this.producers = new Map();
  }

  async start() {
    this.admin = this.kafka.admin();
    await this.admin.connect();
  }

  async metadata({ topic }) {
    const [found] = await this.admin.fetchTopicMetadata({ topics: [topic] });
    const brokers = new Map();
    for (const { leaderNode } of found.partitions) brokers.set(leaderNode.id, leaderNode);
    return {
      partitions: found.partitions.length,
      brokers: [...brokers.values()].map(({ id, host, port }) => ({ id, host, port })),
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

  async delete_records({ topic, before }) {
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
      const config = {
        kafkaJS: { idempotent: settings.idempotent, compression: settings.compression, acks: -1 },
      };
      if (settings.batch_records) config['batch.num.messages'] = settings.batch_records;
      if (settings.request_bytes) config['message.max.bytes'] = settings.request_bytes;
      const producer = this.kafka.producer(config);
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
    await sender.send({ topic, messages });
    return { count: messages.length };
  }

  async produce_file({ topic, file, producer }) {
    const content = fs.readFileSync(file);
    const messages = [];
    for (let start = 0; start < content.length; ) {
      const end = start + 4 + content.readUInt32BE(start);
      messages.push({ partition: 0, key: null, value: content.subarray(start + 4, end) });
      start = end;
    }
    const sender = await this.producer(producer);
    await sender.send({ topic, messages });
    return { count: messages.length };
  }

  // Where a position lies; a time after the last record is what the client makes of it.
  async place(topic, partition, position) {
    if (position.offset !== undefined) return position.offset;
    const listed =
      position.time !== undefined
        ? await this.admin.fetchTopicOffsetsByTimestamp(topic, position.time)
        : await this.admin.fetchTopicOffsets(topic);
    const found = listed.find((entry) => entry.partition === partition);
    return Number(position === 'beginning' ? found.low : found.offset);
  }

  async seek({ topic, partition, position }) {
    return { offset: await this.place(topic, partition, position) };
  }

  // Gives the next records of a partition to `use`. Single partitions are read with the client's other interface.
  async read(topic, partition, position, count, use) {
    const offset = await this.place(topic, partition, position);
    const config = { 'bootstrap.servers': this.bootstrap, 'group.id': 'nobody', 'enable.auto.commit': false };
    const reader = new KafkaConsumer({ ...config, 'fetch.message.max.bytes': 4 << 20 }, {});
    await promisify(reader.connect.bind(reader))({});
    reader.setDefaultConsumeTimeout(100);
    reader.assign([{ topic, partition, offset }]);
    const consume = promisify(reader.consume.bind(reader));
    const end = Date.now() + DEADLINE_MS;
    for (let left = count; left > 0; ) {
      if (Date.now() > end) throw new Refused(null, `${left} records are missing after ${DEADLINE_MS} ms`);
      for (const message of await consume(Math.min(left, 1000))) {
        left -= 1;
        use(message);
      }
    }
    await promisify(reader.disconnect.bind(reader))();
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

  join({ group, topic }) {
    return this.become(topic, { groupId: group }, {});
  }

  join_consumer({ group, topic }) {
    return this.become(topic, { groupId: group }, { 'group.protocol': 'consumer' });
  }

  async become(topic, settings, more) {
    this.topic = topic;
    this.share = 0;
    this.waiting = [];
    this.next = new Map();
    this.changes = new EventEmitter();
    const rebalance_cb = (error, partitions) => {
      const isMore = error.code === CODES.ERRORS.ERR__ASSIGN_PARTITIONS;
      this.share += isMore ? partitions.length : -partitions.length;
      this.changes.emit('change');
    };
    const kafkaJS = { ...settings, fromBeginning: true, autoCommit: false };
    this.member = this.kafka.consumer({ kafkaJS, rebalance_cb, ...more });
    await this.member.connect();
    await this.member.subscribe({ topic });
    const eachMessage = async ({ partition, message }) => {
      this.waiting.push(shown(message, partition));
      this.changes.emit('change');
    };
    await this.member.run({ eachMessage });
    return {};
  }

  async until(what, isDone) {
    await new Promise((resolve, reject) => {
      const state = () => `it has ${this.share} partitions and ${this.waiting.length} records`;
      const late = () => reject(new Refused(null, `no ${what} within ${DEADLINE_MS} ms; ${state()}`));
      const timer = setTimeout(late, DEADLINE_MS);
      const look = () => {
        if (!isDone()) return;
        clearTimeout(timer);
        resolve();
      };
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

// What the client has to say goes to where the harness keeps it; its output is for answers.
function logger() {
  const say = (text) => console.error(text);
  const quiet = () => {};
  return { info: quiet, debug: quiet, warn: say, error: say, setLogLevel: quiet, namespace: logger };
}

// Both interfaces show records; one has headers in a list, the other in an object. Neither shows who set the timestamp.
function shown(message, partition) {
  const headers = [];
  const listed = Array.isArray(message.headers) ? message.headers : [message.headers ?? {}];
  for (const entry of listed) {
    for (const [name, values] of Object.entries(entry)) {
      for (const value of Array.isArray(values) ? values : [values]) headers.push({ name, value: hex(value) });
    }
  }
  return {
    partition,
    offset: Number(message.offset),
    timestamp: Number(message.timestamp),
    stamped_by: null,
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

async function main() {
  const driver = new Driver(process.argv[2]);
  await driver.start();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let reply;
    try {
      reply = { answer: await driver[request.operation](request) };
    } catch (error) {
      if (!(error instanceof Refused || KafkaJS.isKafkaJSError(error) || typeof error.code === 'number')) throw error;
      // Some errors hold one for each topic or group.
      const first = error.errors?.find((inner) => typeof inner.code === 'number') ?? error.groups?.[0] ?? error;
      reply = { refusal: { code: first.code ?? first.errorCode, text: String(error) } };
    }
    if (!process.stdout.write(`${JSON.stringify(reply)}\n`)) await once(process.stdout, 'drain');
  }
  process.exit(0);
}

main();
