//! What passwords and tokens have been proven: a bounded memory that forgets what was not asked for lately.
//!
//! Two generations in place of a list ordered by use: when the young one is full it becomes the
//! old one, and what is asked for in the old one moves to the young one.

use std::collections::HashMap;
use std::mem;

/// Keyed hash of a user name and a password, or of a token.
pub(super) type Tag = [u8; 32];

/// Entries of one generation; there are two.
const GENERATION: usize = 4096;

pub(super) struct Proven<V> {
    young: HashMap<Tag, V>,
    old: HashMap<Tag, V>,
}

impl<V> Default for Proven<V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<V: Clone> Proven<V> {
    /// What it was proven by.
    pub(super) fn get(&mut self, tag: &Tag) -> Option<V> {
        if let Some(value) = self.young.get(tag) {
            return Some(value.clone());
        }
        let value = self.old.remove(tag)?;
        self.insert(*tag, value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, tag: Tag, value: V) {
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(tag, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: usize) -> Tag {
        let mut tag = [0; 32];
        tag[..8].copy_from_slice(&number.to_le_bytes());
        tag
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let mut proven = Proven::default();
        for number in 0..GENERATION * 4 {
            proven.insert(tag(number), number);
            assert!(proven.get(&tag(0)).is_some());
            assert!(proven.young.len() + proven.old.len() <= 2 * GENERATION);
        }
        assert!(proven.get(&tag(1)).is_none());
    }
}
