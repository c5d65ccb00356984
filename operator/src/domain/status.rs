//! What the domain shows: built from what was read and written, written only when it differs.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use operator_api::conditions::{DNS_VERIFIED, KEYS_READY, reason};
use operator_api::names::dkim_secret;
use operator_api::{
    DkimAlgorithm, DnsRecord, DnsRecordPurpose, KeyState, KeyStatus, SendingDomain,
    SendingDomainStatus,
};
use tokio::time::Instant;

use super::DomainError;
use super::apply::Applied;
use super::bounces;
use super::dereference::Seen;
use super::dns::Spread;
use super::judge::Facts;
use super::keyring::{self, Keyring, StoredKey};
use super::records::{self, Answer};
use super::spf::Answers;
use super::validate::{self, Judged};
use crate::conditions::{self, Conditioned as _, Verdict};
use crate::context::Context;
use crate::kubernetes::controller::Action;
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
    // In a namespace that goes nothing can be made, Events included (case O8).
    if !seen.terminating {
        tell(domain, context, applied, &verdicts).await;
    }
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
    let takes_over = takes_over(seen, applied, now);
    Ok([next_check, pending, takes_over]
        .into_iter()
        .flatten()
        .min()
        .map_or_else(Action::await_change, Action::requeue))
}

/// Until the next key whose record is everywhere may sign.
fn takes_over(seen: &Seen, applied: &Applied, now: Timestamp) -> Option<Duration> {
    let keyring = Keyring::read(applied.data.as_ref()?);
    let waits = keyring.keys.iter().filter_map(|(selector, stored)| {
        let Some(Spread::Everywhere(ttl)) = seen.spread.get(selector) else {
            return None;
        };
        let until = stored.seen?.checked_add(*ttl).ok()?;
        let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
        let waits = !stored.active && stored.retired.is_none();
        waits.then(|| wait.max(SHORTEST))
    });
    waits.min()
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
        dns_verified(domain, seen, &keyring, &records),
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
        keys: keys(domain, seen, &keyring, now),
    };
    (status, verdicts)
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
    // A successor may wait; what signs does.
    let signs = |algorithm| keyring.signing().any(|(_, key)| key.algorithm == algorithm);
    let plan = judged.keys.iter().flat_map(|plan| &plan.make);
    let mut waits = plan.filter(|(selector, _)| !keyring.keys.contains_key(*selector));
    if waits.any(|(_, algorithm)| !signs(*algorithm)) {
        let message = "a key is being made";
        return Verdict::no(KEYS_READY, reason::KEYS_PENDING, message);
    }
    let crowded = if keyring.crowded {
        "; it holds so many that none gets a successor: remove entries of keys that nobody uses any more"
    } else {
        ""
    };
    Verdict::yes(
        KEYS_READY,
        reason::KEYS_READY,
        format!("the keys are in Secret {name}{crowded}"),
    )
}

/// Over the records of keys that sign and of those that are revoked. What a successor still lacks harms
/// no mail, and is told once all else is in order; records of retired keys may go.
fn dns_verified(
    domain: &SendingDomain,
    seen: &Seen,
    keyring: &Keyring,
    records: &[DnsRecord],
) -> Verdict {
    let of = |wanted: fn(KeyState) -> bool| -> Vec<DnsRecord> {
        let is_wanted = |record: &&DnsRecord| {
            // Those of the bounce domain are always in use.
            if record.purpose != DnsRecordPurpose::Dkim {
                return wanted(KeyState::Active);
            }
            let mut keys = keyring.keys.iter();
            let key = keys
                .find(|(selector, _)| records::name(selector, &domain.spec.domain) == record.name);
            wanted(key.map_or(KeyState::Revoked, |(_, stored)| state(stored)))
        };
        records.iter().filter(is_wanted).cloned().collect()
    };
    let in_use = of(|state| matches!(state, KeyState::Active | KeyState::Revoked));
    let verdict = records::verdict(&in_use, |record| failure(record, &seen.check.answers));
    if verdict.status != Some(true) {
        return verdict;
    }
    if let Some(message) = bounces::obstacle(domain, seen.relay.as_deref(), &seen.check.answers) {
        return Verdict::no(DNS_VERIFIED, reason::RECORDS_MISSING, message);
    }
    let waiting = of(|state| state == KeyState::Pending);
    if waiting.is_empty() {
        return with_note(verdict, domain, seen);
    }
    records::waiting(&waiting, seen.spread.values())
}

/// SPF cannot be checked as long as nobody says from where mail leaves.
fn with_note(mut verdict: Verdict, domain: &SendingDomain, seen: &Seen) -> Verdict {
    if let Some(relay) = seen.relay.as_deref()
        && !Facts::new(domain, Some(relay)).egress.is_known()
    {
        let note = format!(
            "; SPF is not checked, since spec.egress of SmtpRelay {} does not say from where mail leaves",
            domain.spec.relay_ref.name
        );
        verdict.message.push_str(&note);
    }
    verdict
}

/// What the failed lookup of a record said, or another's: what the record leads to is asked for, too.
fn failure<'a>(record: &DnsRecord, answers: &'a Answers) -> Option<&'a str> {
    let cause = |answer: &'a Answer| match answer {
        Answer::Failed(cause) => Some(cause.as_str()),
        Answer::Records(_) | Answer::None => None,
    };
    let mut own = answers.iter().filter(|(question, _)| {
        (&question.name, question.kind.name()) == (&record.name, record.r#type.as_str())
    });
    own.find_map(|(_, answer)| cause(answer))
        .or_else(|| answers.values().find_map(cause))
}

fn keys(domain: &SendingDomain, seen: &Seen, keyring: &Keyring, now: Timestamp) -> Vec<KeyStatus> {
    let made = seen
        .secret
        .as_ref()
        .and_then(kube::ResourceExt::creation_timestamp)
        .map_or(now, |time| time.0);
    let revoked = validate::revoked(domain);
    let keys = keyring.keys.iter();
    let keys = keys.filter(|(selector, _)| !revoked.contains(*selector));
    let keys = keys.filter_map(|(selector, stored)| {
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
    });
    let known = domain.status.iter().flat_map(|status| &status.keys);
    let gone = known.filter(|key| revoked.contains(&key.selector));
    let gone = gone.map(|key| KeyStatus {
        state: KeyState::Revoked,
        ..key.clone()
    });
    let mut keys: Vec<KeyStatus> = keys.chain(gone).collect();
    keys.sort_by(|one, other| one.selector.cmp(&other.selector));
    keys
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
    if !applied.switched.is_empty() {
        let note = format!(
            "DKIM keys with selectors {} sign from now on; leave the records of the keys before them until \
             they are no longer in status.dnsRecords",
            applied.switched.join(", ")
        );
        events::normal(recorder, domain, "KeysRotated", RECONCILE, &note).await;
    }
    events::transitions(recorder, domain, verdicts, |verdict| {
        events::unless_quiet(verdict, &QUIET)
    })
    .await;
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
