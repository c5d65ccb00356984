//! What the domain shows: built from what was read and written, written only when it differs.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use operator_api::conditions::{DNS_VERIFIED, KEYS_READY, reason};
use operator_api::names::dkim_secret;
use operator_api::{
    DkimAlgorithm, DnsRecord, KeyState, KeyStatus, SendingDomain, SendingDomainStatus,
};
use tokio::time::Instant;

use super::DomainError;
use super::apply::Applied;
use super::bounces;
use super::dereference::Seen;
use super::keyring::{self, Keyring, StoredKey};
use super::records::{self, Answer};
use super::validate::{self, Judged};
use crate::conditions::{self, Conditioned as _, Verdict};
use crate::context::Context;
use crate::kubernetes::events::{self, RECONCILE};
use crate::kubernetes::status;
use crate::render::admission::Attached as _;
use crate::render::{Digest, domain_entry};

/// Reasons that pass by themselves, or are told by another condition.
const QUIET: [&str; 4] = [
    reason::KEYS_PENDING,
    reason::PENDING,
    reason::NOT_ACCEPTED,
    reason::LOOKUP_FAILED,
];
/// DNS is not looked at more often than this, whatever was scheduled.
const SHORTEST: Duration = Duration::from_secs(1);

pub(super) async fn run(
    domain: &SendingDomain,
    context: &Context,
    seen: &Seen,
    judged: &Judged,
    applied: &Applied,
    now: Timestamp,
) -> Result<Action, DomainError> {
    let entry = applied
        .data
        .as_ref()
        .and_then(|data| domain_entry(domain, data));
    let known = context.programmed.has_domain(
        &domain.relay_key(),
        &domain.claim(),
        entry.as_ref().map(Digest::of),
    );
    let shown = domain.conditions();
    let programmed = conditions::is_programmed(known, shown, domain.metadata.generation);
    let (desired, verdicts) = build(domain, seen, judged, applied, programmed, now);
    tell(domain, context, applied, &verdicts).await;
    status::write(&context.client, domain, domain.status.as_ref(), &desired)
        .await
        .map_err(|source| DomainError::WriteStatus(Box::new(source)))?;
    let next_check = seen.check.again.map(|again| {
        again
            .saturating_duration_since(Instant::now())
            .max(SHORTEST)
    });
    // New keys have records that nobody has looked up yet.
    let next_check = if applied.made.is_empty() {
        next_check
    } else {
        Some(SHORTEST)
    };
    let pending = conditions::look_again(&judged.accepted, known, shown, now);
    Ok([next_check, pending]
        .into_iter()
        .flatten()
        .min()
        .map_or_else(Action::await_change, Action::requeue))
}

/// The status, and the verdicts that its conditions are made of. Pure.
fn build(
    domain: &SendingDomain,
    seen: &Seen,
    judged: &Judged,
    applied: &Applied,
    programmed: bool,
    now: Timestamp,
) -> (SendingDomainStatus, Vec<Verdict>) {
    let data = applied.data.clone().unwrap_or_default();
    let keyring = Keyring::read(&data);
    let records = validate::records(domain, &keyring, seen);
    let mut verdicts = vec![
        conditions::accepted(&judged.accepted, "the relay sends for the domain"),
        keys_ready(domain, judged, &keyring),
        dns_verified(domain, seen, &needed(domain, &keyring, &records)),
        conditions::programmed(
            &judged.accepted,
            programmed,
            "every shard of the relay runs the domain",
            "the relay's shards do not all run the domain as it is now",
        ),
    ];
    let message = "mail from the domain is accepted and signed, and its records are published";
    verdicts.push(conditions::ready(&verdicts, message));
    let generation = domain.metadata.generation;
    let status = SendingDomainStatus {
        observed_generation: generation,
        conditions: conditions::merge(domain.conditions(), &verdicts, generation, now),
        dns_records: records,
        keys: keys(seen, &keyring, now),
    };
    (status, verdicts)
}

