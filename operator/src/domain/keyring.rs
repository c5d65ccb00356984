//! The layout of a SendingDomain's key Secret, and what becomes of its keys.
//!
//! | entry | content |
//! |---|---|
//! | `<selector>.pem` | private key, PKCS#8 |
//! | `<selector>.created` | when it was made, RFC 3339 |
//! | `<selector>.seen` | since when every authoritative server shows its record, RFC 3339 |
//! | `<selector>.retired` | since when it no longer signs, RFC 3339 |
//! | `active` | selectors of the keys that sign, one a line |
//! | `rotated` | value of the annotation that last asked for new keys |
//!
//! Beside them lie the secrets of return paths ([`super::return_keys`]).
//!
//! A key signs at once when nothing else signs with its algorithm; otherwise only once every
//! authoritative server has shown its record for a full time to live, so that a rotation or a change of
//! selectors never makes signatures fail. A key that no longer signs is kept until all mail that it
//! signed has arrived or bounced. One that is revoked is gone at once; its selector stays taken.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use relay_config::DkimAlgorithm;

use super::keys::{self, KeyError, SigningKey};
use crate::certificates::SecretData;

/// Entry with the selectors that sign.
const ACTIVE: &str = "active";
const PEM: &str = ".pem";
const CREATED: &str = ".created";
const RETIRED: &str = ".retired";
const SEEN: &str = ".seen";
/// Entry with the value of the annotation that last asked for new keys.
const ROTATED: &str = "rotated";

/// Keys of one Secret at most; more are not read.
const MOST_KEYS: usize = 64;

/// A key Secret, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    /// By selector.
    pub keys: BTreeMap<String, StoredKey>,
    /// Selectors of keys that are there no more, but left a trace.
    pub spent: BTreeSet<String>,
    /// Value of the annotation that last asked for new keys.
    pub rotated: Option<String>,
    /// There are so many keys that none gets a successor.
    pub crowded: bool,
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The key, or why the entry is none.
    pub key: Result<SigningKey, KeyError>,
    /// Whether it signs.
    pub active: bool,
    /// When it was made, if the Secret says so.
    pub created: Option<Timestamp>,
    /// Since when every authoritative server shows its record.
    pub seen: Option<Timestamp>,
    /// Since when it no longer signs.
    pub retired: Option<Timestamp>,
}

impl Keyring {
    /// Reads whatever is there; entries of other names are passed over.
    pub fn read(data: &SecretData) -> Self {
        let text = |entry: &str| {
            data.get(entry)
                .and_then(|text| std::str::from_utf8(text).ok())
        };
        let time = |selector: &str, suffix: &str| {
            text(&format!("{selector}{suffix}")).and_then(|time| time.trim().parse().ok())
        };
        let active: BTreeSet<&str> = text(ACTIVE)
            .unwrap_or_default()
            .lines()
            .map(str::trim)
            .collect();
        let entries = data
            .iter()
            .filter_map(|(entry, pem)| Some((entry.strip_suffix(PEM)?, pem)));
        let mut entries: Vec<_> = entries.collect();
        let crowded = entries.len() >= MOST_KEYS;
        // Should there be too many, those are read that matter most.
        entries.sort_by_key(|(selector, _)| {
            let retired = data.contains_key(&format!("{selector}{RETIRED}"));
            (!active.contains(selector), retired)
        });
        let keys = entries.into_iter().take(MOST_KEYS).map(|(selector, pem)| {
            let key = StoredKey {
                key: keys::parse(pem),
                active: active.contains(selector),
                created: time(selector, CREATED),
                seen: time(selector, SEEN),
                retired: time(selector, RETIRED),
            };
            (selector.to_owned(), key)
        });
        let keys: BTreeMap<_, _> = keys.collect();
        let traces = data.keys().filter_map(|entry| entry.strip_suffix(CREATED));
        let spent = traces
            .filter(|selector| !keys.contains_key(*selector))
            .map(str::to_owned)
            .collect();
        let rotated = text(ROTATED).map(str::to_owned);
        Self {
            keys,
            spent,
            rotated,
            crowded,
        }
    }

