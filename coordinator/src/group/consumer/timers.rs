//! What happens to a consumer group when nobody says anything: sessions end, and patience with those that keep partitions.

use super::super::classic::Now;
use super::super::request::MemberId;
use super::{ConsumerGroup, Effects};

impl ConsumerGroup {
    /// Lets everything happen that is due. Calling it early or often changes nothing.
    pub fn tick(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        if self.is_dead || self.wake_at.is_none_or(|at| at > now.monotonic) {
            return effects;
        }
        let due: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| member.due() <= now.monotonic)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &due {
            self.remove(id);
        }
        if !due.is_empty() {
            effects.store = true;
            self.after_removal(now);
        }
        self.wake_at = self.members.values().map(super::Member::due).min();
        effects
    }
}