fn dns_verified(domain: &SendingDomain, seen: &Seen, needed: &[DnsRecord]) -> Verdict {
    let verdict = records::verdict(needed, failure(seen));
    match bounces::obstacle(domain, seen.relay.as_deref()) {
        Some(message) if verdict.status == Some(true) => {
            Verdict::no(DNS_VERIFIED, reason::RECORDS_MISSING, message)
        }
        _ => verdict,
    }
}

fn keys_ready(domain: &SendingDomain, judged: &Judged, keyring: &Keyring) -> Verdict {
    if let Err(violation) = &judged.keys {
        return Verdict::violated(KEYS_READY, violation);
    }
    let name = dkim_secret(&domain.name_any());
    let mut damaged = keyring
        .keys
        .iter()
        .filter(|(_, stored)| stored.retired.is_none())
        .filter_map(|(selector, stored)| Some((selector, stored.key.as_ref().err()?)));
    if let Some((selector, error)) = damaged.next() {
        let message = format!(
            "entry {selector}.pem of Secret {name} {error}; restore the entry from a backup, or \
             delete it, and a new key is made whose record has to be published"
        );
        return Verdict::no(KEYS_READY, reason::KEYS_INVALID, message);
    }
    if keyring.signing().next().is_none() {
        let message = "no key signs yet";
        return Verdict::no(KEYS_READY, reason::KEYS_PENDING, message);
    }
    Verdict::yes(
        KEYS_READY,
        reason::KEYS_READY,
        format!("the keys are in Secret {name}"),
    )
}

/// Records of keys that sign or will: those of retired keys may go.
fn needed(domain: &SendingDomain, keyring: &Keyring, records: &[DnsRecord]) -> Vec<DnsRecord> {
    let retired = |record: &&DnsRecord| {
        keyring.keys.iter().any(|(selector, stored)| {
            stored.retired.is_some() && records::name(selector, &domain.spec.domain) == record.name
        })
    };
    records
        .iter()
        .filter(|record| !retired(record))
        .cloned()
        .collect()
}

fn failure(seen: &Seen) -> Option<&str> {
    seen.check.answers.values().find_map(|answer| match answer {
        Answer::Failed(cause) => Some(cause.as_str()),
        Answer::Records(_) | Answer::None => None,
    })
}

fn keys(seen: &Seen, keyring: &Keyring, now: Timestamp) -> Vec<KeyStatus> {
    let made = seen
        .secret
        .as_ref()
        .and_then(kube::ResourceExt::creation_timestamp)
        .map_or(now, |time| time.0);
    let keys = keyring.keys.iter();
    keys.filter_map(|(selector, stored)| {
        let known = stored.key.as_ref().ok().map(|key| key.algorithm);
        // A damaged key is shown too, so that its selector is never used again.
        let algorithm = match known.or_else(|| keyring::algorithm_of(selector))? {
            relay_config::DkimAlgorithm::RsaSha256 => DkimAlgorithm::RsaSha256,
            relay_config::DkimAlgorithm::Ed25519Sha256 => DkimAlgorithm::Ed25519Sha256,
        };
        Some(KeyStatus {
            selector: selector.clone(),
            algorithm,
            state: state(stored),
            created_at: Time(stored.created.unwrap_or(made)),
        })
    })
    .collect()
}

fn state(stored: &StoredKey) -> KeyState {
    match (stored.active, stored.retired) {
        (true, _) => KeyState::Active,
        (false, None) => KeyState::Pending,
        (false, Some(_)) => KeyState::Retiring,
    }
}

async fn tell(domain: &SendingDomain, context: &Context, applied: &Applied, verdicts: &[Verdict]) {
    let recorder = &context.recorder;
    if !applied.made.is_empty() {
        let note = format!(
            "made DKIM keys with selectors {}; publish the records in status.dnsRecords",
            applied.made.join(", ")
        );
        events::normal(recorder, domain, "KeysMade", RECONCILE, &note).await;
    }
    events::transitions(recorder, domain, verdicts, |verdict| {
        events::unless_quiet(verdict, &QUIET)
    })
    .await;
}

#[cfg(test)]
mod tests;
