// Performs operations with kafka-go: one line of JSON in, one line of JSON out. The operations and answers are described in
// src/operation.rs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"streamhouse/compat-tests/conversation"
)

// largest is how much a fetch may bring: the largest record and some more.
const largest = 16 << 20

type (
	answer  = conversation.Answer
	record  = conversation.Record
	request = conversation.Request
)

type driver struct {
	bootstrap []string
	producers map[conversation.Producer]*kafka.Writer
	member    *member
}

func main() {
	d := &driver{strings.Split(os.Args[1], ","), map[conversation.Producer]*kafka.Writer{}, nil}
	conversation.Serve(d.perform, code)
}

// code is Kafka's, where this client tells one.
func code(err error) *int16 {
	var several kafka.WriteErrors
	if errors.As(err, &several) {
		for _, each := range several {
			if each != nil {
				err = each
				break
			}
		}
	}
	var told kafka.Error
	if errors.As(err, &told) {
		number := int16(told)
		return &number
	}
	return nil
}

func (d *driver) perform(ctx context.Context, asked request) (answer, error) {
	switch asked.Operation {
	case "metadata", "create_topic", "delete_topic", "topic_config", "create_partitions", "alter_config", "groups",
		"delete_group":
		return d.administer(ctx, asked)
	case "produce", "produce_file":
		return d.produce(ctx, asked)
	case "seek":
		offset, err := d.place(ctx, asked)
		return answer{Offset: &offset}, err
	case "consume":
		var told answer
		err := d.read(ctx, asked, func(m kafka.Message) error {
			told.Records = append(told.Records, shown(m))
			return nil
		})
		return told, err
	case "consume_file":
		asked.Position = []byte(`"beginning"`)
		err := conversation.WriteValues(asked.File, func(use func([]byte) error) error {
			return d.read(ctx, asked, func(m kafka.Message) error { return use(m.Value) })
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
		return answer{}, d.member.commit(ctx)
	case "leave":
		return answer{}, d.member.leave()
	}
	return answer{}, fmt.Errorf("unknown operation %s", asked.Operation)
}

func (d *driver) administer(ctx context.Context, asked request) (answer, error) {
	// Its answers about topics come from what it knows, so it must not know anything yet.
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(d.bootstrap...), Transport: transport}
	switch asked.Operation {
	case "create_topic":
		topic := kafka.TopicConfig{Topic: asked.Topic, NumPartitions: int(asked.Partitions), ReplicationFactor: 1}
		for name, value := range asked.Configs {
			topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: *value})
		}
		told, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
		if err != nil {
			return answer{}, err
		}
		return answer{}, told.Errors[asked.Topic]
	case "delete_topic":
		told, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{asked.Topic}})
		if err != nil {
			return answer{}, err
		}
		return answer{}, told.Errors[asked.Topic]
	case "topic_config":
		return topicConfig(ctx, client, asked)
	case "create_partitions", "alter_config":
		return answer{}, alter(ctx, client, asked)
	case "groups":
		told, err := client.ListGroups(ctx, &kafka.ListGroupsRequest{})
		if err != nil {
			return answer{}, err
		}
		var groups []string
		for _, group := range told.Groups {
			groups = append(groups, group.GroupID)
		}
		return answer{Groups: groups}, told.Error
	case "delete_group":
		told, err := client.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{asked.Group}})
		if err != nil {
			return answer{}, err
		}
		return answer{}, told.Errors[asked.Group]
	}
	seen, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{asked.Topic}})
	if err != nil {
		return answer{}, err
	}
	if seen.Topics[0].Error != nil {
		return answer{}, seen.Topics[0].Error
	}
	partitions := int32(len(seen.Topics[0].Partitions))
	told := answer{Partitions: &partitions}
	for _, b := range seen.Brokers {
		told.Brokers = append(told.Brokers, conversation.Broker{ID: int32(b.ID), Host: b.Host, Port: int32(b.Port)})
	}
	return told, nil
}

func alter(ctx context.Context, client *kafka.Client, asked request) error {
	if asked.Operation == "create_partitions" {
		wanted := kafka.TopicPartitionsConfig{Name: asked.Topic, Count: asked.Partitions}
		told, err := client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
			Topics: []kafka.TopicPartitionsConfig{wanted},
		})
		if err != nil {
			return err
		}
		return told.Errors[asked.Topic]
	}
	config := kafka.IncrementalAlterConfigsRequestConfig{Name: asked.Name, Value: asked.Value}
	resource := kafka.IncrementalAlterConfigsRequestResource{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: asked.Topic,
		Configs: []kafka.IncrementalAlterConfigsRequestConfig{config},
	}
	told, err := client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{resource},
	})
	if err != nil {
		return err
	}
	return told.Resources[0].Error
}

