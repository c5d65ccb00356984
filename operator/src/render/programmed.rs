//! What the shards of each relay are known to run, kept in memory.
//!
//! The relay's controller, which alone asks the shards, records it; the controllers of domains and
//! credentials read it to say `Programmed`. After a restart of the operator nothing is known until
//! the shards have been asked again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;

/// Digests of the entries in a relay's buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// By domain.
    pub domains: BTreeMap<String, Digest>,
    /// By user name.
    pub credentials: BTreeMap<String, Digest>,
}

/// Digest of one entry as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of an entry that serialises.
    pub(crate) fn of(entry: &impl serde::Serialize) -> Self {
        let text = serde_json::to_vec(entry).unwrap_or_default();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, &text).as_ref());
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

    /// Whether all shards of `relay` run exactly this entry for `domain`.
    pub fn has_domain(&self, relay: &(String, String), domain: &str, entry: Digest) -> bool {
        let relays = self.lock();
        relays
            .get(relay)
            .and_then(|entries| entries.domains.get(domain))
            == Some(&entry)
    }

    /// Whether all shards of `relay` run exactly this entry for `username`.
    pub fn has_credential(&self, relay: &(String, String), username: &str, entry: Digest) -> bool {
        let relays = self.lock();
        relays
            .get(relay)
            .and_then(|entries| entries.credentials.get(username))
            == Some(&entry)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Entries>> {
        // The map is whole even if a holder panicked: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
