//! What `topic describe` shows.

use super::{Described, DescribedBytes, DescribedConfig, DescribedPartition, text};

#[test]
fn a_topic_is_shown_with_offsets_places_and_configs() {
    let described = Described {
        topic: "orders".to_owned(),
        id: Some("AAAAAAAAAAAAAAAAAAAAAQ".to_owned()),
        internal: false,
        partitions: vec![
            DescribedPartition {
                partition: 0,
                leader: Some(1),
                leader_epoch: 3,
                replicas: vec![1],
                in_sync_replicas: vec![1],
                log_start_offset: Some(5),
                high_watermark: Some(1200),
                bytes: vec![DescribedBytes {
                    broker: 1,
                    place: "/data".to_owned(),
                    bytes: 2048,
                }],
            },
            DescribedPartition {
                partition: 1,
                leader: None,
                leader_epoch: -1,
                replicas: vec![1, 2],
                in_sync_replicas: vec![],
                log_start_offset: None,
                high_watermark: None,
                bytes: vec![],
            },
        ],
        configs: vec![DescribedConfig {
            name: "retention.ms".to_owned(),
            value: Some("60000".to_owned()),
            set_on_topic: true,
        }],
    };
    assert_eq!(
        text(&described),
        "Topic       orders\n\
         Id          AAAAAAAAAAAAAAAAAAAAAQ\n\
         Partitions  2\n\
         \n\
         PARTITION  LEADER  EPOCH  REPLICAS  ISR  START   END  BYTES\n        0       1      3  1         1        5  1200  2.0 KiB in /data (broker 1)\n        1    none     -1  1,2                ?     ?\n\
         \n\
         CONFIG        VALUE  FROM\n\
         retention.ms  60000  topic\n"
    );
}
