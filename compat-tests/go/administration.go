package main

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kadm"
)

// administer alters topics and deletes records and groups.
func (d *driver) administer(ctx context.Context, asked request) (answer, error) {
	switch asked.Operation {
	case "create_partitions":
		told, err := d.admin.UpdatePartitions(ctx, int(asked.Partitions), asked.Topic)
		return answer{}, errors.Join(err, told.Error())
	case "alter_config":
		config := kadm.AlterConfig{Name: asked.Name, Value: &asked.Value}
		told, err := d.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{config}, asked.Topic)
		if err != nil {
			return answer{}, err
		}
		return answer{}, told[0].Err
	case "delete_records":
		before := kadm.Offsets{}
		before.AddOffset(asked.Topic, 0, asked.Before, -1)
		told, err := d.admin.DeleteRecords(ctx, before)
		return answer{}, errors.Join(err, told.Error())
	case "delete_group":
		_, err := d.admin.DeleteGroup(ctx, asked.Group)
		return answer{}, err
	}
	listed, err := d.admin.ListGroups(ctx)
	return answer{Groups: listed.Groups()}, err
}
