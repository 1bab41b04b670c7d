package main

import "github.com/twmb/franz-go/pkg/kgo"

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
