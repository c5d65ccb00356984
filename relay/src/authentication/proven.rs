//! What passwords have been proven: a bounded memory that forgets what was not asked for lately.
//!
//! Two generations in place of a list ordered by use: when the young one is full it becomes the
//! old one, and what is asked for in the old one moves to the young one.

use std::collections::HashMap;
use std::mem;

use relay_config::ScramVerifier;

/// Keyed hash of a user name and a password.
pub(super) type Tag = [u8; 32];

/// Entries of one generation; there are two.
const GENERATION: usize = 4096;

#[derive(Default)]
pub(super) struct Proven {
    young: HashMap<Tag, ScramVerifier>,
    old: HashMap<Tag, ScramVerifier>,
}

impl Proven {
    /// The verifier that the password was proven by.
    pub(super) fn get(&mut self, tag: &Tag) -> Option<ScramVerifier> {
        if let Some(verifier) = self.young.get(tag) {
            return Some(verifier.clone());
        }
        let verifier = self.old.remove(tag)?;
        self.insert(*tag, verifier.clone());
        Some(verifier)
    }

    pub(super) fn insert(&mut self, tag: Tag, verifier: ScramVerifier) {
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(tag, verifier);
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
        let verifier = ScramVerifier::derive("otter", b"salt", 4096);
        let mut proven = Proven::default();
        for number in 0..GENERATION * 4 {
            proven.insert(tag(number), verifier.clone());
            assert!(proven.get(&tag(0)).is_some());
            assert!(proven.young.len() + proven.old.len() <= 2 * GENERATION);
        }
        assert!(proven.get(&tag(1)).is_none());
    }
}
