//! Judges what was read; pure.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use operator_api::conditions::{ACCEPTED, reason};
use operator_api::names::{ROTATE_NOW_ANNOTATION, dkim_secret};
use operator_api::{DnsRecord, DnsRecordPurpose, DnsRecordRequirement, SendingDomain, SmtpRelay};
use relay_config::DkimAlgorithm;

use super::bounces;
use super::dereference::Seen;
use super::dns::Spread;
use super::judge::{Facts, Judgement};
use super::keyring::{self, Keyring, Plan, Wanted};
use super::keys::SigningKey;
use super::own_keys;
use super::records::{self, WantedRecord};
use super::spf::Answers;
use crate::certificates::SecretData;
use crate::conditions::{self, Conditioned as _};
use crate::render::{Violation, admission};

/// Defaults of `delivery.retry.expireAfter` and `limits.maximumHold`.
const EXPIRE: SignedDuration = SignedDuration::from_hours(5 * 24);
const HOLD: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long after its arrival a message may be judged, such as by a mailbox that forwards it.
const JUDGED: SignedDuration = SignedDuration::from_hours(2 * 24);

/// What became of the checks.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// Whether the relay takes the domain.
    pub(super) accepted: Result<(), Violation>,
    /// What to do to the keys, or why nothing can be done.
    pub(super) keys: Result<Plan, Violation>,
}

pub(super) fn run(domain: &SendingDomain, seen: &Seen, now: Timestamp) -> Judged {
    let accepted = admission::judge(
        domain,
        seen.relay.as_deref(),
        &seen.namespaces,
        seen.rivals.iter().map(AsRef::as_ref),
    )
    .and_then(|()| relay_is_accepted(seen.relay.as_deref()))
    .and_then(|()| admission::has_room(seen.lacks_room, domain));
    let keys = judge_keys(domain, seen, &accepted, now);
    Judged { accepted, keys }
}

/// The relay runs nothing new while its own spec cannot be used.
pub(crate) fn relay_is_accepted(relay: Option<&SmtpRelay>) -> Result<(), Violation> {
    let Some(relay) = relay else { return Ok(()) };
    match conditions::find(relay.conditions(), ACCEPTED) {
        Some(condition) if condition.status == "False" => Err(Violation::new(
            reason::RELAY_NOT_ACCEPTED,
            format!(
                "SmtpRelay {}/{} cannot be used as it stands ({}); see its conditions",
                relay.namespace().unwrap_or_default(),
                relay.name_any(),
                condition.reason
            ),
        )),
        _ => Ok(()),
    }
}

fn judge_keys(
    domain: &SendingDomain,
    seen: &Seen,
    accepted: &Result<(), Violation>,
    now: Timestamp,
) -> Result<Plan, Violation> {
    let name = dkim_secret(&domain.name_any());
    let data = match (&seen.secret, seen.keys(domain)) {
        (None, _) => None,
        (Some(_), Some(data)) => Some(data),
        (Some(_), None) => {
            return Err(Violation::new(
                reason::KEYS_INVALID,
                format!(
                    "Secret {name} exists and was not made for this SendingDomain; delete or \
                     rename it, and keys are made"
                ),
            ));
        }
    };
    if data.is_none() {
        may_make_keys(seen, accepted)?;
    }
    let data = data.unwrap_or_default();
    let own = own_keys::read(domain, &seen.own, &Keyring::read(&data))?;
    Ok(plan(domain, seen, &data, &own, now))
}

/// A missing relay is no obstacle: it may come later, and the records can be published meanwhile.
fn may_make_keys(seen: &Seen, accepted: &Result<(), Violation>) -> Result<(), Violation> {
    if seen.terminating {
        let message = "the namespace is being deleted; no keys are made in it";
        return Err(Violation::new(reason::KEYS_PENDING, message));
    }
    match accepted {
        Err(violation)
            if ![reason::RELAY_NOT_FOUND, reason::RELAY_NOT_ACCEPTED]
                .contains(&violation.reason) =>
        {
            let message = "keys are made once the domain is Accepted";
            Err(Violation::new(reason::KEYS_PENDING, message))
        }
        _ => Ok(()),
    }
}

