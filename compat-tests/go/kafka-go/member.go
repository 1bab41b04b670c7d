package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"streamhouse/compat-tests/conversation"
)

// member is a consumer of a group: a generation after the other, with a reader for each partition in it.
type member struct {
	bootstrap []string
	topic     string
	group     *kafka.ConsumerGroup
	cancel    context.CancelFunc
	ended     chan error
	share     conversation.Share
	arrived   chan kafka.Message
	// next is the offset behind what was taken, by partition.
	next map[int]int64

	mutex      sync.Mutex
	generation *kafka.Generation
	// renewed is closed when another generation comes.
	renewed chan struct{}
}

func join(bootstrap []string, group, topic string) (*member, error) {
	joined, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: bootstrap, Topics: []string{topic}, StartOffset: kafka.FirstOffset,
		// Heartbeats are how a member hears that others came.
		HeartbeatInterval: 300 * time.Millisecond,
		JoinGroupBackoff:  300 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{
		bootstrap: bootstrap, topic: topic, group: joined, cancel: cancel, ended: make(chan error, 1),
		arrived: make(chan kafka.Message), next: map[int]int64{}, renewed: make(chan struct{}),
	}
	go func() { m.ended <- m.consume(ctx) }()
	return m, nil
}

// consume goes from generation to generation, as this client's users do.
func (m *member) consume(ctx context.Context) error {
	for {
		generation, err := m.group.Next(ctx)
		if errors.Is(err, context.Canceled) || errors.Is(err, kafka.ErrGroupClosed) {
			return nil
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "next generation:", err)
			continue
		}
		m.mutex.Lock()
		m.generation = generation
		close(m.renewed)
		m.renewed = make(chan struct{})
		m.mutex.Unlock()
		for _, assigned := range generation.Assignments[m.topic] {
			m.share.Change(1)
			generation.Start(func(ctx context.Context) {
				defer m.share.Change(-1)
				if err := m.follow(ctx, assigned); ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "reader:", err)
				}
			})
		}
	}
}

// follow hands on the records of a partition until the generation ends.
func (m *member) follow(ctx context.Context, assigned kafka.PartitionAssignment) error {
	reader := partition(m.bootstrap, m.topic, assigned.ID)
	defer reader.Close()
	if err := reader.SetOffset(assigned.Offset); err != nil {
		return err
	}
	for {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			return err
		}
		select {
		case m.arrived <- message:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *member) take(ctx context.Context, count int) (answer, error) {
	var told answer
	for len(told.Records) < count {
		select {
		case message := <-m.arrived:
			m.next[message.Partition] = message.Offset + 1
			told.Records = append(told.Records, shown(message))
		case <-ctx.Done():
			return told, fmt.Errorf("%d records instead of %d: %w", len(told.Records), count, ctx.Err())
		}
	}
	return told, nil
}

// commit commits what was taken. The connection of a generation dies with its broker; the next one can.
func (m *member) commit(ctx context.Context) error {
	for {
		m.mutex.Lock()
		generation, renewed := m.generation, m.renewed
		m.mutex.Unlock()
		err := generation.CommitOffsets(map[string]map[int]int64{m.topic: m.next})
		if err == nil {
			m.next = map[int]int64{}
			return nil
		}
		select {
		case <-renewed:
		case <-ctx.Done():
			return err
		}
	}
}

func (m *member) leave() error {
	m.cancel()
	err := m.group.Close()
	return errors.Join(err, <-m.ended)
}
