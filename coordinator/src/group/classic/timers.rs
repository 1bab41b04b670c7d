//! What happens to a group when nobody asks anything: sessions end, rebalances run out of time.

use streamhouse_runtime::Monotonic;

use super::super::request::MemberId;
use super::{Context, Effects, Group, Rebalance, State};

impl Group {
    /// Lets everything happen that is due. Calling it early or often changes nothing.
    pub fn tick(&mut self, context: Context<'_>) -> Effects {
        let mut effects = Effects::default();
        let now = context.now.monotonic;
        if self.state == State::Dead || self.wake_at.is_none_or(|at| at > now) {
            return effects;
        }
        self.expire_pending(context, &mut effects);
        self.expire_sessions(context, &mut effects);
        self.end_rebalance(context, &mut effects);
        self.expire_syncs(context, &mut effects);
        self.wake_at = self.next_due();
        effects
    }

    fn expire_pending(&mut self, context: Context<'_>, effects: &mut Effects) {
        let now = context.now.monotonic;
        let due = |(id, until): (&MemberId, &Monotonic)| (*until <= now).then(|| id.clone());
        let gone: Vec<MemberId> = self.pending.iter().filter_map(due).collect();
        for id in &gone {
            self.forget_pending(id);
        }
        if !gone.is_empty() {
            self.maybe_complete_join(context, effects);
        }
    }

    fn expire_sessions(&mut self, context: Context<'_>, effects: &mut Effects) {
        let now = context.now.monotonic;
        let silent: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| member.session_until <= now && !member.is_satisfied())
            .map(|(id, _)| id.clone())
            .collect();
        for id in &silent {
            self.remove_member(id, effects);
        }
        if !silent.is_empty() {
            self.after_removal(context, effects);
        }
    }

    fn end_rebalance(&mut self, context: Context<'_>, effects: &mut Effects) {
        let now = context.now.monotonic;
        match self.rebalance {
            Some(Rebalance::Initial { until, .. }) if until <= now => {
                self.end_initial_wait(context, effects);
            }
            Some(Rebalance::Rejoin { until }) if until <= now => {
                self.complete_join(context, effects);
            }
            Some(Rebalance::Initial { .. } | Rebalance::Rejoin { .. }) | None => {}
        }
    }

    /// Who has joined a generation but never asked for its assignment is removed: a leader that is gone would
    /// otherwise hold up the followers for ever.
    fn expire_syncs(&mut self, context: Context<'_>, effects: &mut Effects) {
        if self
            .sync_until
            .is_none_or(|until| until > context.now.monotonic)
        {
            return;
        }
        self.sync_until = None;
        let late: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| !member.has_synced)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &late {
            self.remove_member(id, effects);
        }
        if !late.is_empty() {
            self.after_removal(context, effects);
        }
    }

    fn next_due(&self) -> Option<Monotonic> {
        let rebalance = self.rebalance.map(|running| match running {
            Rebalance::Initial { until, .. } | Rebalance::Rejoin { until } => until,
        });
        let sessions = self
            .members
            .values()
            .filter(|member| !member.is_satisfied());
        let sessions = sessions.map(|member| member.session_until).min();
        let pending = self.pending.values().min().copied();
        [rebalance, self.sync_until, sessions, pending]
            .into_iter()
            .flatten()
            .min()
    }
}
