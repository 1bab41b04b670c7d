// Plays the parts of a history with franz-go: commands come in, events go out, one a line. The parts and the events are
// described in src/history/driver.rs and src/history/event.rs.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	request = 3 * time.Second
	// Commands of one part that wait; the harness sends fewer.
	waiting = 4096
)

var (
	topic, group string
	partitions   int
	settings     []kgo.Opt
	block        [1 << 18]byte
	output       sync.Mutex
)

func say(lines string) {
	output.Lock()
	defer output.Unlock()
	if _, err := os.Stdout.WriteString(lines); err != nil {
		os.Exit(1)
	}
}

func complain(name string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
}

func digest(r *kgo.Record) uint32 {
	sum := crc32.NewIEEE()
	part := func(data []byte) {
		length := uint32(len(data))
		if data == nil {
			length = 1<<32 - 1
		}
		// Neither write can fail.
		_ = binary.Write(sum, binary.BigEndian, length)
		_, _ = sum.Write(data)
	}
	part(r.Key)
	part(r.Value)
	for _, h := range r.Headers {
		part([]byte(h.Key))
		part(h.Value)
	}
	return sum.Sum32()
}

// named is the record that these bytes name: NAME.NUMBER; at their beginning.
func named(data []byte) string {
	head := string(data[:min(len(data), 64)])
	rest, ok := strings.CutPrefix(head, "h:")
	if end := strings.IndexByte(rest, ';'); ok && end > 0 {
		return strings.ReplaceAll(rest[:end], " ", "_")
	}
	return ""
}

func shown(name string, r *kgo.Record) string {
	record := named(r.Value)
	if record == "" {
		record = named(r.Key)
	}
	if record == "" {
		record = "-"
	}
	return fmt.Sprintf("%s read %d %d %s %08x %d\n", name, r.Partition, r.Offset, record, digest(r), r.Timestamp.UnixMilli())
}

func connect(options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(append([]kgo.Opt{}, settings...), options...)...)
	if err != nil {
		panic(err)
	}
	return client
}

// produce sends what it is told: NUMBER PARTITION BYTES SHAPE, and tells what became of it.
func produce(name, bootstrap string, commands chan []string) {
	client := connect(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProduceRequestTimeout(request),
	)
	for words := range commands {
		number, partition, size := integer(words[0]), integer(words[1]), integer(words[2])
		head := []byte(fmt.Sprintf("h:%s.%d;", name, number))
		filler := block[number&1023:]
		r := &kgo.Record{Topic: topic, Partition: int32(partition), Timestamp: time.UnixMilli(time.Now().UnixMilli())}
		switch words[3] {
		case "v":
			r.Value = append(head, filler[:max(0, size-len(head))]...)
		case "k":
			r.Key, r.Value = head, filler[:size]
		case "n":
			r.Key = head
		default:
			r.Key, r.Value = []byte{}, append(head, block[:size]...)
			r.Headers = []kgo.RecordHeader{{Key: "first", Value: []byte{}}, {Key: "second", Value: block[:number&255]}}
		}
		say(fmt.Sprintf("%s send %d %d %08x %d\n", name, number, partition, digest(r), r.Timestamp.UnixMilli()))
		client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
			if err != nil {
				complain(name, err)
				say(fmt.Sprintf("%s unknown %d\n", name, number))
				return
			}
			offset := strconv.FormatInt(r.Offset, 10)
			if r.Offset < 0 {
				offset = "-"
			}
			say(fmt.Sprintf("%s ack %d %d %s\n", name, number, r.Partition, offset))
		})
	}
}

// read follows every partition from its beginning; with ends, up to them.
func read(name string, ends []string) {
	from := map[int32]kgo.Offset{}
	left := map[int32]int64{}
	for p := range partitions {
		from[int32(p)] = kgo.NewOffset().At(0)
		say(fmt.Sprintf("%s assigned %d 0\n", name, p))
		if ends != nil {
			left[int32(p)] = int64(integer(ends[p]))
		}
	}
	whole := func(partition int32, next int64) {
		if end, ok := left[partition]; ok && next >= end {
			say(fmt.Sprintf("%s whole %d %d\n", name, partition, end))
			delete(left, partition)
		}
	}
	for p := range partitions {
		whole(int32(p), 0)
	}
	client := connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	for ends == nil || len(left) > 0 {
		lines := strings.Builder{}
		fetches := client.PollFetches(context.Background())
		for _, failed := range fetches.Errors() {
			complain(name, failed.Err)
			if errors.Is(failed.Err, kerr.OffsetOutOfRange) {
				say(name + " gone\n")
				client.Close()
				return
			}
		}
		last := map[int32]int64{}
		fetches.EachRecord(func(r *kgo.Record) {
			lines.WriteString(shown(name, r))
			last[r.Partition] = r.Offset
		})
		say(lines.String())
		for partition, offset := range last {
			whole(partition, offset+1)
		}
	}
	client.Close()
}

// watch asks for the ends of the partitions and the committed offsets of the group.
func watch(name string, commands chan []string) {
	admin := kadm.NewClient(connect())
	for words := range commands {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		var err error
		switch words[0] {
		case "ends":
			err = tellEnds(ctx, name, admin)
		default:
			err = tellCommitted(ctx, name, admin)
		}
		cancel()
		if err != nil {
			complain(name, err)
		}
		say(name + " done\n")
	}
}

func tellEnds(ctx context.Context, name string, admin *kadm.Client) error {
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	for p := range partitions {
		start, end := starts[topic][int32(p)], ends[topic][int32(p)]
		if start.Err != nil || end.Err != nil {
			return fmt.Errorf("partition %d: %v %v", p, start.Err, end.Err)
		}
		say(fmt.Sprintf("%s ends %d %d %d\n", name, p, start.Offset, end.Offset))
	}
	return nil
}

func tellCommitted(ctx context.Context, name string, admin *kadm.Client) error {
	told, err := admin.FetchOffsets(ctx, group)
	if err != nil {
		return err
	}
	for p := range partitions {
		offset := "-"
		if found, ok := told.Lookup(topic, int32(p)); ok {
			if found.Err != nil {
				return found.Err
			}
			if found.At >= 0 {
				offset = strconv.FormatInt(found.At, 10)
			}
		}
		say(fmt.Sprintf("%s committed %d %s\n", name, p, offset))
	}
	return nil
}

func integer(word string) int {
	number, err := strconv.Atoi(word)
	if err != nil {
		panic(err)
	}
	return number
}

func main() {
	bootstrap := os.Args[1]
	topic, partitions, group = os.Args[2], integer(os.Args[3]), os.Args[4]
	settings = []kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.RequestTimeoutOverhead(request), kgo.MetadataMinAge(250 * time.Millisecond)}
	for n := range block {
		block[n] = byte(n*31 + n>>8)
	}
	parts := map[string]chan []string{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		name, command := words[0], words[1]
		switch command {
		case "producer":
			parts[name] = make(chan []string, waiting)
			go produce(name, words[2], parts[name])
		case "reader":
			go read(name, nil)
		case "final":
			go read(name, words[2:])
		case "watcher":
			parts[name] = make(chan []string, waiting)
			go watch(name, parts[name])
		default:
			parts[name] <- words[2:]
		}
	}
}
