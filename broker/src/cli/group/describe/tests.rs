//! What `group describe` shows.

use super::{GroupView, MemberView, OffsetView, text};

#[test]
fn a_group_is_shown_with_members_and_lag() {
    let view = GroupView {
        group: "g".to_owned(),
        state: "Stable".to_owned(),
        protocol_type: "consumer".to_owned(),
        assignor: "range".to_owned(),
        coordinator: 1,
        members: vec![MemberView {
            member: "m-1".to_owned(),
            instance: None,
            client_id: "c".to_owned(),
            host: "/127.0.0.1".to_owned(),
            assigned: vec!["t-0".to_owned()],
        }],
        offsets: vec![
            OffsetView {
                topic: "t".to_owned(),
                partition: 0,
                committed: Some(7),
                end: Some(10),
                lag: Some(3),
                member: Some("m-1".to_owned()),
            },
            OffsetView {
                topic: "t".to_owned(),
                partition: 1,
                committed: None,
                end: Some(4),
                lag: None,
                member: None,
            },
        ],
    };
    assert_eq!(
        text(&view),
        "Group        g\n\
         State        Stable\n\
         Assignor     range\n\
         Coordinator  1\n\
         \n\
         MEMBER  CLIENT ID  HOST        PARTITIONS\n\
         m-1     c          /127.0.0.1           1\n\
         \n\
         TOPIC  PARTITION  COMMITTED  END  LAG  MEMBER\n\
         t              0          7   10    3  m-1\n\
         t              1          -    4    -\n"
    );
}
