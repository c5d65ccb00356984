//! What the shards of each relay are known to run, kept in memory.
//!
//! The relay's controller, which alone asks the shards, records it; the controllers of domains and
//! credentials read it to say `Programmed`. After a restart of the operator nothing is known until
//! the shards have been asked again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;

/// Digests of the entries in a relay's buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// By domain.
    pub domains: BTreeMap<String, Digest>,
    /// By user name.
    pub credentials: BTreeMap<String, Digest>,
    /// Domains for which there was no room.
    pub domains_left_out: BTreeSet<String>,
    /// User names for which there was no room.
    pub credentials_left_out: BTreeSet<String>,
}

/// Digest of one entry as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of an entry that serialises.
    pub(crate) fn of(entry: &impl serde::Serialize) -> Self {
        Self::of_text(&serde_json::to_vec(entry).unwrap_or_default())
    }

    /// Of an entry in the form that it is written in.
    pub(super) fn of_text(text: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
        Self(bytes)
    }
}

/// Entries in force by relay (namespace, name).
#[derive(Debug, Default)]
pub struct Programmed(Mutex<HashMap<(String, String), Entries>>);

impl Programmed {
    /// All shards of `relay` run `entries`; whether that is news.
    pub fn record(&self, relay: (String, String), entries: Entries) -> bool {
        self.lock().insert(relay, entries.clone()) != Some(entries)
    }

    /// The relay is gone.
    pub fn forget(&self, relay: &(String, String)) {
        self.lock().remove(relay);
    }

    /// Whether all shards of `relay` run exactly this entry for `domain`; `None` while nothing is
    /// known of the relay.
    pub fn has_domain(
        &self,
        relay: &(String, String),
        domain: &str,
        entry: Option<Digest>,
    ) -> Option<bool> {
        let relays = self.lock();
        let known = relays.get(relay)?.domains.get(domain);
        Some(known.is_some() && known == entry.as_ref())
    }

    /// Whether all shards of `relay` run exactly this entry for `username`; `None` while nothing is
    /// known of the relay.
    pub fn has_credential(
        &self,
        relay: &(String, String),
        username: &str,
        entry: Option<Digest>,
    ) -> Option<bool> {
        let relays = self.lock();
        let known = relays.get(relay)?.credentials.get(username);
        Some(known.is_some() && known == entry.as_ref())
    }

    /// Whether `relay` had no room for `domain`.
    pub fn lacks_room_for_domain(&self, relay: &(String, String), domain: &str) -> bool {
        let relays = self.lock();
        let entries = relays.get(relay);
        entries.is_some_and(|entries| entries.domains_left_out.contains(domain))
    }

    /// Whether `relay` had no room for `username`.
    pub fn lacks_room_for_credential(&self, relay: &(String, String), username: &str) -> bool {
        let relays = self.lock();
        let entries = relays.get(relay);
        entries.is_some_and(|entries| entries.credentials_left_out.contains(username))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Entries>> {
        // The map is whole even if a holder panicked: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_entry_in_force_is_programmed() {
        let relay = ("mail".to_owned(), "outbox".to_owned());
        let (old, new) = (Digest::of(&"old"), Digest::of(&"new"));
        let programmed = Programmed::default();
        assert_eq!(
            programmed.has_domain(&relay, "shop.example", Some(old)),
            None
        );
        let entries = Entries {
            domains: BTreeMap::from([("shop.example".to_owned(), old)]),
            credentials: BTreeMap::from([("shop.orders".to_owned(), new)]),
            domains_left_out: BTreeSet::from(["late.example".to_owned()]),
            ..Entries::default()
        };
        programmed.record(relay.clone(), entries);
        let domain = |name, entry| programmed.has_domain(&relay, name, entry);
        assert_eq!(domain("shop.example", Some(old)), Some(true));
        assert_eq!(domain("shop.example", Some(new)), Some(false));
        assert_eq!(domain("shop.example", None), Some(false));
        assert_eq!(domain("bank.example", None), Some(false));
        let credential = |entry| programmed.has_credential(&relay, "shop.orders", entry);
        assert_eq!(credential(Some(new)), Some(true));
        assert_eq!(credential(Some(old)), Some(false));
        assert!(programmed.lacks_room_for_domain(&relay, "late.example"));
        assert!(!programmed.lacks_room_for_domain(&relay, "shop.example"));
        assert!(!programmed.lacks_room_for_credential(&relay, "late.example"));
        programmed.forget(&relay);
        assert_eq!(
            programmed.has_domain(&relay, "shop.example", Some(old)),
            None
        );
    }
}
