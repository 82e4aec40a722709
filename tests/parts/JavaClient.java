import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Checks that Kafka's own Java client, which speaks newer versions of the protocol than librdkafka, works against a
 * broker: {@code java -cp JARS JavaClient.java HOST:PORT}. Prints a line per check, and exits with 1 if one failed.
 */
public class JavaClient {
    /** How long anything may take. */
    private static final Duration DEADLINE = Duration.ofSeconds(40);
    private static final Duration LOOK = Duration.ofMillis(50);

    private final String bootstrap;
    private final Admin admin;
    /** Makes names that nothing else has on a broker that others use too. */
    private final String prefix = "java-" + ProcessHandle.current().pid() + "-";
    private int names;

    private JavaClient(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] arguments) {
        JavaClient client = new JavaClient(arguments[0]);
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("topics are created, described and deleted", client::topics);
        checks.put("settings of topics are altered", client::settings);
        checks.put("an idempotent producer writes in order, in every codec", client::idempotence);
        checks.put("committed transactions are read, aborted ones are not", client::isolation);
        checks.put("offsets are committed with their transaction", client::offsetsInTransactions);
        checks.put("the older of two producers is fenced", client::fencing);
        checks.put("a cooperative group shares, and goes on from what was committed", client::cooperativeGroup);
        checks.put("a static member keeps its name", client::staticMember);
        checks.put("offsets and groups are administered", client::groups);
        checks.put("records are deleted, and offsets are found", client::records);
        int failures = 0;
        for (Map.Entry<String, Check> check : checks.entrySet()) {
            failures += run(check.getKey(), check.getValue()) ? 0 : 1;
        }
        client.admin.close(Duration.ofSeconds(1));
        System.exit(failures == 0 ? 0 : 1);
    }

    private interface Check {
        void run() throws Exception;
    }

    private static boolean run(String name, Check check) {
        try {
            check.run();
            System.out.println("ok: " + name);
            return true;
        } catch (Throwable failure) {
            System.out.println("FAILED: " + name);
            failure.printStackTrace(System.out);
            return false;
        }
    }

    private void topics() throws Exception {
        String name = unique("topics");
        var created = admin.createTopics(List.of(new NewTopic(name, 3, (short) 1)));
        Uuid id = get(created.topicId(name));
        same(get(created.numPartitions(name)), 3);
        expect(TopicExistsException.class, () -> create(name, 3));
        awaitTopic(name, 3);
        same(get(admin.describeTopics(List.of(name)).allTopicNames()).get(name).topicId(), id);
        check(get(admin.listTopics().names()).contains(name), "the topic is listed");
        get(admin.createPartitions(Map.of(name, NewPartitions.increaseTo(5))).all());
        awaitTopic(name, 5);
        get(admin.deleteTopics(List.of(name)).all());
        until("the topic is gone", () -> !getUnchecked(admin.listTopics().names()).contains(name));
        check(!get(admin.describeCluster().nodes()).isEmpty(), "the cluster has nodes");
    }

    private void settings() throws Exception {
        String topic = create(unique("settings"), 1);
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        alter(resource, "retention.ms", "12345");
        until("the new value", () -> "12345".equals(setting(resource, "retention.ms")));
        same(setting(resource, "cleanup.policy"), "delete");
        expect(InvalidConfigurationException.class, () -> alter(resource, "retention.ms", "soon"));
    }

    private void alter(ConfigResource resource, String key, String value) throws Exception {
        var change = new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET);
        get(admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all());
    }

    private String setting(ConfigResource resource, String key) {
        return getUnchecked(admin.describeConfigs(List.of(resource)).all()).get(resource).get(key).value();
    }

    private void idempotence() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = create(unique(codec), 1);
            List<String> values = new ArrayList<>();
            try (var producer = producer("compression.type", codec, "enable.idempotence", "true", "linger.ms", "5")) {
                for (int number = 0; number < 500; number++) {
                    values.add(codec + number);
                    producer.send(new ProducerRecord<>(topic, "k", codec + number));
                }
            }
            same(read(topic, "read_uncommitted", values.size()), values);
        }
    }

    private void isolation() throws Exception {
        String topic = create(unique("isolation"), 1);
        try (var producer = transactional(unique("isolation"))) {
            writeTransaction(producer, topic, "aborted");
            producer.abortTransaction();
            writeTransaction(producer, topic, "committed");
            producer.commitTransaction();
            writeTransaction(producer, topic, "open");
            same(read(topic, "read_committed", 1), List.of("committed"));
            same(read(topic, "read_uncommitted", 3), List.of("aborted", "committed", "open"));
            producer.commitTransaction();
            same(read(topic, "read_committed", 2), List.of("committed", "open"));
        }
    }

    private static void writeTransaction(KafkaProducer<String, String> producer, String topic, String value) {
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(topic, 0, "k", value));
        // What has not left the client when a transaction is aborted never does.
        producer.flush();
    }

    private void offsetsInTransactions() throws Exception {
        String input = create(unique("input"), 1);
        String output = create(unique("output"), 1);
        String group = unique("exactly-once");
        var partition = new TopicPartition(input, 0);
        fill(input, 10);
        try (var producer = transactional(unique("exactly-once")); var consumer = consumer(group)) {
            consumer.subscribe(List.of(input));
            List<ConsumerRecord<String, String>> records = poll(consumer, 10);
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(5)), consumer.groupMetadata());
            producer.abortTransaction();
            same(consumer.committed(Set.of(partition)).get(partition), null);
            producer.beginTransaction();
            records.forEach(record -> producer.send(new ProducerRecord<>(output, record.key(), record.value())));
            var position = new OffsetAndMetadata(10, Optional.empty(), "ten");
            producer.sendOffsetsToTransaction(Map.of(partition, position), consumer.groupMetadata());
            producer.commitTransaction();
            var committed = consumer.committed(Set.of(partition)).get(partition);
            same(committed.offset(), 10L);
            same(committed.metadata(), "ten");
        }
        same(read(output, "read_committed", 10).size(), 10);
    }

    private void fencing() throws Exception {
        String topic = create(unique("fencing"), 1);
        String id = unique("fencing");
        try (var older = transactional(id)) {
            writeTransaction(older, topic, "older");
            try (var newer = transactional(id)) {
                try {
                    older.commitTransaction();
                    throw new AssertionError("the older producer committed");
                } catch (ProducerFencedException | InvalidProducerEpochException expected) {
                    writeTransaction(newer, topic, "newer");
                    newer.commitTransaction();
                }
            }
        }
        same(read(topic, "read_committed", 1), List.of("newer"));
    }

    private void cooperativeGroup() throws Exception {
        String topic = create(unique("cooperative"), 4);
        String group = unique("cooperative");
        String[] strategy = {"partition.assignment.strategy", CooperativeStickyAssignor.class.getName()};
        try (var first = consumer(group, strategy)) {
            first.subscribe(List.of(topic));
            until("the first member has all", () -> share(first) == 4);
            try (var second = consumer(group, strategy)) {
                second.subscribe(List.of(topic));
                // Both are polled in every look, whatever the first one has.
                until("both share", () -> share(first) == 2 & share(second) == 2);
                Set<TopicPartition> all = new HashSet<>(first.assignment());
                all.addAll(second.assignment());
                same(all.size(), 4);
            }
            until("the first member has all again", () -> share(first) == 4);
            fill(topic, 40);
            same(poll(first, 40).size(), 40);
            first.commitSync();
        }
        fill(topic, 4);
        try (var later = consumer(group, strategy)) {
            later.subscribe(List.of(topic));
            same(poll(later, 4).size(), 4);
        }
    }

    private static int share(KafkaConsumer<String, String> consumer) {
        consumer.poll(LOOK);
        return consumer.assignment().size();
    }

    private void staticMember() throws Exception {
        String topic = create(unique("static"), 2);
        String group = unique("static");
        String[] name = {"group.instance.id", "one"};
        int generation;
        try (var member = consumer(group, name)) {
            member.subscribe(List.of(topic));
            until("the member has all", () -> share(member) == 2);
            generation = member.groupMetadata().generationId();
        }
        try (var member = consumer(group, name)) {
            member.subscribe(List.of(topic));
            until("the member has all again", () -> share(member) == 2);
            same(member.groupMetadata().generationId(), generation);
            same(member.groupMetadata().groupInstanceId(), Optional.of("one"));
        }
    }

    private void groups() throws Exception {
        String topic = create(unique("groups"), 1);
        String group = unique("groups");
        var partition = new TopicPartition(topic, 0);
        try (var consumer = consumer(group)) {
            consumer.assign(List.of(partition));
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(33, Optional.empty(), "thirty-three")));
        }
        var offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata();
        same(get(offsets).get(partition).metadata(), "thirty-three");
        get(admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(5))).all());
        offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata();
        same(get(offsets).get(partition).offset(), 5L);
        check(get(admin.listGroups().all()).stream().anyMatch(it -> it.groupId().equals(group)), "the group is listed");
        same(get(admin.describeConsumerGroups(List.of(group)).all()).get(group).members().size(), 0);
        get(admin.deleteConsumerGroups(List.of(group)).all());
        check(get(admin.listGroups().all()).stream().noneMatch(it -> it.groupId().equals(group)), "the group is gone");
    }

    private void records() throws Exception {
        String topic = create(unique("records"), 1);
        fill(topic, 20);
        var partition = new TopicPartition(topic, 0);
        var deleted = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(8))).lowWatermarks();
        same(get(deleted.get(partition)).lowWatermark(), 8L);
        same(offset(partition, OffsetSpec.earliest()), 8L);
        same(offset(partition, OffsetSpec.latest()), 20L);
        same(offset(partition, OffsetSpec.forTimestamp(1)), 8L);
        // Several records may have the newest time; which of them is answered is up to the broker.
        check(offset(partition, OffsetSpec.maxTimestamp()) >= 0, "the newest record is found");
        same(read(topic, "read_committed", 12).size(), 12);
    }

    private long offset(TopicPartition partition, OffsetSpec place) throws Exception {
        return get(admin.listOffsets(Map.of(partition, place)).all()).get(partition).offset();
    }

    private String unique(String name) {
        return prefix + name + "-" + names++;
    }

    private String create(String topic, int partitions) throws Exception {
        get(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all());
        awaitTopic(topic, partitions);
        return topic;
    }

    /** A broker knows what it was asked for a little later than it says so. */
    private void awaitTopic(String topic, int partitions) {
        until(partitions + " partitions of " + topic, () -> {
            try {
                var described = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions();
                return described.size() == partitions && described.stream().allMatch(it -> it.leader() != null);
            } catch (UnknownTopicOrPartitionException notYet) {
                return false;
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
        });
    }

    private void fill(String topic, int count) throws Exception {
        try (var producer = producer()) {
            List<Future<?>> sent = new ArrayList<>();
            for (int number = 0; number < count; number++) {
                sent.add(producer.send(new ProducerRecord<>(topic, "k" + number, String.valueOf(number))));
            }
            for (Future<?> one : sent) {
                one.get();
            }
        }
    }

    private KafkaProducer<String, String> producer(String... settings) {
        return new KafkaProducer<>(settings(settings), new StringSerializer(), new StringSerializer());
    }

    private KafkaProducer<String, String> transactional(String id) {
        var producer = producer("transactional.id", id);
        producer.initTransactions();
        return producer;
    }

    private KafkaConsumer<String, String> consumer(String group, String... more) {
        Map<String, Object> settings = settings(more);
        settings.put("group.id", group);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        settings.put("session.timeout.ms", "10000");
        settings.put("heartbeat.interval.ms", "200");
        settings.putIfAbsent("isolation.level", "read_committed");
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    private Map<String, Object> settings(String... pairs) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", bootstrap));
        for (int i = 0; i < pairs.length; i += 2) {
            settings.put(pairs[i], pairs[i + 1]);
        }
        return settings;
    }

    /** Reads partition 0 up to its end as the isolation level sees it, and checks that there are so many values. */
    private List<String> read(String topic, String isolation, int expected) {
        List<String> values = new ArrayList<>();
        var partition = new TopicPartition(topic, 0);
        try (var consumer = consumer(unique("reader"), "isolation.level", isolation)) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            until(expected + " records of " + topic, () -> {
                consumer.poll(LOOK).forEach(record -> values.add(record.value()));
                return values.size() >= expected && consumer.position(partition) >= end(consumer, partition);
            });
        }
        same(values.size(), expected);
        return values;
    }

    private static long end(KafkaConsumer<String, String> consumer, TopicPartition partition) {
        return consumer.endOffsets(List.of(partition)).get(partition);
    }

    private static List<ConsumerRecord<String, String>> poll(KafkaConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        until(count + " records", () -> {
            consumer.poll(LOOK).forEach(records::add);
            return records.size() >= count;
        });
        return records;
    }

    private static <T> T get(KafkaFuture<T> future) throws Exception {
        try {
            return future.get();
        } catch (ExecutionException failure) {
            throw failure.getCause() instanceof KafkaException cause ? cause : failure;
        }
    }

    private static <T> T getUnchecked(KafkaFuture<T> future) {
        try {
            return get(future);
        } catch (Exception failure) {
            throw new IllegalStateException(failure);
        }
    }

    private static void expect(Class<? extends Exception> expected, Check check) throws Exception {
        try {
            check.run();
        } catch (Exception failure) {
            check(expected.isInstance(failure), "expected " + expected.getSimpleName() + ", got " + failure);
            return;
        }
        throw new AssertionError("expected " + expected.getSimpleName());
    }

    private static void until(String what, BooleanSupplier condition) {
        long deadline = System.nanoTime() + DEADLINE.toNanos();
        while (!condition.getAsBoolean()) {
            check(System.nanoTime() < deadline, "waited in vain: " + what);
        }
    }

    private static void same(Object actual, Object expected) {
        check(Objects.equals(actual, expected), "expected " + expected + ", got " + actual);
    }

    private static void check(boolean holds, String message) {
        if (!holds) {
            throw new AssertionError(message);
        }
    }
}