    /// The keys that sign, by selector.
    pub fn signing(&self) -> impl Iterator<Item = (&str, &SigningKey)> {
        self.keys
            .iter()
            .filter(|(_, stored)| stored.active)
            .filter_map(|(selector, stored)| {
                stored.key.as_ref().ok().map(|key| (selector.as_str(), key))
            })
    }
}

/// What the spec asks for, and what is known besides.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Algorithms.
    pub algorithms: &'a BTreeSet<DkimAlgorithm>,
    /// Keys that the owner brought, by selector: at most one of each algorithm.
    pub own: &'a BTreeMap<String, SigningKey>,
    /// Start of the selectors.
    pub prefix: &'a str,
    /// Selectors of former keys, which are not used again even if their Secret is lost: the record
    /// of a former key would make verifiers refuse the new one.
    pub former: &'a BTreeSet<String>,
    /// Keys that do not sign yet, and whose record every authoritative server shows, with the time to
    /// live that it has there.
    pub shown: &'a BTreeMap<String, SignedDuration>,
    /// Keys of which nobody knows at the moment whether their record is shown.
    pub unknown: &'a BTreeSet<String>,
    /// Age at which a key gets a successor; `None` is never.
    pub rotate_every: Option<SignedDuration>,
    /// Asks for new keys once for each value.
    pub rotate_now: Option<&'a str>,
    /// Selectors of keys that others may have.
    pub revoked: &'a BTreeSet<String>,
    /// How long a key outlives its last signature: as long as a message may be on its way.
    pub retirement: SignedDuration,
}

/// What to do to a key Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Keys to make, by selector.
    pub make: BTreeMap<String, DkimAlgorithm>,
    /// Keys to take over as they are, by selector, in place of what stands there.
    pub import: BTreeMap<String, SigningKey>,
    /// Selectors that sign from now on; all of them.
    pub active: BTreeSet<String>,
    /// Selectors that stop signing now.
    pub retire: BTreeSet<String>,
    /// Selectors that were retired and are wanted again.
    pub recall: BTreeSet<String>,
    /// Selectors to forget.
    pub remove: BTreeSet<String>,
    /// Selectors whose record is everywhere from now on.
    pub seen: BTreeSet<String>,
    /// Selectors whose record is not everywhere any more.
    pub unseen: BTreeSet<String>,
    /// Selectors whose key is destroyed now.
    pub revoke: BTreeSet<String>,
    /// What asked for new keys and was heard.
    pub rotated: Option<String>,
}

/// Decides what becomes of each key. Changes nothing when all is as wanted.
pub fn plan(keyring: &Keyring, wanted: &Wanted<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan {
        rotated: wanted
            .rotate_now
            .filter(|asked| keyring.rotated.as_deref() != Some(asked))
            .map(str::to_owned),
        ..Plan::default()
    };
    let is_revoked = |selector: &&String| wanted.revoked.contains(*selector);
    plan.revoke
        .extend(keyring.keys.keys().filter(is_revoked).cloned());
    for algorithm in [DkimAlgorithm::RsaSha256, DkimAlgorithm::Ed25519Sha256] {
        plan_algorithm(&mut plan, keyring, wanted, algorithm, now);
    }
    plan
}

