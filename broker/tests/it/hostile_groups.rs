//! What strangers send to groups: each request gets its Kafka code, and the groups beside it do not notice.

use bytes::Bytes;
use streamhouse_protocol::StrBytes;
use streamhouse_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use streamhouse_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use streamhouse_protocol::messages::*;

use crate::bench::{Bench, Client};
use crate::consumer_groups;
use crate::groups::{beat, commit, fetch, group, join, joined, synced, text};
use crate::metadata::name;
use crate::topics::create;

/// A classic group `g` and a consumer group `k`, each with a member and committed offsets of topic `t`.
struct Neighbours {
    bench: Bench,
    client: Client,
    classic: JoinGroupResponse,
}

impl Neighbours {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let mut client = bench.connect();
        create(&mut client, "t", 2).await;
        let classic = joined(&mut client, 9).await;
        synced(&mut client, 5, &classic).await;
        let join = consumer_groups::join_with("m", &["t"]).with_group_id(group("k"));
        assert_eq!(client.call(1, &join).await.error_code, 0);
        let mut neighbours = Self {
            bench,
            client,
            classic,
        };
        for (id, member, number) in neighbours.members() {
            let commit = commit(&member, number, &[("t", 0)]).with_group_id(group(id));
            assert_eq!(neighbours.code_of(&commit).await, 0);
        }
        neighbours
    }

    /// Group, member, and generation or epoch.
    fn members(&self) -> [(&'static str, StrBytes, i32); 2] {
        [
            ("g", self.classic.member_id.clone(), 1),
            ("k", text("m"), 1),
        ]
    }

    async fn code_of(&mut self, commit: &OffsetCommitRequest) -> i16 {
        let response = self.client.call(9, commit).await;
        response.topics[0].partitions[0].error_code
    }

    /// Both members live in the generation that they had, with what they had committed.
    async fn are_unharmed(&mut self) {
        assert_eq!(
            self.client
                .call(4, &beat(&self.classic, 1))
                .await
                .error_code,
            0
        );
        let beat = consumer_groups::beat("m", 1).with_group_id(group("k"));
        let answer = self.client.call(1, &beat).await;
        assert_eq!((answer.error_code, answer.member_epoch), (0, 1));
        assert_eq!(answer.assignment, None);
        for id in ["g", "k"] {
            let fetch = fetch("t", &[0]).with_group_id(group(id));
            let fetched = self.client.call(7, &fetch).await;
            assert_eq!(fetched.topics[0].partitions[0].committed_offset, 42);
        }
    }
}

