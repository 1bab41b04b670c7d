// Performs operations with sarama: one line of JSON in, one line of JSON out. The operations and answers are described in
// src/operation.rs.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"streamhouse/compat-tests/conversation"
)

type (
	answer  = conversation.Answer
	record  = conversation.Record
	request = conversation.Request
)

type driver struct {
	bootstrap []string
	producers map[conversation.Producer]sarama.SyncProducer
	member    *member
}

func main() {
	d := &driver{strings.Split(os.Args[1], ","), map[conversation.Producer]sarama.SyncProducer{}, nil}
	conversation.Serve(d.perform, code)
}

// code is Kafka's, where this client tells one.
func code(err error) *int16 {
	var several sarama.ProducerErrors
	if errors.As(err, &several) && len(several) > 0 {
		err = several[0].Err
	}
	var ofTopic *sarama.TopicError
	if errors.As(err, &ofTopic) {
		err = ofTopic.Err
	}
	var ofPartition *sarama.TopicPartitionError
	if errors.As(err, &ofPartition) {
		err = ofPartition.Err
	}
	var kafka sarama.KError
	if errors.As(err, &kafka) {
		told := int16(kafka)
		return &told
	}
	return nil
}

// config is what every client has in common.
func config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	return c
}

func (d *driver) perform(ctx context.Context, asked request) (answer, error) {
	switch asked.Operation {
	case "metadata", "create_topic", "delete_topic", "topic_config", "create_partitions", "alter_config",
		"delete_records", "groups", "delete_group":
		return d.administer(asked)
	case "produce", "produce_file":
		return d.produce(asked)
	case "seek":
		offset, err := d.place(asked)
		return answer{Offset: &offset}, err
	case "consume":
		var told answer
		err := d.read(ctx, asked, func(m *sarama.ConsumerMessage) error {
			told.Records = append(told.Records, shown(m))
			return nil
		})
		return told, err
	case "consume_file":
		asked.Position = []byte(`"beginning"`)
		err := conversation.WriteValues(asked.File, func(use func([]byte) error) error {
			return d.read(ctx, asked, func(m *sarama.ConsumerMessage) error { return use(m.Value) })
		})
		return answer{Count: &asked.Count}, err
	case "join":
		joined, err := join(d.bootstrap, asked.Group, asked.Topic)
		d.member = joined
		return answer{}, err
	case "assigned":
		return answer{}, d.member.share.WaitFor(ctx, int(asked.Partitions))
	case "take":
		return d.member.take(ctx, asked.Count)
	case "commit":
		return answer{}, d.member.commit()
	case "leave":
		return answer{}, d.member.leave()
	}
	return answer{}, fmt.Errorf("unknown operation %s", asked.Operation)
}

func (d *driver) administer(asked request) (answer, error) {
	c := config()
	c.Metadata.AllowAutoTopicCreation = false
	admin, err := sarama.NewClusterAdmin(d.bootstrap, c)
	if err != nil {
		return answer{}, err
	}
	defer admin.Close()
	switch asked.Operation {
	case "create_topic":
		detail := &sarama.TopicDetail{NumPartitions: asked.Partitions, ReplicationFactor: 1, ConfigEntries: asked.Configs}
		return answer{}, admin.CreateTopic(asked.Topic, detail, false)
	case "delete_topic":
		return answer{}, admin.DeleteTopic(asked.Topic)
	case "topic_config":
		resource := sarama.ConfigResource{Type: sarama.TopicResource, Name: asked.Topic, ConfigNames: []string{asked.Name}}
		configs, err := admin.DescribeConfig(resource)
		if err != nil {
			return answer{}, err
		}
		if len(configs) != 1 {
			return answer{}, fmt.Errorf("%d configs %s", len(configs), asked.Name)
		}
		return answer{Value: &configs[0].Value}, nil
	case "create_partitions":
		return answer{}, admin.CreatePartitions(asked.Topic, asked.Partitions, nil, false)
	case "alter_config":
		set := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &asked.Value}
		entries := map[string]sarama.IncrementalAlterConfigsEntry{asked.Name: set}
		return answer{}, admin.IncrementalAlterConfig(sarama.TopicResource, asked.Topic, entries, false)
	case "delete_records":
		return answer{}, admin.DeleteRecords(asked.Topic, map[int32]int64{0: asked.Before})
	case "groups":
		listed, err := admin.ListConsumerGroups()
		return answer{Groups: slices.Collect(maps.Keys(listed))}, err
	case "delete_group":
		return answer{}, admin.DeleteConsumerGroup(asked.Group)
	}
	return metadata(admin, asked.Topic)
}

func metadata(admin sarama.ClusterAdmin, topic string) (answer, error) {
	topics, err := admin.DescribeTopics([]string{topic})
	if err != nil {
		return answer{}, err
	}
	if topics[0].Err != sarama.ErrNoError {
		return answer{}, topics[0].Err
	}
	brokers, _, err := admin.DescribeCluster()
	if err != nil {
		return answer{}, err
	}
	partitions := int32(len(topics[0].Partitions))
	told := answer{Partitions: &partitions}
	for _, b := range brokers {
		host, port, err := net.SplitHostPort(b.Addr())
		if err != nil {
			return answer{}, err
		}
		number, err := strconv.ParseInt(port, 10, 32)
		if err != nil {
			return answer{}, err
		}
		told.Brokers = append(told.Brokers, conversation.Broker{ID: b.ID(), Host: host, Port: int32(number)})
	}
	return told, nil
}