fn plan(
    domain: &SendingDomain,
    seen: &Seen,
    data: &SecretData,
    own: &BTreeMap<String, SigningKey>,
    now: Timestamp,
) -> Plan {
    let everywhere = seen.spread.iter().filter_map(|(selector, spread)| {
        let Spread::Everywhere(ttl) = spread else {
            return None;
        };
        Some((selector.clone(), *ttl))
    });
    let unknown = seen.spread.iter();
    let unknown = unknown.filter(|(_, spread)| **spread == Spread::Unknown);
    let annotations = domain.annotations();
    keyring::plan(
        &Keyring::read(data),
        &Wanted {
            algorithms: &algorithms(domain),
            own,
            prefix: &prefix(domain),
            former: &former(domain),
            shown: &everywhere.collect(),
            unknown: &unknown.map(|(selector, _)| selector.clone()).collect(),
            rotate_every: rotate_every(domain),
            rotate_now: annotations.get(ROTATE_NOW_ANNOTATION).map(String::as_str),
            revoked: &revoked(domain),
            retirement: retirement(seen.relay.as_deref()),
        },
        now,
    )
}

/// What is to be published: the records of all keys that can be read and of those that are revoked, in the
/// order of their selectors, and, once there are keys, those of the bounce domain and of the domain
/// itself. `answers` is what is known of DNS.
pub(super) fn wanted(
    domain: &SendingDomain,
    keyring: &Keyring,
    relay: Option<&SmtpRelay>,
    answers: &Answers,
) -> Vec<WantedRecord> {
    let name = &domain.spec.domain;
    let revoked = revoked(domain);
    let keys = keyring.keys.iter();
    let keys = keys.filter(|(selector, _)| !revoked.contains(*selector));
    let keys = keys.filter_map(|(selector, stored)| {
        let key = stored.key.as_ref().ok()?;
        Some(WantedRecord::dkim(selector, name, key))
    });
    let gone = revoked.iter();
    let gone = gone.map(|selector| WantedRecord::revoked(selector, name));
    let mut records: Vec<_> = keys.chain(gone).collect();
    records.sort_by(|one, other| one.question.cmp(&other.question));
    if records.is_empty() {
        return records;
    }
    records.extend(bounces::wanted(domain, relay));
    let others = Facts::new(domain, relay).others(answers);
    records.extend(others);
    records
}

/// Age at which keys get successors. What the schema lets pass can be read.
fn rotate_every(domain: &SendingDomain) -> Option<SignedDuration> {
    let rotation = domain.spec.dkim.as_ref()?.rotation.as_ref()?;
    duration(rotation.every.as_ref()?)
}

/// Selectors of keys that others may have.
pub(super) fn revoked(domain: &SendingDomain) -> BTreeSet<String> {
    let dkim = domain.spec.dkim.iter();
    dkim.flat_map(|dkim| dkim.revoked_selectors.iter().cloned())
        .collect()
}

/// How long after its last signature a key may still be asked for: a message may be held until it is
/// due, then tried until it expires, and be judged some time after it arrived.
fn retirement(relay: Option<&SmtpRelay>) -> SignedDuration {
    let spec = relay.map(|relay| &relay.spec);
    let retry = spec.and_then(|spec| spec.delivery.as_ref()?.retry.as_ref());
    let expire = retry.and_then(|retry| duration(retry.expire_after.as_ref()?));
    let hold = spec.and_then(|spec| duration(spec.limits.as_ref()?.maximum_hold.as_ref()?));
    expire
        .unwrap_or(EXPIRE)
        .saturating_add(hold.unwrap_or(HOLD))
        .saturating_add(JUDGED)
}