#[tokio::test]
async fn zombies_and_stale_numbers_are_fenced() {
    let mut all = Neighbours::new().await;
    for (id, member, _) in all.members() {
        let is_classic = id == "g";
        for (who, number, classic, consumer) in [
            (member.clone(), 0, 22, 113),
            (member.clone(), 7, 22, 113),
            (member.clone(), i32::MAX, 22, 113),
            (text("zombie"), 1, 25, 25),
            (StrBytes::default(), -1, 25, 25),
            (StrBytes::default(), i32::MIN, 25, 25),
        ] {
            let expected = if is_classic { classic } else { consumer };
            let commit = commit(&who, number, &[("t", 0)]).with_group_id(group(id));
            assert_eq!(
                all.code_of(&commit).await,
                expected,
                "{id} {who:?} {number}"
            );
        }
    }
    for (generation, code) in [(0, 22), (2, 22), (i32::MAX, 22), (-1, 22)] {
        let beat = beat(&all.classic, generation);
        assert_eq!(all.client.call(4, &beat).await.error_code, code);
        let sync = SyncGroupRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(generation)
            .with_member_id(all.classic.member_id.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")));
        assert_eq!(all.client.call(5, &sync).await.error_code, code);
    }
    for (member, epoch, code) in [
        ("m", 2, 110),
        ("m", i32::MAX, 110),
        ("m", -3, 42),
        ("m", i32::MIN, 42),
        ("zombie", 1, 25),
        ("zombie", -1, 25),
    ] {
        let beat = consumer_groups::beat(member, epoch).with_group_id(group("k"));
        assert_eq!(
            all.client.call(1, &beat).await.error_code,
            code,
            "{member} {epoch}"
        );
    }
    all.are_unharmed().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_not_kept() {
    let mut all = Neighbours::new().await;
    let [(_, member, _), _] = all.members();
    let mut noted = commit(&member, 1, &[("t", 0), ("t", 1)]);
    noted.topics[1].partitions[0].committed_metadata = Some(text(&"n".repeat(4_097)));
    let response = all.client.call(9, &noted).await;
    let codes = response.topics.iter().map(|it| it.partitions[0].error_code);
    assert_eq!(codes.collect::<Vec<_>>(), [0, 12]);

    let subscription = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from(vec![0; 17 << 20]));
    let endless = join(&StrBytes::default()).with_protocols(vec![subscription]);
    let endless = endless.with_group_id(group("large"));
    assert_eq!(all.client.call(3, &endless).await.error_code, 81);

    let names: Vec<String> = (0..100_000)
        .map(|number| format!("{number:0>200}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let endless = consumer_groups::join_with("m", &names).with_group_id(group("large"));
    assert_eq!(all.client.call(1, &endless).await.error_code, 81);
    // Nothing of them is left: they are no groups.
    let listed = all.client.call(5, &ListGroupsRequest::default()).await;
    let mut listed: Vec<&str> = listed.groups.iter().map(|it| &*it.group_id.0).collect();
    listed.sort_unstable();
    assert_eq!(listed, ["g", "k"]);
    all.are_unharmed().await;
}

#[tokio::test]
async fn hostile_names_and_regexes_are_texts_like_others_or_refused() {
    let mut all = Neighbours::new().await;
    let [(_, member, _), _] = all.members();
    let endless = "t".repeat(30_000);
    let hostile = [
        "",
        ".",
        "..",
        "\0",
        "../../t",
        "t\n",
        "\u{202e}t",
        "t t",
        &endless,
    ];
    for topic in hostile {
        let mut commit = commit(&member, 1, &[("t", 0)]);
        let lines = commit.topics[0].partitions.clone();
        let topics = OffsetCommitRequestTopic::default().with_name(name(topic));
        commit.topics = vec![topics.with_partitions(lines)];
        assert_eq!(all.code_of(&commit).await, 3, "{topic:?}");
    }
    for index in [-1, 2, i32::MAX, i32::MIN] {
        assert_eq!(all.code_of(&commit(&member, 1, &[("t", index)])).await, 3);
    }
    // A name that no topic can have is one of a topic that does not exist.
    let reader = consumer_groups::join_with("x", &hostile).with_group_id(group("x"));
    let answer = all.client.call(1, &reader).await;
    assert_eq!(answer.error_code, 0);
    assert_eq!(consumer_groups::assigned(&answer), Vec::<i32>::new());
    for (id, code) in [("", 42), (&*"k".repeat(1_025), 42)] {
        let request = consumer_groups::join_with("x", &["t"]).with_group_id(group(id));
        assert_eq!(all.client.call(1, &request).await.error_code, code);
    }
    for regex in [
        "(",
        "a{9999999}",
        "((((a{99}){99}){99}){99})",
        "(?<!t)",
        "\\p{Nope}",
        &"(".repeat(9_999),
    ] {
        let request = consumer_groups::join_with("x", &[])
            .with_group_id(group("k"))
            .with_subscribed_topic_regex(Some(text(regex)));
        assert_eq!(
            all.client.call(1, &request).await.error_code,
            128,
            "{regex:.20}"
        );
    }
    all.are_unharmed().await;
}

#[tokio::test]
async fn a_client_may_join_a_thousand_groups_and_others_do_not_notice() {
    let mut all = Neighbours::new().await;
    let mut greedy = all.bench.connect();
    for number in 0..1_000 {
        let id = group(&format!("greedy-{number}"));
        let code = if number % 2 == 0 {
            let request = join(&StrBytes::default()).with_group_id(id);
            greedy.call(3, &request).await.error_code
        } else {
            let request = consumer_groups::join_with("m", &["t"]).with_group_id(id);
            greedy.call(1, &request).await.error_code
        };
        assert_eq!(code, 0, "{number}");
    }
    all.are_unharmed().await;
}