// chosen is the client's own partitioner, but for records that name their partition.
type chosen struct{ sarama.Partitioner }

func (c chosen) Partition(m *sarama.ProducerMessage, partitions int32) (int32, error) {
	if at, ok := m.Metadata.(*int32); ok && at != nil {
		return *at, nil
	}
	return c.Partitioner.Partition(m, partitions)
}

func (d *driver) producer(settings conversation.Producer) (sarama.SyncProducer, error) {
	if found, ok := d.producers[settings]; ok {
		return found, nil
	}
	codecs := map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}
	c := config()
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Compression = codecs[settings.Compression]
	c.Producer.Return.Successes = true
	c.Producer.Partitioner = func(topic string) sarama.Partitioner { return chosen{sarama.NewHashPartitioner(topic)} }
	// A broker that was killed takes longer than the client's own three tries.
	c.Producer.Retry.Max = 100
	if settings.Idempotent {
		c.Producer.Idempotent = true
		c.Net.MaxOpenRequests = 1
	}
	c.Producer.Flush.MaxMessages = settings.BatchRecords
	if settings.RequestBytes > 0 {
		c.Producer.MaxMessageBytes = int(settings.RequestBytes)
	}
	made, err := sarama.NewSyncProducer(d.bootstrap, c)
	if err == nil {
		d.producers[settings] = made
	}
	return made, err
}

// encoder keeps null apart from empty.
func encoder(bytes []byte) sarama.Encoder {
	if bytes == nil {
		return nil
	}
	return sarama.ByteEncoder(bytes)
}

func (d *driver) produce(asked request) (answer, error) {
	sender, err := d.producer(asked.Producer)
	if err != nil {
		return answer{}, err
	}
	var sent []*sarama.ProducerMessage
	for _, given := range asked.Records {
		m := &sarama.ProducerMessage{
			Topic: asked.Topic, Key: encoder(given.Key.Bytes), Value: encoder(given.Value.Bytes), Metadata: given.Partition,
		}
		if given.Timestamp != nil {
			m.Timestamp = time.UnixMilli(*given.Timestamp)
		}
		for _, h := range given.Headers {
			m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h.Name), Value: h.Value.Bytes})
		}
		sent = append(sent, m)
	}
	if asked.File != "" {
		values, err := conversation.ReadValues(asked.File)
		if err != nil {
			return answer{}, err
		}
		for _, value := range values {
			sent = append(sent, &sarama.ProducerMessage{Topic: asked.Topic, Value: encoder(value), Metadata: new(int32)})
		}
	}
	count := len(sent)
	return answer{Count: &count}, sender.SendMessages(sent)
}

// place is where a position lies; a time after the last record is -1.
func (d *driver) place(asked request) (int64, error) {
	at := asked.At()
	if at.Offset != nil {
		return *at.Offset, nil
	}
	when := sarama.OffsetOldest
	if at.Name == "end" {
		when = sarama.OffsetNewest
	}
	if at.Time != nil {
		when = *at.Time
	}
	client, err := sarama.NewClient(d.bootstrap, config())
	if err != nil {
		return 0, err
	}
	defer client.Close()
	return client.GetOffset(asked.Topic, asked.Partition, when)
}

// read gives the next asked.Count records of a partition to use.
func (d *driver) read(ctx context.Context, asked request, use func(*sarama.ConsumerMessage) error) error {
	from, err := d.place(asked)
	if err != nil {
		return err
	}
	c := config()
	c.Consumer.Return.Errors = true
	reader, err := sarama.NewConsumer(d.bootstrap, c)
	if err != nil {
		return err
	}
	defer reader.Close()
	partition, err := reader.ConsumePartition(asked.Topic, asked.Partition, from)
	if err != nil {
		return err
	}
	// It closes while nobody reads what it has read ahead.
	defer partition.AsyncClose()
	for left := asked.Count; left > 0; left-- {
		select {
		case m := <-partition.Messages():
			if err := use(m); err != nil {
				return err
			}
		case failed := <-partition.Errors():
			return failed
		case <-ctx.Done():
			return fmt.Errorf("%d records are missing: %w", left, ctx.Err())
		}
	}
	return nil
}

func shown(m *sarama.ConsumerMessage) record {
	// This client does not show who set the timestamp.
	timestamp := m.Timestamp.UnixMilli()
	told := record{
		Partition: &m.Partition, Offset: &m.Offset, Timestamp: &timestamp,
		Key: conversation.Hexed{Bytes: m.Key}, Value: conversation.Hexed{Bytes: m.Value}, Headers: []conversation.Header{},
	}
	for _, h := range m.Headers {
		told.Headers = append(told.Headers, conversation.Header{Name: string(h.Key), Value: conversation.Hexed{Bytes: h.Value}})
	}
	return told
}
