// Performs operations with franz-go: one line of JSON in, one line of JSON out. The operations and answers are described in
// src/operation.rs.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const deadline = 60 * time.Second

// hexed is bytes that may be null.
type hexed struct{ bytes []byte }

func (h hexed) MarshalJSON() ([]byte, error) {
	if h.bytes == nil {
		return []byte("null"), nil
	}
	return json.Marshal(hex.EncodeToString(h.bytes))
}

func (h *hexed) UnmarshalJSON(text []byte) error {
	var digits *string
	if err := json.Unmarshal(text, &digits); err != nil || digits == nil {
		return err
	}
	decoded, err := hex.DecodeString(*digits)
	// An empty value is not null.
	h.bytes = append([]byte{}, decoded...)
	return err
}

type header struct {
	Name  string `json:"name"`
	Value hexed  `json:"value"`
}

type record struct {
	Partition *int32   `json:"partition"`
	Offset    *int64   `json:"offset"`
	Timestamp *int64   `json:"timestamp"`
	StampedBy *string  `json:"stamped_by"`
	Key       hexed    `json:"key"`
	Value     hexed    `json:"value"`
	Headers   []header `json:"headers"`
}

type producer struct {
	Compression  string `json:"compression"`
	Idempotent   bool   `json:"idempotent"`
	BatchRecords int    `json:"batch_records"`
	RequestBytes int32  `json:"request_bytes"`
}

type request struct {
	Operation  string             `json:"operation"`
	Topic      string             `json:"topic"`
	Partitions int32              `json:"partitions"`
	Configs    map[string]*string `json:"configs"`
	Name       string             `json:"name"`
	Records    []record           `json:"records"`
	Producer   producer           `json:"producer"`
	File       string             `json:"file"`
	Partition  int32              `json:"partition"`
	Position   json.RawMessage    `json:"position"`
	Count      int                `json:"count"`
	Group      string             `json:"group"`
}

type broker struct {
	ID   int32  `json:"id"`
	Host string `json:"host"`
	Port int32  `json:"port"`
}

type answer struct {
	Brokers    []broker `json:"brokers,omitempty"`
	Partitions *int32   `json:"partitions,omitempty"`
	Value      *string  `json:"value,omitempty"`
	Offset     *int64   `json:"offset,omitempty"`
	Count      *int     `json:"count,omitempty"`
	Records    []record `json:"records,omitempty"`
}

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
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		told, err := d.perform(ctx, asked)
		cancel()
		reply := map[string]any{"answer": told}
		if err != nil {
			reply = map[string]any{"refusal": refusal(err)}
		}
		text, err := json.Marshal(reply)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(text))
	}
}

func refusal(err error) map[string]any {
	told := map[string]any{"text": err.Error(), "code": nil}
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		told["code"] = kafka.Code
	}
	return told
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
		joined, err := join(d.bootstrap, asked.Group, asked.Topic)
		d.member = joined
		return answer{}, err
	case "assigned":
		return answer{}, d.member.waitFor(ctx, int(asked.Partitions))
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
		told.Brokers = append(told.Brokers, broker{b.NodeID, b.Host, b.Port})
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
		sent := &kgo.Record{Topic: asked.Topic, Key: given.Key.bytes, Value: given.Value.bytes, Partition: -1}
		if given.Partition != nil {
			sent.Partition = *given.Partition
		}
		if given.Timestamp != nil {
			sent.Timestamp = time.UnixMilli(*given.Timestamp)
		}
		for _, h := range given.Headers {
			sent.Headers = append(sent.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value.bytes})
		}
		records = append(records, sent)
	}
	return d.send(ctx, asked.Producer, records)
}

func (d *driver) produceFile(ctx context.Context, asked request) (answer, error) {
	values, err := readValues(asked.File)
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
	var name string
	if json.Unmarshal(asked.Position, &name) == nil {
		list := d.admin.ListStartOffsets
		if name == "end" {
			list = d.admin.ListEndOffsets
		}
		listed, err := list(ctx, asked.Topic)
		return listed[asked.Topic][asked.Partition].Offset, errors.Join(err, listed.Error())
	}
	var position struct{ Offset, Time *int64 }
	if err := json.Unmarshal(asked.Position, &position); err != nil {
		return 0, err
	}
	if position.Offset != nil {
		return *position.Offset, nil
	}
	listed, err := d.admin.ListOffsetsAfterMilli(ctx, *position.Time, asked.Topic)
	return listed[asked.Topic][asked.Partition].Offset, errors.Join(err, listed.Error())
}

// offset is a position as this client's consumer is told it.
func offset(position json.RawMessage) kgo.Offset {
	var name string
	if json.Unmarshal(position, &name) == nil {
		if name == "end" {
			return kgo.NewOffset().AtEnd()
		}
		return kgo.NewOffset().AtStart()
	}
	var at struct{ Offset, Time *int64 }
	if err := json.Unmarshal(position, &at); err != nil {
		panic(err)
	}
	if at.Offset != nil {
		return kgo.NewOffset().At(*at.Offset)
	}
	return kgo.NewOffset().AfterMilli(*at.Time)
}

func (d *driver) consume(ctx context.Context, asked request) (answer, error) {
	var told answer
	err := d.read(ctx, asked, offset(asked.Position), func(r *kgo.Record) error {
		told.Records = append(told.Records, shown(r))
		return nil
	})
	return told, err
}

func (d *driver) consumeFile(ctx context.Context, asked request) (answer, error) {
	file, err := os.Create(asked.File)
	if err != nil {
		return answer{}, err
	}
	values := bufio.NewWriter(file)
	err = d.read(ctx, asked, kgo.NewOffset().AtStart(), func(r *kgo.Record) error {
		return writeValue(values, r.Value)
	})
	return answer{Count: &asked.Count}, errors.Join(err, values.Flush(), file.Close())
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
	client  *kgo.Client
	waiting []*kgo.Record
	mutex   sync.Mutex
	share   int
	changed chan struct{}
}

func join(bootstrap []string, group, topic string) (*member, error) {
	m := &member{changed: make(chan struct{}, 1)}
	note := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.mutex.Lock()
			m.share += sign * len(partitions[topic])
			m.mutex.Unlock()
			select {
			case m.changed <- struct{}{}:
			default:
			}
		}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(note(1)), kgo.OnPartitionsRevoked(note(-1)), kgo.OnPartitionsLost(note(-1)),
	)
	m.client = client
	return m, err
}

func (m *member) waitFor(ctx context.Context, partitions int) error {
	for {
		m.mutex.Lock()
		share := m.share
		m.mutex.Unlock()
		if share == partitions {
			return nil
		}
		select {
		case <-m.changed:
		case <-ctx.Done():
			return fmt.Errorf("%d partitions instead of %d: %w", share, partitions, ctx.Err())
		}
	}
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
		Key: hexed{r.Key}, Value: hexed{r.Value}, Headers: []header{},
	}
	for _, h := range r.Headers {
		told.Headers = append(told.Headers, header{h.Key, hexed{h.Value}})
	}
	return told
}
