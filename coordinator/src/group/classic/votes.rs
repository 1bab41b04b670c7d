//! Which protocols all members understand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::request::Protocol;

/// How many members understand each protocol.
#[derive(Clone, Debug, Default)]
pub(super) struct Votes(BTreeMap<Arc<str>, usize>);

impl Votes {
    /// Counts a member's protocols; a name that it lists twice counts once.
    pub(super) fn add(&mut self, protocols: &[Protocol]) {
        for name in distinct(protocols) {
            *self.0.entry(Arc::clone(name)).or_insert(0) += 1;
        }
    }

    /// Takes back what [`Votes::add`] counted.
    pub(super) fn remove(&mut self, protocols: &[Protocol]) {
        for name in distinct(protocols) {
            if let Some(count) = self.0.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(name);
                }
            }
        }
    }

    /// Whether all `members` understand the protocol.
    pub(super) fn is_common(&self, name: &str, members: usize) -> bool {
        self.0.get(name).is_some_and(|count| *count == members)
    }
}

fn distinct(protocols: &[Protocol]) -> impl Iterator<Item = &Arc<str>> {
    protocols
        .iter()
        .enumerate()
        .filter_map(|(index, protocol)| {
            let seen = protocols[..index]
                .iter()
                .any(|earlier| earlier.name == protocol.name);
            (!seen).then_some(&protocol.name)
        })
}
