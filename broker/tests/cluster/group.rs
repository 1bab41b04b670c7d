//! A group whose offset one client commits again and again. What is told of it afterwards is what was acknowledged last, or
//! what was sent since: never less, and never nothing.

use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;

use streamhouse_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use streamhouse_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use streamhouse_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};

use crate::client::{Client, is_retriable, text, topic_name};
use crate::wait::{PATIENCE, now, pause, since, until};

const COMMIT: i16 = 5;
const OFFSET_FETCH: i16 = 5;

/// Committers at work, one per group, so that several shards have one.
#[derive(Debug)]
pub(crate) struct Groups {
    must_stop: Arc<AtomicBool>,
    committed: Vec<Arc<AtomicI64>>,
    threads: Vec<JoinHandle<()>>,
}

impl Groups {
    /// Lets one client commit in each of `count` groups.
    pub(crate) fn begin(bootstrap: &[u16], topic: &str, count: usize) -> Self {
        let must_stop: Arc<AtomicBool> = Arc::default();
        let mut groups = Self {
            must_stop: Arc::clone(&must_stop),
            committed: Vec::new(),
            threads: Vec::new(),
        };
        for number in 0..count {
            let committed: Arc<AtomicI64> = Arc::default();
            groups.committed.push(Arc::clone(&committed));
            let mut member = Member {
                group: format!("group-{number}"),
                topic: topic.to_owned(),
                client: Client::new(bootstrap),
                committed,
                must_stop: Arc::clone(&must_stop),
            };
            let thread = std::thread::Builder::new().name(member.group.clone());
            groups
                .threads
                .push(thread.spawn(move || member.work()).unwrap());
        }
        groups
    }

    /// Waits until every group has committed something anew.
    pub(crate) fn until_all_commit(&self) {
        for committed in &self.committed {
            let before = committed.load(Ordering::SeqCst);
            until("a group commits", || {
                let is_alive = self.threads.iter().all(|thread| !thread.is_finished());
                assert!(is_alive, "a committer has failed; see above");
                (committed.load(Ordering::SeqCst) > before).then_some(())
            });
        }
    }

    /// Stops the clients.
    pub(crate) fn end(mut self) {
        self.must_stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("no committer failed");
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.must_stop.store(true, Ordering::SeqCst);
    }
}

struct Member {
    group: String,
    topic: String,
    client: Client,
    /// What was acknowledged last; 0: nothing.
    committed: Arc<AtomicI64>,
    must_stop: Arc<AtomicBool>,
}

impl Member {
    fn work(&mut self) {
        for offset in 1_i64.. {
            if self.must_stop.load(Ordering::SeqCst) {
                break;
            }
            self.commit(offset);
            self.committed.store(offset, Ordering::SeqCst);
            // What is told is what was acknowledged: nobody else commits.
            let (told, _) = until("the committed offset", || self.told().ok().flatten());
            assert_eq!(told, offset, "the offset of {}", self.group);
        }
    }

    /// Commits until it is acknowledged.
    fn commit(&mut self, offset: i64) {
        let began = now();
        while !matches!(self.try_commit(offset), Ok(true)) {
            let is_over = self.must_stop.load(Ordering::SeqCst) && since(began) > PATIENCE;
            assert!(!is_over, "{} cannot commit {offset}", self.group);
            pause();
        }
    }

    fn try_commit(&mut self, offset: i64) -> Result<bool> {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&self.topic))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let node = self.client.coordinator(&self.group)?;
        let answer = self.client.ask(node, COMMIT, &request)?;
        let code = answer.topics[0].partitions[0].error_code;
        assert!(
            code == 0 || is_retriable(code),
            "{}: commit: {code}",
            self.group
        );
        Ok(code == 0)
    }

    /// The committed offset, if the coordinator tells one.
    fn told(&mut self) -> Result<Option<i64>> {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(topic_name(&self.topic))
            .with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_topics(Some(vec![topic]));
        let node = self.client.coordinator(&self.group)?;
        let answer = self.client.ask(node, OFFSET_FETCH, &request)?;
        let partition = answer.topics.first().map(|topic| &topic.partitions[0]);
        let code = partition.map_or(answer.error_code, |partition| {
            answer.error_code.max(partition.error_code)
        });
        if code != 0 {
            assert!(is_retriable(code), "{}: fetch: {code}", self.group);
            return Ok(None);
        }
        Ok(partition.map(|partition| partition.committed_offset))
    }
}
