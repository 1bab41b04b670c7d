import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Performs operations with Apache Kafka's Java clients: one line of JSON in, one line of JSON out. The operations and answers
 * are described in src/operation.rs.
 */
public final class Driver {
    private static final Duration DEADLINE = Duration.ofSeconds(60);
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HexFormat HEX = HexFormat.of();

    private final String bootstrap;
    private final Admin admin;
    private final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    private final Set<TopicPartition> assigned = new HashSet<>();
    /** Something was taken away and nothing given yet, not even an empty share: only the next poll goes on with it. */
    private boolean isRebalancing;
    private final List<ConsumerRecord<byte[], byte[]>> waiting = new ArrayList<>();
    private KafkaConsumer<byte[], byte[]> member;

    private Driver(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] arguments) throws Exception {
        Driver driver = new Driver(arguments[0]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            ObjectNode reply = JSON.createObjectNode();
            try {
                reply.set("answer", driver.perform(JSON.readTree(line)));
            } catch (ExecutionException failure) {
                reply.set("refusal", refusal(failure.getCause()));
            } catch (KafkaException failure) {
                reply.set("refusal", refusal(failure));
            }
            System.out.println(JSON.writeValueAsString(reply));
            System.out.flush();
        }
        // Threads of clients that are still open would keep the process alive.
        Runtime.getRuntime().halt(0);
    }

    private static ObjectNode refusal(Throwable failure) {
        ObjectNode refusal = JSON.createObjectNode();
        refusal.put("text", failure.toString());
        if (failure instanceof ApiException) {
            refusal.put("code", Errors.forException(failure).code());
        }
        return refusal;
    }

    private ObjectNode perform(JsonNode request) throws Exception {
        String topic = request.path("topic").asText();
        int partition = request.path("partition").asInt();
        int count = request.path("count").asInt();
        return switch (request.get("operation").asText()) {
            case "metadata" -> metadata(topic);
            case "create_topic" -> createTopic(topic, request);
            case "delete_topic" -> deleteTopic(topic);
            case "topic_config" -> topicConfig(topic, request.get("name").asText());
            case "create_partitions" -> createPartitions(topic, request.get("partitions").asInt());
            case "alter_config" -> alterConfig(topic, request.get("name").asText(), request.get("value").asText());
            case "delete_records" -> deleteRecords(topic, request.get("before").asLong());
            case "groups" -> groups();
            case "delete_group" -> deleteGroup(request.get("group").asText());
            case "produce" -> produce(topic, request);
            case "produce_file" -> produceFile(topic, request);
            case "seek" -> seek(topic, partition, request.get("position"));
            case "consume" -> consume(topic, partition, request.get("position"), count);
            case "consume_file" -> consumeFile(topic, request.get("file").asText(), count);
            case "join" -> join(request.get("group").asText(), topic, "classic");
            case "join_consumer" -> join(request.get("group").asText(), topic, "consumer");
            case "assigned" -> assigned(request.get("partitions").asInt());
            case "take" -> take(count);
            case "commit" -> commit();
            case "leave" -> leave();
            default -> throw new IllegalArgumentException(request.toString());
        };
    }

    private ObjectNode metadata(String topic) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        answer.put("partitions", admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
        ArrayNode brokers = answer.putArray("brokers");
        for (Node node : admin.describeCluster().nodes().get()) {
            brokers.addObject().put("id", node.id()).put("host", node.host()).put("port", node.port());
        }
        return answer;
    }

    private ObjectNode createTopic(String topic, JsonNode request) throws Exception {
        Map<String, String> configs = new HashMap<>();
        request.get("configs").fields().forEachRemaining(config -> configs.put(config.getKey(), config.getValue().asText()));
        NewTopic created = new NewTopic(topic, request.get("partitions").asInt(), (short) 1).configs(configs);
        admin.createTopics(List.of(created)).all().get();
        return JSON.createObjectNode();
    }

    private ObjectNode deleteTopic(String topic) throws Exception {
        admin.deleteTopics(List.of(topic)).all().get();
        return JSON.createObjectNode();
    }

    private ObjectNode topicConfig(String topic, String name) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        String value = admin.describeConfigs(List.of(resource)).all().get().get(resource).get(name).value();
        return JSON.createObjectNode().put("value", value);
    }

    private ObjectNode createPartitions(String topic, int partitions) throws Exception {
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(partitions))).all().get();
        return JSON.createObjectNode();
    }

    private ObjectNode alterConfig(String topic, String name, String value) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        AlterConfigOp set = new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get();
        return JSON.createObjectNode();
    }

    private ObjectNode deleteRecords(String topic, long before) throws Exception {
        admin.deleteRecords(Map.of(new TopicPartition(topic, 0), RecordsToDelete.beforeOffset(before))).all().get();
        return JSON.createObjectNode();
    }

    private ObjectNode groups() throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode groups = answer.putArray("groups");
        admin.listGroups().all().get().forEach(group -> groups.add(group.groupId()));
        return answer;
    }

    private ObjectNode deleteGroup(String group) throws Exception {
        admin.deleteConsumerGroups(List.of(group)).all().get();
        return JSON.createObjectNode();
    }

    private KafkaProducer<byte[], byte[]> producer(JsonNode settings) {
        return producers.computeIfAbsent(settings.toString(), unused -> {
            Map<String, Object> config = new HashMap<>();
            config.put("bootstrap.servers", bootstrap);
            config.put("compression.type", settings.get("compression").asText());
            config.put("enable.idempotence", settings.get("idempotent").asBoolean());
            config.put("acks", "all");
            int records = settings.get("batch_records").asInt();
            if (records > 0) {
                // Batches are bounded by bytes here: about this many of the short records of the scenarios.
                config.put("batch.size", records * 20);
                config.put("linger.ms", 0);
            }
            int bytes = settings.get("request_bytes").asInt();
            if (bytes > 0) {
                config.put("max.request.size", bytes);
            }
            return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
        });
    }

    private ObjectNode produce(String topic, JsonNode request) throws Exception {
        KafkaProducer<byte[], byte[]> producer = producer(request.get("producer"));
        List<Future<RecordMetadata>> answers = new ArrayList<>();
        for (JsonNode record : request.get("records")) {
            List<Header> headers = new ArrayList<>();
            for (JsonNode header : record.get("headers")) {
                headers.add(new RecordHeader(header.get("name").asText(), bytes(header.get("value"))));
            }
            Integer partition = record.get("partition").isNull() ? null : record.get("partition").asInt();
            Long timestamp = record.get("timestamp").isNull() ? null : record.get("timestamp").asLong();
            answers.add(producer.send(new ProducerRecord<>(
                    topic, partition, timestamp, bytes(record.get("key")), bytes(record.get("value")), headers)));
        }
        return answered(producer, answers);
    }

    private ObjectNode produceFile(String topic, JsonNode request) throws Exception {
        KafkaProducer<byte[], byte[]> producer = producer(request.get("producer"));
        List<Future<RecordMetadata>> answers = new ArrayList<>();
        String file = request.get("file").asText();
        try (DataInputStream values = new DataInputStream(new BufferedInputStream(new FileInputStream(file)))) {
            while (values.available() > 0) {
                byte[] value = values.readNBytes(values.readInt());
                answers.add(producer.send(new ProducerRecord<>(topic, 0, null, value)));
            }
        }
        return answered(producer, answers);
    }

    private static ObjectNode answered(KafkaProducer<?, ?> producer, List<Future<RecordMetadata>> answers)
            throws Exception {
        producer.flush();
        for (Future<RecordMetadata> answer : answers) {
            answer.get();
        }
        return JSON.createObjectNode().put("count", answers.size());
    }

    private KafkaConsumer<byte[], byte[]> reader(String group) {
        return reader(group, "classic");
    }

    private KafkaConsumer<byte[], byte[]> reader(String group, String protocol) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", group == null ? "none" : "earliest");
        if (group != null) {
            config.put("group.id", group);
            config.put("group.protocol", protocol);
        }
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** Assigns the partition and goes to the position, as a user of this client does. */
    private static long go(KafkaConsumer<byte[], byte[]> reader, TopicPartition where, JsonNode position) {
        reader.assign(List.of(where));
        if (position.has("offset")) {
            reader.seek(where, position.get("offset").asLong());
        } else if (position.has("time")) {
            OffsetAndTimestamp found =
                    reader.offsetsForTimes(Map.of(where, position.get("time").asLong()), DEADLINE).get(where);
            if (found == null) {
                return -1;
            }
            reader.seek(where, found.offset());
        } else if (position.asText().equals("end")) {
            reader.seekToEnd(List.of(where));
        } else {
            reader.seekToBeginning(List.of(where));
        }
        return reader.position(where, DEADLINE);
    }

    private ObjectNode seek(String topic, int partition, JsonNode position) {
        try (KafkaConsumer<byte[], byte[]> reader = reader(null)) {
            return JSON.createObjectNode().put("offset", go(reader, new TopicPartition(topic, partition), position));
        }
    }

    private ObjectNode consume(String topic, int partition, JsonNode position, int count) {
        try (KafkaConsumer<byte[], byte[]> reader = reader(null)) {
            go(reader, new TopicPartition(topic, partition), position);
            List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
            until(count + " records", () -> {
                reader.poll(Duration.ofMillis(500)).forEach(records::add);
                return records.size() >= count;
            });
            return shown(records.subList(0, count));
        }
    }

    private ObjectNode consumeFile(String topic, String file, int count) throws IOException {
        try (KafkaConsumer<byte[], byte[]> reader = reader(null);
                DataOutputStream values = new DataOutputStream(new BufferedOutputStream(new FileOutputStream(file)))) {
            TopicPartition where = new TopicPartition(topic, 0);
            reader.assign(List.of(where));
            reader.seekToBeginning(List.of(where));
            int left = count;
            long end = System.nanoTime() + DEADLINE.toNanos();
            while (left > 0 && System.nanoTime() < end) {
                for (ConsumerRecord<byte[], byte[]> record : reader.poll(Duration.ofMillis(500))) {
                    if (left > 0) {
                        values.writeInt(record.value().length);
                        values.write(record.value());
                        left--;
                    }
                }
            }
            return JSON.createObjectNode().put("count", count - left);
        }
    }

    private ObjectNode join(String group, String topic, String protocol) {
        member = reader(group, protocol);
        member.subscribe(List.of(topic), new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                assigned.addAll(partitions);
                isRebalancing = false;
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                assigned.removeAll(partitions);
                isRebalancing = true;
            }
        });
        return JSON.createObjectNode();
    }

    private ObjectNode assigned(int partitions) {
        until(partitions + " partitions", () -> {
            poll();
            return assigned.size() == partitions && !isRebalancing;
        });
        return JSON.createObjectNode();
    }

    private ObjectNode take(int count) {
        until(count + " records", () -> {
            poll();
            return waiting.size() >= count;
        });
        List<ConsumerRecord<byte[], byte[]>> taken = waiting.subList(0, count);
        ObjectNode answer = shown(taken);
        taken.clear();
        return answer;
    }

    private void poll() {
        member.poll(Duration.ofMillis(100)).forEach(waiting::add);
    }

    private ObjectNode commit() {
        member.commitSync(DEADLINE);
        return JSON.createObjectNode();
    }

    private ObjectNode leave() {
        member.close();
        assigned.clear();
        return JSON.createObjectNode();
    }

    private static void until(String what, BooleanSupplier isDone) {
        long end = System.nanoTime() + DEADLINE.toNanos();
        while (!isDone.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw new KafkaException("no " + what + " within " + DEADLINE);
            }
        }
    }

    private static ObjectNode shown(List<ConsumerRecord<byte[], byte[]>> records) {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode array = answer.putArray("records");
        for (ConsumerRecord<byte[], byte[]> record : records) {
            ObjectNode shown = array.addObject();
            shown.put("partition", record.partition()).put("offset", record.offset());
            shown.put("timestamp", record.timestamp());
            shown.put("stamped_by", record.timestampType() == TimestampType.LOG_APPEND_TIME ? "broker" : "producer");
            shown.put("key", hex(record.key())).put("value", hex(record.value()));
            ArrayNode headers = shown.putArray("headers");
            for (Header header : record.headers()) {
                headers.addObject().put("name", header.key()).put("value", hex(header.value()));
            }
        }
        return answer;
    }

    private static String hex(byte[] bytes) {
        return bytes == null ? null : HEX.formatHex(bytes);
    }

    private static byte[] bytes(JsonNode hex) {
        return hex.isNull() ? null : HEX.parseHex(hex.asText());
    }
}
