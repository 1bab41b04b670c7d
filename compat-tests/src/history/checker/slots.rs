//! A value for each offset of each partition. Offsets that a history of this size can reach lie in a vector; others, which
//! only something wrong brings about, in a map, so that no offset makes the checker ask for memory.

use std::collections::BTreeMap;

/// Values by partition and offset.
#[derive(Debug)]
pub(super) struct Slots<T> {
    near: BTreeMap<i32, Vec<T>>,
    far: BTreeMap<(i32, i64), T>,
    near_max: usize,
}

impl<T: Copy + Default> Slots<T> {
    /// For a history in which so many records were sent.
    pub(super) fn new(sent: usize) -> Self {
        Self {
            near: BTreeMap::new(),
            far: BTreeMap::new(),
            near_max: sent.saturating_mul(2).saturating_add(1024),
        }
    }

    /// The value at an offset, to be changed.
    pub(super) fn at(&mut self, partition: i32, offset: i64) -> &mut T {
        match usize::try_from(offset) {
            Ok(index) if index < self.near_max => {
                let slots = self.near.entry(partition).or_default();
                if slots.len() <= index {
                    slots.resize(index + 1, T::default());
                }
                &mut slots[index]
            }
            _ => self.far.entry((partition, offset)).or_default(),
        }
    }

    /// The value at an offset.
    pub(super) fn get(&self, partition: i32, offset: i64) -> T {
        let near = usize::try_from(offset)
            .ok()
            .and_then(|index| self.near.get(&partition)?.get(index));
        let found = near.or_else(|| self.far.get(&(partition, offset)));
        found.copied().unwrap_or_default()
    }

    /// Every value, by partition and offset.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i32, i64, T)> {
        let near = self.near.iter().flat_map(|(partition, slots)| {
            let offsets = 0_i64..;
            offsets
                .zip(slots)
                .map(|(offset, slot)| (*partition, offset, *slot))
        });
        let far = self
            .far
            .iter()
            .map(|((partition, offset), slot)| (*partition, *offset, *slot));
        near.chain(far)
    }
}
