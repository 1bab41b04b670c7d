// Performs operations with franz-go: one line of JSON in, one line of JSON out. The operations and answers are described in
// src/operation.rs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamhouse/compat-tests/conversation"
)

type (
	answer   = conversation.Answer
	broker   = conversation.Broker
	header   = conversation.Header
	hexed    = conversation.Hexed
	producer = conversation.Producer
	record   = conversation.Record
	request  = conversation.Request
)

type driver struct {
	bootstrap []string
	client    *kgo.Client
	admin     *kadm.Client
	producers map[producer]*kgo.Client
	member    *member
}

func main() {
	bootstrap := strings.Split(os.Args[1], ",")
	// Without the second option a deleted topic is remembered for seconds.
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		panic(err)
	}
	admin := kadm.NewClient(client)
	d := &driver{bootstrap, client, admin, map[producer]*kgo.Client{}, nil}
	conversation.Serve(d.perform, code)
}

// code is Kafka's, where this client tells one.
func code(err error) *int16 {
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		return &kafka.Code
	}
	return nil
}

func (d *driver) perform(ctx context.Context, asked request) (answer, error) {
	switch asked.Operation {
	case "metadata":
		return d.metadata(ctx, asked.Topic)
	case "create_topic":
		_, err := d.admin.CreateTopic(ctx, asked.Partitions, 1, asked.Configs, asked.Topic)
		return answer{}, err
	case "delete_topic":
		_, err := d.admin.DeleteTopic(ctx, asked.Topic)
		return answer{}, err
	case "topic_config":
		return d.topicConfig(ctx, asked.Topic, asked.Name)
	case "create_partitions", "alter_config", "delete_records", "groups", "delete_group":
		return d.administer(ctx, asked)
	case "produce":
		return d.produce(ctx, asked)
	case "produce_file":
		return d.produceFile(ctx, asked)
	case "seek":
		offset, err := d.place(ctx, asked)
		return answer{Offset: &offset}, err
	case "consume":
		return d.consume(ctx, asked)
	case "consume_file":
		return d.consumeFile(ctx, asked)
	case "join":
		return answer{}, d.join(asked)
	case "join_consumer":
		// The coordinator assigns for two of the client's balancers; the one that it has by default is not among them.
		return answer{}, d.join(asked, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	case "assigned":
		return answer{}, d.member.share.WaitFor(ctx, int(asked.Partitions))
	case "take":
		return d.member.take(ctx, asked.Count)
	case "commit":
		return answer{}, d.member.client.CommitUncommittedOffsets(ctx)
	case "leave":
		d.member.client.Close()
		return answer{}, nil
	}
	return answer{}, fmt.Errorf("unknown operation %s", asked.Operation)
}

func (d *driver) metadata(ctx context.Context, topic string) (answer, error) {
	seen, err := d.admin.Metadata(ctx, topic)
	if err != nil {
		return answer{}, err
	}
	found := seen.Topics[topic]
	if found.Err != nil {
		return answer{}, found.Err
	}
	partitions := int32(len(found.Partitions))
	told := answer{Partitions: &partitions}
	for _, b := range seen.Brokers {
		told.Brokers = append(told.Brokers, broker{ID: b.NodeID, Host: b.Host, Port: b.Port})
	}
	return told, nil
}

func (d *driver) topicConfig(ctx context.Context, topic, name string) (answer, error) {
	resources, err := d.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return answer{}, err
	}
	resource, err := resources.On(topic, nil)
	if err != nil {
		return answer{}, err
	}
	for _, config := range resource.Configs {
		if config.Key == name {
			return answer{Value: config.Value}, resource.Err
		}
	}
	return answer{}, fmt.Errorf("no config %s", name)
}

func (d *driver) producer(settings producer) (*kgo.Client, error) {
	if found, ok := d.producers[settings]; ok {
		return found, nil
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(d.bootstrap...),
		kgo.ProducerBatchCompression(codecs[settings.Compression]),
		kgo.AllowAutoTopicCreation(),
		kgo.RecordPartitioner(chosen{}),
		// After a broken connection the client waits this long before it looks for the leader again.
		kgo.MetadataMinAge(250 * time.Millisecond),
	}
	if !settings.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	if settings.BatchRecords > 0 {
		// Batches are bounded by bytes here; the client takes no less.
		size := max(512, int32(settings.BatchRecords)*20)
		options = append(options, kgo.ProducerBatchMaxBytes(size), kgo.ProducerLinger(0))
	}
	if settings.RequestBytes > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(settings.RequestBytes))
	}
	client, err := kgo.NewClient(options...)
	d.producers[settings] = client
	return client, err
}

func (d *driver) produce(ctx context.Context, asked request) (answer, error) {
	var records []*kgo.Record
	for _, given := range asked.Records {
		sent := &kgo.Record{Topic: asked.Topic, Key: given.Key.Bytes, Value: given.Value.Bytes, Partition: -1}
		if given.Partition != nil {
			sent.Partition = *given.Partition
		}
		if given.Timestamp != nil {
			sent.Timestamp = time.UnixMilli(*given.Timestamp)
		}
		for _, h := range given.Headers {
			sent.Headers = append(sent.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value.Bytes})
		}
		records = append(records, sent)
	}
	return d.send(ctx, asked.Producer, records)
}