fn duration(text: &str) -> Option<SignedDuration> {
    let duration: relay_config::Duration = text.parse().ok()?;
    SignedDuration::try_from(duration.get()).ok()
}

/// The records as the status shows them.
pub(super) fn records(domain: &SendingDomain, keyring: &Keyring, seen: &Seen) -> Vec<DnsRecord> {
    let previous = domain
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.dns_records);
    let relay = seen.relay.as_deref();
    let answers = &seen.check.answers;
    let facts = Facts::new(domain, relay);
    let wanted = wanted(domain, keyring, relay, answers).into_iter();
    let mut records: Vec<DnsRecord> = wanted
        .filter_map(|wanted| {
            let is_same = |record: &&DnsRecord| {
                record.name == wanted.question.name && record.purpose == wanted.purpose
            };
            let previous = previous.iter().find(is_same);
            let finding = match facts.judge(&wanted, answers) {
                Judgement::Found(finding) => Some(finding),
                Judgement::Unknown | Judgement::Needs(_) => None,
                Judgement::Unwanted => return None,
            };
            let is_extra = wanted.requirement != DnsRecordRequirement::Required
                && wanted.purpose != DnsRecordPurpose::Dmarc;
            if finding.is_none() && previous.is_none() && is_extra {
                return None;
            }
            let answer = answers.get(&wanted.question);
            Some(records::record(wanted, finding, answer, previous))
        })
        .collect();
    if !facts.knows_strangers(answers) {
        keep_reports(&mut records, previous);
    }
    records
}

/// As long as nobody can tell who gets reports, the records of those who got them stay.
fn keep_reports(records: &mut Vec<DnsRecord>, previous: &[DnsRecord]) {
    let is_report = |record: &DnsRecord| record.purpose == DnsRecordPurpose::DmarcReports;
    let is_policy = |record: &DnsRecord| record.purpose == DnsRecordPurpose::Dmarc;
    let Some(at) = records.iter().position(is_policy) else {
        return;
    };
    let rest = records.split_off(at + 1);
    let kept = previous.iter().filter(|record| is_report(record)).cloned();
    records.extend(kept.chain(rest));
}

fn algorithms(domain: &SendingDomain) -> BTreeSet<DkimAlgorithm> {
    let chosen = domain
        .spec
        .dkim
        .as_ref()
        .and_then(|dkim| dkim.algorithms.as_ref());
    match chosen {
        Some(chosen) => chosen.iter().copied().map(algorithm).collect(),
        None => BTreeSet::from([DkimAlgorithm::RsaSha256, DkimAlgorithm::Ed25519Sha256]),
    }
}

fn algorithm(chosen: operator_api::DkimAlgorithm) -> DkimAlgorithm {
    match chosen {
        operator_api::DkimAlgorithm::RsaSha256 => DkimAlgorithm::RsaSha256,
        operator_api::DkimAlgorithm::Ed25519Sha256 => DkimAlgorithm::Ed25519Sha256,
    }
}

/// The chosen prefix, or `mr` and six characters of a hash of the object's identity: two clusters
/// that send for one domain must not publish under one name.
fn prefix(domain: &SendingDomain) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let chosen = domain
        .spec
        .dkim
        .as_ref()
        .and_then(|dkim| dkim.selector_prefix.clone());
    chosen.unwrap_or_else(|| {
        let identity = domain.metadata.uid.clone().unwrap_or_default();
        let hash = digest::digest(&digest::SHA256, identity.as_bytes());
        let characters = hash.as_ref().iter().take(6);
        let characters = characters.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        "mr".chars().chain(characters).collect()
    })
}

/// Selectors that the status shows, which may be in DNS.
fn former(domain: &SendingDomain) -> BTreeSet<String> {
    let keys = domain.status.iter().flat_map(|status| &status.keys);
    keys.map(|key| key.selector.clone()).collect()
}

#[cfg(test)]
mod tests;
