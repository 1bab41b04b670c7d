// Package conversation is how a driver talks with the harness: one line of JSON in, one line of JSON out. The operations and
// answers are described in src/operation.rs.
package conversation

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const deadline = 60 * time.Second

// Hexed is bytes that may be null.
type Hexed struct{ Bytes []byte }

func (h Hexed) MarshalJSON() ([]byte, error) {
	if h.Bytes == nil {
		return []byte("null"), nil
	}
	return json.Marshal(hex.EncodeToString(h.Bytes))
}

func (h *Hexed) UnmarshalJSON(text []byte) error {
	var digits *string
	if err := json.Unmarshal(text, &digits); err != nil || digits == nil {
		return err
	}
	decoded, err := hex.DecodeString(*digits)
	// An empty value is not null.
	h.Bytes = append([]byte{}, decoded...)
	return err
}

type Header struct {
	Name  string `json:"name"`
	Value Hexed  `json:"value"`
}

type Record struct {
	Partition *int32   `json:"partition"`
	Offset    *int64   `json:"offset"`
	Timestamp *int64   `json:"timestamp"`
	StampedBy *string  `json:"stamped_by"`
	Key       Hexed    `json:"key"`
	Value     Hexed    `json:"value"`
	Headers   []Header `json:"headers"`
}

type Producer struct {
	Compression  string `json:"compression"`
	Idempotent   bool   `json:"idempotent"`
	BatchRecords int    `json:"batch_records"`
	RequestBytes int32  `json:"request_bytes"`
}

type Request struct {
	Operation  string             `json:"operation"`
	Topic      string             `json:"topic"`
	Partitions int32              `json:"partitions"`
	Configs    map[string]*string `json:"configs"`
	Name       string             `json:"name"`
	Records    []Record           `json:"records"`
	Producer   Producer           `json:"producer"`
	File       string             `json:"file"`
	Partition  int32              `json:"partition"`
	Position   json.RawMessage    `json:"position"`
	Count      int                `json:"count"`
	Group      string             `json:"group"`
	Value      string             `json:"value"`
	Before     int64              `json:"before"`
}

type Broker struct {
	ID   int32  `json:"id"`
	Host string `json:"host"`
	Port int32  `json:"port"`
}

type Answer struct {
	Brokers    []Broker `json:"brokers,omitempty"`
	Partitions *int32   `json:"partitions,omitempty"`
	Value      *string  `json:"value,omitempty"`
	Offset     *int64   `json:"offset,omitempty"`
	Count      *int     `json:"count,omitempty"`
	Records    []Record `json:"records,omitempty"`
	Groups     []string `json:"groups,omitempty"`
}

// Place is a position in a partition: a name ("beginning", "end"), an offset, or a time in milliseconds since 1970.
type Place struct {
	Name         string
	Offset, Time *int64
}

// At is where an operation is to begin.
func (r Request) At() Place {
	var place Place
	if json.Unmarshal(r.Position, &place.Name) == nil {
		return place
	}
	if err := json.Unmarshal(r.Position, &place); err != nil {
		panic(err)
	}
	return place
}

// Serve performs every operation that is asked for, until the input ends. code finds Kafka's code in an error.
func Serve(perform func(context.Context, Request) (Answer, error), code func(error) *int16) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var asked Request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		told, err := perform(ctx, asked)
		cancel()
		reply := map[string]any{"answer": told}
		if err != nil {
			reply = map[string]any{"refusal": map[string]any{"text": err.Error(), "code": code(err)}}
		}
		text, err := json.Marshal(reply)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(text))
	}
}

// ReadValues reads a file of values: four bytes of length, big endian, and the bytes, each.
func ReadValues(path string) ([][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var values [][]byte
	reader := bufio.NewReader(file)
	for {
		var length uint32
		if err := binary.Read(reader, binary.BigEndian, &length); errors.Is(err, io.EOF) {
			return values, nil
		} else if err != nil {
			return nil, err
		}
		value := make([]byte, length)
		if _, err := io.ReadFull(reader, value); err != nil {
			return nil, err
		}
		values = append(values, value)
	}
}

// WriteValues writes a file of values that read gives one by one.
func WriteValues(path string, read func(use func([]byte) error) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	values := bufio.NewWriter(file)
	err = read(func(value []byte) error {
		if err := binary.Write(values, binary.BigEndian, uint32(len(value))); err != nil {
			return err
		}
		_, err := values.Write(value)
		return err
	})
	return errors.Join(err, values.Flush(), file.Close())
}

// Share is how many partitions a member of a group has. The zero value has none.
type Share struct {
	mutex   sync.Mutex
	count   int
	changed chan struct{}
}

// Change adds partitions or takes them away.
func (s *Share) Change(by int) {
	s.mutex.Lock()
	s.count += by
	s.tell()
	s.mutex.Unlock()
}

// tell wakes who waits; the mutex is held.
func (s *Share) tell() {
	if s.changed != nil {
		close(s.changed)
	}
	s.changed = make(chan struct{})
}

// WaitFor waits until there are exactly so many partitions.
func (s *Share) WaitFor(ctx context.Context, partitions int) error {
	for {
		s.mutex.Lock()
		count := s.count
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mutex.Unlock()
		if count == partitions {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d partitions instead of %d: %w", count, partitions, ctx.Err())
		}
	}
}
