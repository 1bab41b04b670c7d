import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.zip.CRC32;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Plays the parts of a history with Apache Kafka's Java clients: commands come in, events go out, one a line. The parts and the
 * events are described in src/history/driver.rs and src/history/event.rs.
 */
public final class History {
    private static final int REQUEST_MS = 3000;
    /** Commands of one part that wait; the harness sends fewer. */
    private static final int WAITING = 4096;
    private static final Duration DEADLINE = Duration.ofSeconds(60);
    private static final byte[] BLOCK = new byte[1 << 18];

    private static String bootstrap;
    private static String topic;
    private static int partitions;
    private static String group;

    private History() {}

    /** Something that waits for commands. */
    private record Part(BlockingQueue<String[]> commands) {}

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        topic = arguments[1];
        partitions = Integer.parseInt(arguments[2]);
        group = arguments[3];
        for (int n = 0; n < BLOCK.length; n++) {
            BLOCK[n] = (byte) (n * 31 + (n >> 8));
        }
        Map<String, Part> parts = new HashMap<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            String name = words[0];
            Part part = new Part(new ArrayBlockingQueue<>(WAITING));
            switch (words[1]) {
                case "producer" -> start(parts, name, part, () -> produce(name, words[2], part));
                case "member" -> start(parts, name, part, () -> consume(name, part));
                case "reader" -> start(parts, name, part, () -> read(name, null));
                case "final" -> start(parts, name, part, () -> read(name, Arrays.copyOfRange(words, 2, words.length)));
                case "watcher" -> start(parts, name, part, () -> watch(name, part));
                default -> parts.get(name).commands().put(Arrays.copyOfRange(words, 2, words.length));
            }
        }
        // Threads of clients that are still open would keep the process alive.
        Runtime.getRuntime().halt(0);
    }

    /** Work that may fail. */
    private interface Work {
        void run() throws Exception;
    }

    private static void start(Map<String, Part> parts, String name, Part part, Work work) {
        parts.put(name, part);
        new Thread(() -> {
            try {
                work.run();
            } catch (Exception failure) {
                failure.printStackTrace();
                Runtime.getRuntime().halt(1);
            }
        }).start();
    }

    private static synchronized void say(String lines) {
        System.out.print(lines);
        System.out.flush();
    }

    private static void complain(String name, Exception failure) {
        System.err.println(name + ": " + failure);
    }

    private static Map<String, Object> settings() {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("request.timeout.ms", REQUEST_MS);
        config.put("reconnect.backoff.max.ms", 500);
        return config;
    }

    /** Sends what it is told: NUMBER PARTITION BYTES SHAPE, and tells what became of it. */
    private static void produce(String name, String address, Part part) throws Exception {
        Map<String, Object> config = settings();
        config.put("bootstrap.servers", address);
        config.put("enable.idempotence", true);
        config.put("acks", "all");
        KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
        while (true) {
            String[] words = part.commands().take();
            String number = words[0];
            ProducerRecord<byte[], byte[]> record = record(name, words);
            String sum = digest(record.key(), record.value(), record.headers());
            say(name + " send " + number + " " + record.partition() + " " + sum + " " + record.timestamp() + "\n");
            try {
                producer.send(record, (metadata, failure) -> {
                    if (failure instanceof RecordTooLargeException) {
                        say(name + " failed " + number + "\n");
                    } else if (failure != null) {
                        complain(name, failure);
                        say(name + " unknown " + number + "\n");
                    } else {
                        String offset = metadata.hasOffset() ? String.valueOf(metadata.offset()) : "-";
                        say(name + " ack " + number + " " + metadata.partition() + " " + offset + "\n");
                    }
                });
            } catch (KafkaException failure) {
                complain(name, failure);
                say(name + " unknown " + number + "\n");
            }
        }
    }

    private static ProducerRecord<byte[], byte[]> record(String name, String[] words) {
        int number = Integer.parseInt(words[0]);
        int partition = Integer.parseInt(words[1]);
        int size = Integer.parseInt(words[2]);
        byte[] head = ("h:" + name + "." + number + ";").getBytes(StandardCharsets.US_ASCII);
        byte[] filler = Arrays.copyOfRange(BLOCK, number & 1023, (number & 1023) + size);
        byte[] key = null;
        byte[] value = null;
        switch (words[3]) {
            case "v" -> value = joined(head, Arrays.copyOf(filler, Math.max(0, size - head.length)));
            case "k" -> {
                key = head;
                value = filler;
            }
            case "n" -> key = head;
            default -> {
                key = new byte[0];
                value = joined(head, filler);
            }
        }
        long now = System.currentTimeMillis();
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, partition, now, key, value);
        if (words[3].equals("h")) {
            record.headers().add("first", new byte[0]).add("second", Arrays.copyOf(BLOCK, number & 255));
        }
        return record;
    }

    private static byte[] joined(byte[] first, byte[] second) {
        byte[] both = Arrays.copyOf(first, first.length + second.length);
        System.arraycopy(second, 0, both, first.length, second.length);
        return both;
    }

    private static String digest(byte[] key, byte[] value, Iterable<Header> headers) {
        CRC32 sum = new CRC32();
        add(sum, key);
        add(sum, value);
        for (Header header : headers) {
            add(sum, header.key().getBytes(StandardCharsets.UTF_8));
            add(sum, header.value());
        }
        return String.format("%08x", sum.getValue());
    }

    private static void add(CRC32 sum, byte[] part) {
        sum.update(ByteBuffer.allocate(4).putInt(part == null ? -1 : part.length).array());
        if (part != null) {
            sum.update(part);
        }
    }

    /** The record that these bytes name: NAME.NUMBER; at their beginning. */
    private static String named(byte[] bytes) {
        if (bytes == null) {
            return null;
        }
        String head = new String(bytes, 0, Math.min(bytes.length, 64), StandardCharsets.ISO_8859_1);
        int end = head.indexOf(';');
        return head.startsWith("h:") && end > 0 ? head.substring(2, end).replace(' ', '_') : null;
    }

    private static void tell(String name, Iterable<ConsumerRecord<byte[], byte[]>> records, Map<Integer, Long> next) {
        StringBuilder lines = new StringBuilder();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            String id = named(record.value());
            id = id == null ? named(record.key()) : id;
            lines.append(name).append(" read ").append(record.partition()).append(' ').append(record.offset());
            lines.append(' ').append(id == null ? "-" : id).append(' ');
            lines.append(digest(record.key(), record.value(), record.headers()));
            lines.append(' ').append(record.timestamp()).append('\n');
            next.put(record.partition(), record.offset() + 1);
        }
        if (lines.length() > 0) {
            say(lines.toString());
        }
    }

    private static KafkaConsumer<byte[], byte[]> consumer(boolean isMember) {
        Map<String, Object> config = settings();
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", isMember ? "earliest" : "none");
        if (isMember) {
            config.put("group.id", group);
            config.put("session.timeout.ms", 6000);
            config.put("heartbeat.interval.ms", 1000);
        }
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** Follows every partition from its beginning; with ends, up to them. */
    private static void read(String name, String[] ends) {
        try (KafkaConsumer<byte[], byte[]> reader = consumer(false)) {
            List<TopicPartition> all = all();
            reader.assign(all);
            Map<Integer, Long> next = new HashMap<>();
            Map<Integer, Long> left = new HashMap<>();
            for (TopicPartition where : all) {
                int partition = where.partition();
                reader.seek(where, 0);
                say(name + " assigned " + partition + " 0\n");
                next.put(partition, 0L);
                if (ends != null) {
                    left.put(partition, Long.parseLong(ends[partition]));
                }
            }
            while (ends == null || !left.isEmpty()) {
                left.entrySet().removeIf(entry -> {
                    boolean isWhole = next.get(entry.getKey()) >= entry.getValue();
                    if (isWhole) {
                        say(name + " whole " + entry.getKey() + " " + entry.getValue() + "\n");
                    }
                    return isWhole;
                });
                tell(name, reader.poll(Duration.ofMillis(100)), next);
            }
        } catch (KafkaException failure) {
            complain(name, failure);
            say(name + " gone\n");
        }
    }

    private static List<TopicPartition> all() {
        return IntStream.range(0, partitions).mapToObj(p -> new TopicPartition(topic, p)).toList();
    }

    /** A member of the group, which commits when it is told. */
    private static void consume(String name, Part part) {
        KafkaConsumer<byte[], byte[]> member = consumer(true);
        Map<Integer, Long> next = new HashMap<>();
        member.subscribe(List.of(topic), new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> given) {
                given.forEach(where -> say(name + " assigned " + where.partition() + " -\n"));
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> taken) {
                taken.forEach(where -> {
                    next.remove(where.partition());
                    say(name + " revoked " + where.partition() + "\n");
                });
            }
        });
        while (true) {
            tell(name, member.poll(Duration.ofMillis(100)), next);
            if (part.commands().poll() != null) {
                commit(name, member, new HashMap<>(next));
            }
        }
    }

    private static void commit(String name, KafkaConsumer<byte[], byte[]> member, Map<Integer, Long> next) {
        String outcome = "ok";
        try {
            if (!next.isEmpty()) {
                member.commitSync(next.entrySet().stream().collect(Collectors.toMap(
                        entry -> new TopicPartition(topic, entry.getKey()),
                        entry -> new OffsetAndMetadata(entry.getValue()))), DEADLINE);
            }
        } catch (KafkaException failure) {
            complain(name, failure);
            outcome = "unknown";
        }
        StringBuilder lines = new StringBuilder();
        for (Map.Entry<Integer, Long> entry : next.entrySet()) {
            lines.append(name).append(" commit ").append(entry.getKey()).append(' ').append(entry.getValue());
            lines.append(' ').append(outcome).append('\n');
        }
        say(lines + name + " done\n");
    }

    /** Asks for the ends of the partitions and the committed offsets of the group. */
    private static void watch(String name, Part part) throws Exception {
        Map<String, Object> config = settings();
        config.put("default.api.timeout.ms", 60000);
        try (Admin admin = Admin.create(config)) {
            while (true) {
                String[] words = part.commands().take();
                try {
                    say(words[0].equals("ends") ? ends(name, admin) : committed(name, admin));
                } catch (java.util.concurrent.ExecutionException failure) {
                    complain(name, failure);
                }
                say(name + " done\n");
            }
        }
    }

    private static String ends(String name, Admin admin) throws Exception {
        Map<TopicPartition, ListOffsetsResultInfo> starts = list(admin, OffsetSpec.earliest());
        Map<TopicPartition, ListOffsetsResultInfo> ends = list(admin, OffsetSpec.latest());
        StringBuilder lines = new StringBuilder();
        for (TopicPartition where : all()) {
            lines.append(name).append(" ends ").append(where.partition()).append(' ');
            lines.append(starts.get(where).offset()).append(' ').append(ends.get(where).offset()).append('\n');
        }
        return lines.toString();
    }

    private static Map<TopicPartition, ListOffsetsResultInfo> list(Admin admin, OffsetSpec spec) throws Exception {
        Map<TopicPartition, OffsetSpec> asked = all().stream().collect(Collectors.toMap(where -> where, where -> spec));
        return admin.listOffsets(asked).all().get(90, TimeUnit.SECONDS);
    }

    private static String committed(String name, Admin admin) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> told =
                admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get(90, TimeUnit.SECONDS);
        StringBuilder lines = new StringBuilder();
        for (TopicPartition where : all()) {
            OffsetAndMetadata found = told.get(where);
            lines.append(name).append(" committed ").append(where.partition()).append(' ');
            lines.append(found == null ? "-" : String.valueOf(found.offset())).append('\n');
        }
        return lines.toString();
    }
}
