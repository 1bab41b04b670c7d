import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Many members of groups in one process, with Apache Kafka's Java consumers: commands come in, events go out, one a line. An
 * event begins with System.nanoTime(), which all processes of a machine share. Both are described in members/clients.py.
 */
public final class Members {
    private static final int REQUEST_MS = 3000;
    private static final Duration CALL = Duration.ofSeconds(30);
    private static final Duration POLL = Duration.ofMillis(250);

    private static String bootstrap;
    private static int sessionMs;
    private static final Map<String, AtomicBoolean> LEAVING = new ConcurrentHashMap<>();
    private static final AtomicBoolean QUIET = new AtomicBoolean();
    private static Thread producing;

    private Members() {}

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        sessionMs = Integer.parseInt(arguments[1]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "join" -> join(words[1], words[2], words[3], words[4]);
                case "leave" -> LEAVING.get(words[1]).set(true);
                case "produce" -> produce(List.of(words).subList(2, words.length), Integer.parseInt(words[1]));
                case "quiet" -> quiet(List.of(words).subList(1, words.length));
                case "offsets" -> offsets(words[1]);
                default -> throw new IllegalArgumentException(line);
            }
        }
        // Threads of clients that are still open would keep the process alive.
        Runtime.getRuntime().halt(0);
    }

    private static synchronized void say(long at, String event) {
        System.out.print(at + " " + event + "\n");
        System.out.flush();
    }

    private static void say(String event) {
        say(System.nanoTime(), event);
    }

    /** Work that may fail; then the process ends, and the harness says so. */
    private interface Work {
        void run() throws Exception;
    }

    private static Thread start(String name, Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (Throwable failure) {
                System.err.print(name + ": ");
                failure.printStackTrace();
                say(name + " failed " + failure.getClass().getSimpleName());
                Runtime.getRuntime().halt(1);
            }
        });
        thread.start();
        return thread;
    }

    private static Map<String, Object> settings() {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("request.timeout.ms", REQUEST_MS);
        config.put("default.api.timeout.ms", (int) CALL.toMillis());
        config.put("reconnect.backoff.max.ms", 500);
        return config;
    }

    private static void join(String name, String group, String topic, String protocol) {
        AtomicBoolean leaving = new AtomicBoolean();
        LEAVING.put(name, leaving);
        Map<String, Object> config = settings();
        config.put("group.id", group);
        config.put("client.id", name);
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        switch (protocol) {
            case "consumer" -> config.put("group.protocol", "consumer");
            case "cooperative" -> classic(config, CooperativeStickyAssignor.class);
            case "eager" -> classic(config, RangeAssignor.class);
            default -> throw new IllegalArgumentException(protocol);
        }
        start(name, () -> new Member(name, config).live(topic, leaving));
    }

    private static void classic(Map<String, Object> config, Class<?> assignor) {
        config.put("partition.assignment.strategy", assignor.getName());
        config.put("session.timeout.ms", sessionMs);
        config.put("heartbeat.interval.ms", sessionMs / 10);
        config.put("max.poll.interval.ms", 60_000);
    }

    /** One member. All is on its own thread, as Kafka's consumer wants it. */
    private static final class Member implements ConsumerRebalanceListener {
        private final String name;
        private final KafkaConsumer<byte[], byte[]> consumer;
        /** What was read and is not committed: a commit that is refused in a rebalance is made good when it is over. */
        private final Map<TopicPartition, OffsetAndMetadata> unsaved = new HashMap<>();

        Member(String name, Map<String, Object> config) {
            this.name = name;
            consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        }

        void live(String topic, AtomicBoolean leaving) {
            consumer.subscribe(List.of(topic), this);
            while (!leaving.get()) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(POLL);
                take(records);
                unsaved.putAll(records.nextOffsets());
                if (!unsaved.isEmpty()) {
                    commit();
                }
            }
            consumer.close();
            say(name + " left");
        }

        private void take(ConsumerRecords<byte[], byte[]> records) {
            for (TopicPartition partition : records.partitions()) {
                List<ConsumerRecord<byte[], byte[]>> batch = records.records(partition);
                long last = batch.get(batch.size() - 1).offset();
                say(name + " read " + partition.partition() + " " + batch.get(0).offset() + " " + last + " " + batch.size());
            }
        }

        private void commit() {
            Map<TopicPartition, OffsetAndMetadata> next = Map.copyOf(unsaved);
            long begun = System.nanoTime();
            try {
                consumer.commitSync(next);
                unsaved.clear();
                say(name + " commit " + begun + " " + offsetsOf(next, it -> it == null ? "-" : "" + it.offset()));
            } catch (CommitFailedException | RebalanceInProgressException | RetriableException failure) {
                say(name + " uncommitted " + failure.getClass().getSimpleName());
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> added) {
            int generation = consumer.groupMetadata().generationId();
            say(name + " assigned " + generation + " " + partitions(consumer.assignment()));
            if (added.isEmpty()) {
                return;
            }
            long begun = System.nanoTime();
            try {
                Map<TopicPartition, OffsetAndMetadata> told = consumer.committed(Set.copyOf(added));
                say(name + " told " + begun + " " + offsetsOf(told, it -> it == null ? "-" : "" + it.offset()));
            } catch (RetriableException failure) {
                say(name + " untold " + failure.getClass().getSimpleName());
            }
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
            unsaved.keySet().removeAll(revoked);
            say(name + " revoked " + partitions(revoked));
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> lost) {
            unsaved.keySet().removeAll(lost);
            say(name + " lost " + partitions(lost));
        }
    }

    private static String partitions(Collection<TopicPartition> partitions) {
        String text = partitions.stream().map(it -> "" + it.partition()).collect(Collectors.joining(","));
        return text.isEmpty() ? "-" : text;
    }

    private static <T> String offsetsOf(Map<TopicPartition, T> offsets, Function<T, String> shown) {
        Map<Integer, String> sorted = new TreeMap<>();
        offsets.forEach((partition, offset) -> sorted.put(partition.partition(), shown.apply(offset)));
        return sorted.entrySet().stream().map(it -> it.getKey() + ":" + it.getValue()).collect(Collectors.joining(","));
    }

    /** Writes so many records a second, in turn to all partitions of all topics (TOPIC:PARTITIONS), until it is told to be quiet. */
    private static void produce(List<String> topics, int rate) {
        producing = start("producer", () -> {
            Map<String, Object> config = settings();
            config.put("delivery.timeout.ms", (int) CALL.toMillis() * 2);
            config.put("linger.ms", 20);
            try (KafkaProducer<byte[], byte[]> producer =
                    new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
                long begun = System.nanoTime();
                for (long sent = 0; !QUIET.get(); sent++) {
                    String[] topic = topics.get((int) (sent % topics.size())).split(":");
                    int partition = (int) (sent / topics.size() % Integer.parseInt(topic[1]));
                    producer.send(new ProducerRecord<>(topic[0], partition, null, ("" + sent).getBytes(StandardCharsets.UTF_8)));
                    long wait = begun + sent * 1_000_000_000L / rate - System.nanoTime();
                    if (wait > 1_000_000) {
                        Thread.sleep(wait / 1_000_000);
                    }
                }
            }
        });
    }

    /** Ends the writing, and tells where each partition of the topics ends. */
    private static void quiet(List<String> topics) throws Exception {
        QUIET.set(true);
        producing.join();
        try (Admin admin = Admin.create(settings())) {
            for (String one : topics) {
                String[] topic = one.split(":");
                Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
                for (int partition = 0; partition < Integer.parseInt(topic[1]); partition++) {
                    asked.put(new TopicPartition(topic[0], partition), OffsetSpec.latest());
                }
                say("- ends " + topic[0] + " " + offsetsOf(admin.listOffsets(asked).all().get(), it -> "" + it.offset()));
            }
        }
    }

    /** Tells what a group has committed, as an administrator sees it. */
    private static void offsets(String group) throws Exception {
        try (Admin admin = Admin.create(settings())) {
            Map<TopicPartition, OffsetAndMetadata> told =
                    admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
            say("- offsets " + group + " " + offsetsOf(told, it -> it == null ? "-" : "" + it.offset()));
        } catch (KafkaException failure) {
            throw new IllegalStateException(group, failure);
        }
    }
}