fn plan_algorithm(
    plan: &mut Plan,
    keyring: &Keyring,
    wanted: &Wanted<'_>,
    algorithm: DkimAlgorithm,
    now: Timestamp,
) {
    let of_algorithm = |selector: &str, stored: &StoredKey| match &stored.key {
        Ok(key) => key.algorithm == algorithm,
        // A damaged key is no key, but its selector is taken.
        Err(_) => number(selector, wanted.prefix, algorithm).is_some(),
    };
    let keys: BTreeMap<&str, &StoredKey> = keyring
        .keys
        .iter()
        .map(|(selector, stored)| (selector.as_str(), stored))
        .filter(|(selector, stored)| of_algorithm(selector, stored))
        .filter(|(selector, _)| !wanted.revoked.contains(*selector))
        .collect();
    let signs: BTreeSet<&str> = keys
        .iter()
        .filter(|(_, stored)| stored.active)
        .map(|(selector, _)| *selector)
        .collect();
    let mut own = wanted.own.iter();
    let own = own.find(|(_, key)| key.algorithm == algorithm);
    let chosen = own.map(|(selector, key)| import(plan, keyring, selector, key));
    let is_made = chosen.is_none() && wanted.algorithms.contains(&algorithm);
    let chosen = chosen.or_else(|| {
        is_made.then(|| {
            let newest = choose(&keys, wanted, algorithm);
            let may_rotate = !keyring.crowded;
            let newest = newest
                .filter(|newest| !(may_rotate && is_due(keys[newest.as_str()], plan, wanted, now)));
            newest.unwrap_or_else(|| {
                let selector = next_selector(keyring, wanted, algorithm);
                plan.make.insert(selector.clone(), algorithm);
                selector
            })
        })
    });
    let active: BTreeSet<&str> = match &chosen {
        None => BTreeSet::new(),
        Some(chosen) if signs.is_empty() || signs.contains(chosen.as_str()) => {
            BTreeSet::from([chosen.as_str()])
        }
        Some(chosen) if is_everywhere(plan, chosen, keys.get(chosen.as_str()), wanted, now) => {
            BTreeSet::from([chosen.as_str()])
        }
        // Whatever signs goes on until the chosen key's record has spread.
        Some(_) => signs.clone(),
    };
    for selector in active.iter().copied().chain(chosen.as_deref()) {
        if keys
            .get(selector)
            .is_some_and(|stored| stored.retired.is_some())
        {
            plan.recall.insert(selector.to_owned());
        }
    }
    for (selector, stored) in keys {
        if active.contains(selector) || chosen.as_deref() == Some(selector) {
            continue;
        }
        match stored.retired {
            None => drop(plan.retire.insert(selector.to_owned())),
            Some(retired) if now.duration_since(retired) >= wanted.retirement => {
                plan.remove.insert(selector.to_owned());
            }
            Some(_) => {}
        }
    }
    plan.active.extend(active.into_iter().map(str::to_owned));
}

/// The selector of a key that the owner brought, which is taken over if it is new or another than before.
fn import(plan: &mut Plan, keyring: &Keyring, selector: &str, key: &SigningKey) -> String {
    let stored = keyring.keys.get(selector).map(|stored| &stored.key);
    if stored != Some(&Ok(key.clone())) {
        plan.import.insert(selector.to_owned(), key.clone());
    }
    selector.to_owned()
}

/// Whether a key gets a successor. One that waits to sign is itself the successor.
fn is_due(stored: &StoredKey, plan: &Plan, wanted: &Wanted<'_>, now: Timestamp) -> bool {
    let age = stored.created.map(|created| now.duration_since(created));
    let is_old = wanted
        .rotate_every
        .zip(age)
        .is_some_and(|(every, age)| age >= every);
    stored.active && (plan.rotated.is_some() || is_old)
}

