package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"

	"streamhouse/compat-tests/conversation"
)

// member is a consumer of a group: a session for each generation, and what arrived in it.
type member struct {
	group   sarama.ConsumerGroup
	cancel  context.CancelFunc
	ended   chan error
	share   conversation.Share
	arrived chan arrival
	taken   []arrival
}

// arrival is a record and the session that it came in, which alone can commit it.
type arrival struct {
	message *sarama.ConsumerMessage
	session sarama.ConsumerGroupSession
}

func join(bootstrap []string, group, topic string) (*member, error) {
	c := config()
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Enable = false
	// Heartbeats are how a member hears that others came.
	c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	joined, err := sarama.NewConsumerGroup(bootstrap, group, c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{group: joined, cancel: cancel, ended: make(chan error, 1), arrived: make(chan arrival)}
	go func() { m.ended <- m.consume(ctx, topic) }()
	return m, nil
}

// consume joins again after every rebalance, as this client's users do.
func (m *member) consume(ctx context.Context, topic string) error {
	for ctx.Err() == nil {
		err := m.group.Consume(ctx, []string{topic}, m)
		if errors.Is(err, sarama.ErrClosedConsumerGroup) {
			return nil
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "consume:", err)
		}
	}
	return nil
}

// Setup is called when a generation begins.
func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	for _, partitions := range session.Claims() {
		m.share.Change(len(partitions))
	}
	return nil
}

// Cleanup is called when it ends.
func (m *member) Cleanup(session sarama.ConsumerGroupSession) error {
	for _, partitions := range session.Claims() {
		m.share.Change(-len(partitions))
	}
	return nil
}

// ConsumeClaim hands on the records of a partition.
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			select {
			case m.arrived <- arrival{message, session}:
			case <-session.Context().Done():
				return nil
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) take(ctx context.Context, count int) (answer, error) {
	var told answer
	for len(told.Records) < count {
		select {
		case came := <-m.arrived:
			m.taken = append(m.taken, came)
			told.Records = append(told.Records, shown(came.message))
		case <-ctx.Done():
			return told, fmt.Errorf("%d records instead of %d: %w", len(told.Records), count, ctx.Err())
		}
	}
	return told, nil
}

// commit commits what was taken; the client's own errors come while it leaves.
func (m *member) commit() error {
	for _, came := range m.taken {
		came.session.MarkMessage(came.message, "")
	}
	if len(m.taken) > 0 {
		m.taken[len(m.taken)-1].session.Commit()
	}
	m.taken = nil
	return nil
}

func (m *member) leave() error {
	m.cancel()
	err := m.group.Close()
	return errors.Join(err, <-m.ended)
}
