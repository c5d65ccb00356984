//! Fetches the keys that are missing and makes the Secret as it should be; no client.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_api::SendingDomain;
use operator_api::names::dkim_secret;
use relay_config::DkimAlgorithm;

use super::DomainError;
use super::dereference::Seen;
use super::key_maker::KeyMaker;
use super::keyring::{self, Keyring, Plan};
use super::keys::{self, SigningKey};
use super::return_keys;
use super::validate::Judged;
use crate::certificates::SecretData;
use crate::guarded_secret::{self, Change, Desired};
use crate::kubernetes::queue::Key;

/// What [`super::apply`] shall write.
pub(super) struct Prepared {
    /// The write.
    pub(super) change: Option<Change>,
    /// Data of the key Secret after it; `None` when there are no keys.
    pub(super) data: Option<SecretData>,
    /// Selectors of new keys.
    pub(super) made: Vec<String>,
    /// Selectors of keys that took over from others.
    pub(super) switched: Vec<String>,
}

pub(super) fn run(
    domain: &SendingDomain,
    seen: &Seen,
    judged: &Judged,
    maker: &KeyMaker,
    now: Timestamp,
) -> Result<Prepared, DomainError> {
    let existing = seen.keys(domain);
    let Ok(plan) = &judged.keys else {
        // Whatever keys there are go on being shown and used while nothing may be changed.
        return Ok(unchanged(existing));
    };
    let before = Keyring::read(&existing.clone().unwrap_or_default());
    let (made, waits) = make(domain, &plan.make, maker)?;
    let plan = &match waits {
        None => plan.clone(),
        // What signs goes on until its successor is there; all of the plan happens together then.
        Some(_) if has_rsa(&before) => return Ok(unchanged(existing)),
        Some(selector) => without(plan, &selector),
    };
    if made.is_empty() && existing.is_none() {
        return Ok(unchanged(None));
    }
    let signed: BTreeSet<&str> = before.signing().map(|(selector, _)| selector).collect();
    // An RSA key takes longer to make than the Ed25519 key beside it: the first one follows nobody.
    let is_first = |selector: &str| {
        plan.make.get(selector) == Some(&DkimAlgorithm::RsaSha256) && !has_rsa(&before)
    };
    let new = plan
        .active
        .iter()
        .filter(|one| !signed.contains(one.as_str()) && !is_first(one));
    let switched = if signed.is_empty() {
        Vec::new()
    } else {
        new.cloned().collect()
    };
    let data = keyring::apply(&existing.unwrap_or_default(), plan, &made, now);
    let data = return_keys::apply(data, domain.spec.bounces.is_some(), &fresh()?, now);
    let desired = Desired {
        name: &dkim_secret(&domain.name_any()),
        kind: "Opaque",
        component: "dkim",
        data: &data,
    };
    let change = guarded_secret::change(domain, seen.secret.as_ref(), &desired);
    Ok(Prepared {
        change: Some(change),
        data: Some(data),
        made: made.into_keys().collect(),
        switched,
    })
}

/// A secret for return paths, should one be due.
fn fresh() -> Result<String, DomainError> {
    let mut octets = [0; 32];
    let filled = SystemRandom::new().fill(&mut octets);
    filled.map_err(|_| keys::KeyError::Generate)?;
    Ok(BASE64.encode(octets))
}

fn unchanged(existing: Option<SecretData>) -> Prepared {
    Prepared {
        change: None,
        data: existing,
        made: Vec::new(),
        switched: Vec::new(),
    }
}

fn has_rsa(keyring: &Keyring) -> bool {
    let mut keys = keyring
        .keys
        .values()
        .filter_map(|stored| stored.key.as_ref().ok());
    keys.any(|key| key.algorithm == DkimAlgorithm::RsaSha256)
}

/// The plan as far as it needs no key `selector`.
fn without(plan: &Plan, selector: &str) -> Plan {
    let mut plan = plan.clone();
    plan.make.remove(selector);
    plan.active.remove(selector);
    plan
}

/// The keys that are there, and the selector of the one that is still being made.
fn make(
    domain: &SendingDomain,
    wanted: &BTreeMap<String, DkimAlgorithm>,
    maker: &KeyMaker,
) -> Result<(BTreeMap<String, SigningKey>, Option<String>), DomainError> {
    let mut made = BTreeMap::new();
    let of_algorithm = |wished| {
        wanted
            .iter()
            .filter(move |(_, algorithm)| **algorithm == wished)
    };
    // One for each algorithm at most.
    let mut waits = None;
    for (selector, _) in of_algorithm(DkimAlgorithm::RsaSha256) {
        let key = Key::new(domain.namespace().unwrap_or_default(), domain.name_any());
        match maker.fetch(&key)? {
            Some(key) => drop(made.insert(selector.clone(), key)),
            None => waits = Some(selector.clone()),
        }
    }
    for (selector, algorithm) in of_algorithm(DkimAlgorithm::Ed25519Sha256) {
        made.insert(selector.clone(), keys::generate(*algorithm)?);
    }
    Ok((made, waits))
}