/// Whether a key may take over: its record has been everywhere for as long as an answer from before may
/// be remembered. Notes in the plan since when it is.
fn is_everywhere(
    plan: &mut Plan,
    selector: &str,
    stored: Option<&&StoredKey>,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> bool {
    let seen = stored.and_then(|stored| stored.seen);
    match (wanted.shown.get(selector), seen) {
        (Some(_), None) => {
            plan.seen.insert(selector.to_owned());
            false
        }
        (Some(ttl), Some(seen)) => now.duration_since(seen) >= *ttl,
        // A lookup that failed says nothing.
        (None, Some(_)) if wanted.unknown.contains(selector) => false,
        (None, Some(_)) => {
            plan.unseen.insert(selector.to_owned());
            false
        }
        (None, None) => false,
    }
}

/// The newest key of the wanted prefix, damaged or not: a damaged key is reported, never replaced,
/// since its record is published and only its owner can say whether a backup exists.
fn choose(
    keys: &BTreeMap<&str, &StoredKey>,
    wanted: &Wanted<'_>,
    algorithm: DkimAlgorithm,
) -> Option<String> {
    keys.keys()
        .filter_map(|selector| Some((number(selector, wanted.prefix, algorithm)?, *selector)))
        .max()
        .map(|(_, selector)| selector.to_owned())
}

/// `<prefix>-r<n>` or `<prefix>-e<n>`, with the first number that was never used.
fn next_selector(keyring: &Keyring, wanted: &Wanted<'_>, algorithm: DkimAlgorithm) -> String {
    let last = [wanted.former, &keyring.spent, wanted.revoked]
        .into_iter()
        .flatten()
        .chain(keyring.keys.keys())
        .filter_map(|selector| number(selector, wanted.prefix, algorithm))
        .max();
    let number = last.unwrap_or(0).saturating_add(1);
    format!("{}-{}{number}", wanted.prefix, letter(algorithm))
}

/// The number in a selector of this prefix and algorithm.
fn number(selector: &str, prefix: &str, algorithm: DkimAlgorithm) -> Option<u32> {
    let rest = selector.strip_prefix(prefix)?.strip_prefix('-')?;
    rest.strip_prefix(letter(algorithm))?.parse().ok()
}

/// The algorithm that a selector of ours tells, for a key that cannot be read.
pub fn algorithm_of(selector: &str) -> Option<DkimAlgorithm> {
    let (prefix, _) = selector.rsplit_once('-')?;
    [DkimAlgorithm::RsaSha256, DkimAlgorithm::Ed25519Sha256]
        .into_iter()
        .find(|algorithm| number(selector, prefix, *algorithm).is_some())
}

fn letter(algorithm: DkimAlgorithm) -> char {
    match algorithm {
        DkimAlgorithm::RsaSha256 => 'r',
        DkimAlgorithm::Ed25519Sha256 => 'e',
    }
}

/// The data after `plan`, with `made` the keys that it asked for. Entries that are not the
/// keyring's are left as they are.
pub fn apply(
    data: &SecretData,
    plan: &Plan,
    made: &BTreeMap<String, SigningKey>,
    now: Timestamp,
) -> SecretData {
    let mut data = data.clone();
    for (selector, key) in made {
        // A key that stands there is never overwritten.
        data.entry(format!("{selector}{PEM}"))
            .or_insert_with(|| key.private.expose().as_bytes().to_vec());
        data.entry(format!("{selector}{CREATED}"))
            .or_insert_with(|| seconds(now));
    }
    for (selector, key) in &plan.import {
        let pem = key.private.expose().as_bytes().to_vec();
        data.insert(format!("{selector}{PEM}"), pem);
        data.insert(format!("{selector}{CREATED}"), seconds(now));
        data.remove(&format!("{selector}{SEEN}"));
    }
    for selector in &plan.recall {
        data.remove(&format!("{selector}{RETIRED}"));
    }
    for selector in &plan.retire {
        data.remove(&format!("{selector}{SEEN}"));
        data.insert(format!("{selector}{RETIRED}"), seconds(now));
    }
    for selector in &plan.seen {
        data.insert(format!("{selector}{SEEN}"), seconds(now));
    }
    for selector in &plan.unseen {
        data.remove(&format!("{selector}{SEEN}"));
    }
    for selector in &plan.remove {
        for suffix in [PEM, CREATED, SEEN, RETIRED] {
            data.remove(&format!("{selector}{suffix}"));
        }
    }
    for selector in &plan.revoke {
        for suffix in [PEM, SEEN, RETIRED] {
            data.remove(&format!("{selector}{suffix}"));
        }
        // What is left keeps the selector from being used again.
        data.entry(format!("{selector}{CREATED}"))
            .or_insert_with(|| seconds(now));
    }
    if let Some(asked) = &plan.rotated {
        data.insert(ROTATED.to_owned(), asked.as_bytes().to_vec());
    }
    let active: Vec<&str> = plan.active.iter().map(String::as_str).collect();
    data.insert(ACTIVE.to_owned(), active.join("\n").into_bytes());
    data
}

fn seconds(time: Timestamp) -> Vec<u8> {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    whole.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
