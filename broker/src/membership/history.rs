//! Whether the database still knows what this broker saw in it: a replica that took over may lack the last commits, and to
//! go on from there would lose acknowledged records without a word.
//!
//! Three things are compared: the newest revision of topics and configurations that was seen must still be there; no led shard
//! may be under an older grant than the one it is led under; and when the timeline of the server is another, every led shard
//! is held against what was seen committed in it. What fails one of them stops this broker for good: it serves nothing, and
//! keeps its lease, so that nobody goes on from what is left before a person has looked.

use std::collections::BTreeMap;

use streamhouse_metadata::{Beat, Revision, RevisionCheck, ShardId, ShardRow, StoreError};
use streamhouse_protocol::ids::LeaderEpoch;

use super::Life;
use super::shards::Shards;

/// What was seen of the database. It outlives a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The newest revision of topics and configurations.
    pub revision: Option<Revision>,
    /// The timeline of the server.
    pub timeline: Option<u32>,
}

impl Seen {
    /// Takes a revision that is newer than the one before.
    fn note(&mut self, revision: Revision) {
        if self
            .revision
            .is_none_or(|seen| seen.number < revision.number)
        {
            self.revision = Some(revision);
        }
    }
}

impl Shards {
    /// Holds the database against what was seen of it: `led` is what this broker led before `rows` were read. An error says
    /// that the database did not answer; a regression stops this broker.
    pub(super) async fn look_back(
        &self,
        beat: &Beat,
        led: &[(ShardId, LeaderEpoch)],
        rows: &[ShardRow],
    ) -> Result<(), StoreError> {
        let shown = self.rooms.catalogue.current().revision();
        let seen = {
            let mut state = self.life.state.lock();
            state.seen.note(shown);
            state.seen
        };
        // What is shown may be of another history than what was seen, under the same number.
        for known in seen.revision.into_iter().chain([shown]) {
            if known.number > 0
                && known != beat.revision
                && self.life.store.check_revision(known).await? == RevisionCheck::Missing
            {
                let number = known.number;
                let what = format!("revision {number} of topics and configurations is gone");
                return self.regress(what).await;
            }
        }
        if let Some(lost) = lost_grant(led, rows) {
            return self.regress(lost).await;
        }
        if seen.timeline.is_some_and(|seen| seen != beat.timeline) {
            tracing::warn!(
                timeline = beat.timeline,
                "another server answers for the metadata database; what this broker leads is compared with it"
            );
            // What it knows of leases may be old.
            self.life.state.lock().in_touch_since = Some(self.life.ambient.clock.monotonic());
            let stopped = self.rooms.log.check_recorded().await?;
            if stopped > 0 {
                return self
                    .regress(format!("manifests of {stopped} shards are gone"))
                    .await;
            }
        }
        self.rooms.log.saw(beat.timeline, beat.revision);
        let mut state = self.life.state.lock();
        state.seen.note(beat.revision);
        state.seen.timeline = Some(beat.timeline);
        Ok(())
    }

    /// Stops this broker: the database forgot something.
    async fn regress(&self, what: String) -> Result<(), StoreError> {
        if self.life.note_regression(&what) {
            tracing::error!(
                "metadata_regression: {what}; this broker serves nothing any more. Stop all brokers, bring the newest \
                 database back or run `streamhouse repair metadata`, and start them again"
            );
        }
        self.life.leaders.replace(BTreeMap::new());
        // Shards of which something is gone stop, and keep what they know of it.
        let checked = self.rooms.log.check_recorded().await;
        self.abandon_all();
        checked.map(|_| ())
    }
}

/// A shard that is under an older grant than the one it is led under.
fn lost_grant(led: &[(ShardId, LeaderEpoch)], rows: &[ShardRow]) -> Option<String> {
    led.iter().find_map(|(shard, epoch)| {
        let row = rows.iter().find(|row| row.shard == *shard)?;
        (row.epoch < *epoch).then(|| {
            format!(
                "shard {shard} was granted under epoch {epoch}, and is under {}",
                row.epoch
            )
        })
    })
}

impl Life {
    /// Notes a regression; whether it is the first one.
    fn note_regression(&self, what: &str) -> bool {
        let mut state = self.state.lock();
        let is_first = state.regression.is_none();
        state.regression.get_or_insert_with(|| what.to_owned());
        is_first
    }
}