func topicConfig(ctx context.Context, client *kafka.Client, asked request) (answer, error) {
	resource := kafka.DescribeConfigRequestResource{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: asked.Topic, ConfigNames: []string{asked.Name},
	}
	told, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{resource},
	})
	if err != nil {
		return answer{}, err
	}
	found := told.Resources[0]
	if found.Error != nil {
		return answer{}, found.Error
	}
	if len(found.ConfigEntries) != 1 {
		return answer{}, fmt.Errorf("%d configs %s", len(found.ConfigEntries), asked.Name)
	}
	return answer{Value: &found.ConfigEntries[0].ConfigValue}, nil
}

// chosen is a partitioner of the client's own, but for records that name their partition.
type chosen struct{ own kafka.Balancer }

func (c chosen) Balance(m kafka.Message, partitions ...int) int {
	if at, ok := m.WriterData.(*int32); ok && at != nil {
		return int(*at)
	}
	return c.own.Balance(m, partitions...)
}

func (d *driver) producer(settings conversation.Producer) *kafka.Writer {
	if found, ok := d.producers[settings]; ok {
		return found
	}
	codecs := map[string]kafka.Compression{
		"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
	}
	made := &kafka.Writer{
		Addr:         kafka.TCP(d.bootstrap...),
		Balancer:     chosen{&kafka.Hash{}},
		RequiredAcks: kafka.RequireAll,
		Compression:  codecs[settings.Compression],
		BatchSize:    settings.BatchRecords,
		BatchBytes:   int64(settings.RequestBytes),
		// It waits a second for more records otherwise.
		BatchTimeout:           5 * time.Millisecond,
		AllowAutoTopicCreation: true,
		// A broker that was killed takes longer than its own ten tries.
		MaxAttempts: 100,
		Transport:   &kafka.Transport{},
	}
	d.producers[settings] = made
	return made
}

func (d *driver) produce(ctx context.Context, asked request) (answer, error) {
	var sent []kafka.Message
	for _, given := range asked.Records {
		m := kafka.Message{
			Topic: asked.Topic, Key: given.Key.Bytes, Value: given.Value.Bytes, WriterData: given.Partition,
		}
		if given.Timestamp != nil {
			m.Time = time.UnixMilli(*given.Timestamp)
		}
		for _, h := range given.Headers {
			m.Headers = append(m.Headers, kafka.Header{Key: h.Name, Value: h.Value.Bytes})
		}
		sent = append(sent, m)
	}
	if asked.File != "" {
		values, err := conversation.ReadValues(asked.File)
		if err != nil {
			return answer{}, err
		}
		for _, value := range values {
			sent = append(sent, kafka.Message{Topic: asked.Topic, Value: value, WriterData: new(int32)})
		}
	}
	count := len(sent)
	return answer{Count: &count}, d.producer(asked.Producer).WriteMessages(ctx, sent...)
}

// place is where a position lies; a time after the last record is what the client makes of it.
func (d *driver) place(ctx context.Context, asked request) (int64, error) {
	at := asked.At()
	if at.Offset != nil {
		return *at.Offset, nil
	}
	conn, err := kafka.DialLeader(ctx, "tcp", d.bootstrap[0], asked.Topic, int(asked.Partition))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	switch {
	case at.Time != nil:
		return conn.ReadOffset(time.UnixMilli(*at.Time))
	case at.Name == "end":
		return conn.ReadLastOffset()
	}
	return conn.ReadFirstOffset()
}

// read gives the next asked.Count records of a partition to use.
func (d *driver) read(ctx context.Context, asked request, use func(kafka.Message) error) error {
	from, err := d.place(ctx, asked)
	if err != nil {
		return err
	}
	reader := partition(d.bootstrap, asked.Topic, int(asked.Partition))
	defer reader.Close()
	if err := reader.SetOffset(from); err != nil {
		return err
	}
	for left := asked.Count; left > 0; left-- {
		m, err := reader.ReadMessage(ctx)
		if err != nil {
			return fmt.Errorf("%d records are missing: %w", left, err)
		}
		if err := use(m); err != nil {
			return err
		}
	}
	return nil
}

// partition reads one partition.
func partition(bootstrap []string, topic string, number int) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{
		Brokers: bootstrap, Topic: topic, Partition: number, MaxBytes: largest, MaxWait: 300 * time.Millisecond,
	})
}

func shown(m kafka.Message) record {
	// This client does not show who set the timestamp.
	number, timestamp := int32(m.Partition), m.Time.UnixMilli()
	told := record{
		Partition: &number, Offset: &m.Offset, Timestamp: &timestamp,
		Key: conversation.Hexed{Bytes: m.Key}, Value: conversation.Hexed{Bytes: m.Value}, Headers: []conversation.Header{},
	}
	for _, h := range m.Headers {
		told.Headers = append(told.Headers, conversation.Header{Name: h.Key, Value: conversation.Hexed{Bytes: h.Value}})
	}
	return told
}
