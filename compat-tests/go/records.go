package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
)

// chosen is the client's own partitioner, but for records that name their partition.
type chosen struct{}

func (chosen) ForTopic(topic string) kgo.TopicPartitioner {
	return &chosenForTopic{kgo.StickyKeyPartitioner(nil).ForTopic(topic)}
}

type chosenForTopic struct{ own kgo.TopicPartitioner }

func (c *chosenForTopic) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || c.own.RequiresConsistency(r)
}

func (c *chosenForTopic) Partition(r *kgo.Record, partitions int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return c.own.Partition(r, partitions)
}

// readValues reads a file of values: four bytes of length, big endian, and the bytes, each.
func readValues(path string) ([][]byte, error) {
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

func writeValue(values *bufio.Writer, value []byte) error {
	if err := binary.Write(values, binary.BigEndian, uint32(len(value))); err != nil {
		return err
	}
	_, err := values.Write(value)
	return err
}