func (d *driver) produceFile(ctx context.Context, asked request) (answer, error) {
	values, err := conversation.ReadValues(asked.File)
	if err != nil {
		return answer{}, err
	}
	var records []*kgo.Record
	for _, value := range values {
		records = append(records, &kgo.Record{Topic: asked.Topic, Value: value})
	}
	return d.send(ctx, asked.Producer, records)
}

func (d *driver) send(ctx context.Context, settings producer, records []*kgo.Record) (answer, error) {
	client, err := d.producer(settings)
	if err != nil {
		return answer{}, err
	}
	count := len(records)
	return answer{Count: &count}, client.ProduceSync(ctx, records...).FirstErr()
}

// place is where a position lies; a time after the last record is the end.
func (d *driver) place(ctx context.Context, asked request) (int64, error) {
	at := asked.At()
	if at.Offset != nil {
		return *at.Offset, nil
	}
	var listed kadm.ListedOffsets
	var err error
	switch {
	case at.Time != nil:
		listed, err = d.admin.ListOffsetsAfterMilli(ctx, *at.Time, asked.Topic)
	case at.Name == "end":
		listed, err = d.admin.ListEndOffsets(ctx, asked.Topic)
	default:
		listed, err = d.admin.ListStartOffsets(ctx, asked.Topic)
	}
	return listed[asked.Topic][asked.Partition].Offset, errors.Join(err, listed.Error())
}

// offset is a position as this client's consumer is told it.
func offset(at conversation.Place) kgo.Offset {
	switch {
	case at.Offset != nil:
		return kgo.NewOffset().At(*at.Offset)
	case at.Time != nil:
		return kgo.NewOffset().AfterMilli(*at.Time)
	case at.Name == "end":
		return kgo.NewOffset().AtEnd()
	}
	return kgo.NewOffset().AtStart()
}

func (d *driver) consume(ctx context.Context, asked request) (answer, error) {
	var told answer
	err := d.read(ctx, asked, offset(asked.At()), func(r *kgo.Record) error {
		told.Records = append(told.Records, shown(r))
		return nil
	})
	return told, err
}

func (d *driver) consumeFile(ctx context.Context, asked request) (answer, error) {
	err := conversation.WriteValues(asked.File, func(use func([]byte) error) error {
		return d.read(ctx, asked, kgo.NewOffset().AtStart(), func(r *kgo.Record) error { return use(r.Value) })
	})
	return answer{Count: &asked.Count}, err
}

// read gives the next asked.Count records of a partition to use.
func (d *driver) read(ctx context.Context, asked request, from kgo.Offset, use func(*kgo.Record) error) error {
	reader, err := kgo.NewClient(
		kgo.SeedBrokers(d.bootstrap...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{asked.Topic: {asked.Partition: from}}),
	)
	if err != nil {
		return err
	}
	defer reader.Close()
	left := asked.Count
	for left > 0 {
		fetches := reader.PollRecords(ctx, left)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("%d records are missing: %w", left, err)
		}
		for _, failed := range fetches.Errors() {
			return failed.Err
		}
		for _, r := range fetches.Records() {
			left--
			if err := use(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// member is a consumer of a group; the client rebalances on its own.
type member struct {
	client *kgo.Client
	share  conversation.Share
}

// join becomes a member.
func (d *driver) join(asked request, more ...kgo.Opt) error {
	m := &member{}
	d.member = m
	note := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.share.Change(sign * len(partitions[asked.Topic]))
		}
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(d.bootstrap...), kgo.ConsumerGroup(asked.Group), kgo.ConsumeTopics(asked.Topic),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(note(1)), kgo.OnPartitionsRevoked(note(-1)), kgo.OnPartitionsLost(note(-1)),
	}
	client, err := kgo.NewClient(append(options, more...)...)
	m.client = client
	return err
}

func (m *member) take(ctx context.Context, count int) (answer, error) {
	var told answer
	for len(told.Records) < count {
		fetches := m.client.PollRecords(ctx, count-len(told.Records))
		if err := fetches.Err0(); err != nil {
			return told, fmt.Errorf("%d records instead of %d: %w", len(told.Records), count, err)
		}
		for _, r := range fetches.Records() {
			told.Records = append(told.Records, shown(r))
		}
	}
	return told, nil
}

func shown(r *kgo.Record) record {
	timestamp, stamped := r.Timestamp.UnixMilli(), "producer"
	if r.Attrs.TimestampType() == 1 {
		stamped = "broker"
	}
	told := record{
		Partition: &r.Partition, Offset: &r.Offset, Timestamp: &timestamp, StampedBy: &stamped,
		Key: hexed{Bytes: r.Key}, Value: hexed{Bytes: r.Value}, Headers: []header{},
	}
	for _, h := range r.Headers {
		told.Headers = append(told.Headers, header{Name: h.Key, Value: hexed{Bytes: h.Value}})
	}
	return told
}
