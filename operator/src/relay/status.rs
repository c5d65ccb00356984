//! Step five: what was seen, as conditions and status; Events for what changed.

mod drains;
mod pods;
mod shards;
mod verdicts;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use operator_api::conditions::{self as types, reason};
use operator_api::names::RELAY_LABEL;
use operator_api::{AddressType, RelayAddress, ShardPhase, ShardStatus, SmtpRelayStatus};

use super::apply::Applied;
use super::dereference::Found;
use super::{LOOK_AGAIN, RelayError};
use crate::certificates::Reissue;
use crate::conditions::{self, Verdict};
use crate::context::Context;
use crate::kubernetes::{events, status as writer};
use crate::render::Violation;

/// When to look again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    /// Something is under way, since this long.
    pending_for: Option<Duration>,
    /// When a certificate has to be renewed, or an exception ends.
    renew_at: Timestamp,
}

impl Outlook {
    /// Often while something has just begun, rarely when it takes long or nothing is under way.
    pub(super) fn look_again(&self, now: Timestamp) -> Duration {
        let pause = match self.pending_for {
            None => LOOK_AGAIN,
            Some(waited) => pause(waited),
        };
        let renewal = self.renew_at.as_second().saturating_sub(now.as_second());
        let renewal = Duration::from_secs(u64::try_from(renewal).unwrap_or(0).max(1));
        pause.min(renewal)
    }
}

/// How long until the next look at something that has been under way for `waited`.
pub(super) fn pause(waited: Duration) -> Duration {
    let seconds = match waited.as_secs() {
        ..60 => 1,
        60..600 => 5,
        600.. => 15,
    };
    Duration::from_secs(seconds)
}

pub(super) async fn run(
    context: &Context,
    found: &Found,
    applied: Applied,
    now: Timestamp,
) -> Result<Outlook, RelayError> {
    let Applied {
        rendered,
        tls,
        reissued,
        renew_at,
        draining,
        refused_claims,
        refused_shards,
        refused_service,
        made,
        changed,
    } = applied;
    let hash = rendered
        .as_ref()
        .ok()
        .map(|rendered| rendered.hash.to_string());
    let old = found.relay.status.clone().unwrap_or_default();
    let shards: Vec<ShardStatus> = found
        .shards
        .iter()
        .map(|shard| shards::status(found, shard, hash.as_deref(), &draining, &old, now))
        .collect();
    let verdicts = verdicts::all(&verdicts::Seen {
        found,
        refused: rendered.as_ref().err(),
        tls: &tls,
        shards: &shards,
        draining: &draining,
        refused_claims: &refused_claims,
        refused_shards: &refused_shards,
        refused_service: refused_service.as_deref(),
        was_ready: conditions::find(&old.conditions, types::READY).is_some_and(|ready| {
            ready.status == "True" && ready.observed_generation == found.relay.metadata.generation
        }),
        now,
    });
    tell_issued(context, found, &reissued).await;
    let programmed = verdicts
        .iter()
        .any(|verdict| verdict.kind == types::PROGRAMMED && verdict.holds());
    let (domains, credentials) = match &rendered {
        Ok(rendered) => (
            count(rendered.entries.domains.len()),
            count(rendered.entries.credentials.len()),
        ),
        // What runs on is what was there before.
        Err(_) => (old.domains, old.credentials),
    };
    if let (true, Ok(rendered)) = (programmed, rendered) {
        tell_attached(context, found, rendered.entries);
    }
    tell_drains(context, found, &old.shards, &shards).await;
    let status = SmtpRelayStatus {
        addresses: addresses(context, found),
        domains,
        credentials,
        certificate_not_after: tls.not_after().map(Time),
        ..summary(found, (shards, &made), &old, &verdicts, now)
    };
    events::transitions(&context.recorder, found.relay.as_ref(), &verdicts, told).await;
    let written = writer::write(
        &context.client,
        found.relay.as_ref(),
        found.relay.status.as_ref(),
        &status,
    )
    .await?;
    if written {
        let (namespace, relay) = &found.key;
        tracing::debug!(namespace, relay, "status written");
    }
    // What pods say has to be asked for; of all else the API server tells.
    let asked = found.shards.iter().any(|shard| shard.report.is_some());
    let pending = !draining.is_empty() || asked && (changed || verdicts.iter().any(is_pending));
    Ok(Outlook {
        pending_for: pending.then(|| pending_for(&status, changed, now)),
        renew_at: next_expiry(found, now).map_or(renew_at, |expiry| expiry.min(renew_at)),
    })
}

async fn tell_drains(
    context: &Context,
    found: &Found,
    before: &[ShardStatus],
    now: &[ShardStatus],
) {
    let relay = found.relay.as_ref();
    for (reason, note) in drains::told(before, now) {
        events::normal(&context.recorder, relay, reason, "Drain", &note).await;
    }
}

/// Where the load balancer is reached, as its Service says.
fn addresses(context: &Context, found: &Found) -> Vec<RelayAddress> {
    let service = ObjectRef::new(&found.key.1).within(&found.key.0);
    let service = context.stores.services.get(&service);
    service.map_or_else(Vec::new, |service| addresses_of(&service))
}

fn addresses_of(service: &Service) -> Vec<RelayAddress> {
    let status = service.status.as_ref();
    let points = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let address = |type_, value: &Option<String>| {
        let value = value.clone().filter(|value| !value.is_empty());
        value.map(|value| RelayAddress {
            r#type: type_,
            value,
        })
    };
    points
        .into_iter()
        .flatten()
        .flat_map(|point| {
            [
                address(AddressType::IpAddress, &point.ip),
                address(AddressType::Hostname, &point.hostname),
            ]
        })
        .flatten()
        .collect()
}

/// The conditions of a relay of which nothing is refused or under way.
#[cfg(test)]
pub(super) fn judge(
    found: &Found,
    refused: Option<&Violation>,
    tls: &super::validate::Tls,
    shards: &[ShardStatus],
    now: Timestamp,
) -> Vec<Verdict> {
    verdicts::all(&verdicts::Seen {
        found,
        refused,
        tls,
        shards,
        draining: &[],
        refused_claims: &[],
        refused_shards: &[],
        refused_service: None,
        was_ready: false,
        now,
    })
}

/// When the next exception ends, which the condition then tells.
fn next_expiry(found: &Found, now: Timestamp) -> Option<Timestamp> {
    let delivery = found.relay.spec.delivery.as_ref()?;
    let ends = delivery.tls_overrides.iter().map(|one| one.expires.0);
    ends.filter(|end| *end > now).min()
}

/// What follows from the shards, of which `made` were made just now, and the conditions.
fn summary(
    found: &Found,
    (shards, made): (Vec<ShardStatus>, &[i32]),
    old: &SmtpRelayStatus,
    verdicts: &[Verdict],
    now: Timestamp,
) -> SmtpRelayStatus {
    let existing = shards.iter().zip(&found.shards);
    let existing = existing.filter(|(_, shard)| {
        shard.deployment.is_some() || shard.pod.is_some() || made.contains(&shard.index)
    });
    SmtpRelayStatus {
        observed_generation: found.relay.metadata.generation,
        conditions: conditions::merge(
            &old.conditions,
            verdicts,
            found.relay.metadata.generation,
            now,
        ),
        address: Some(format!("{}.{}.svc", found.key.1, found.key.0)),
        replicas: count(existing.count()),
        ready_replicas: count(
            shards
                .iter()
                .filter(|shard| shard.phase == ShardPhase::Running)
                .count(),
        ),
        selector: Some(format!("{RELAY_LABEL}={}", found.key.1)),
        queued_messages: shards.iter().map(|shard| shard.queued_messages).sum(),
        shards,
        ..SmtpRelayStatus::default()
    }
}

/// The relay cannot be touched at all.
pub(super) async fn refused(
    context: &Context,
    found: &Found,
    violation: &Violation,
    now: Timestamp,
) -> Result<Outlook, RelayError> {
    let old = found.relay.status.clone().unwrap_or_default();
    let verdicts = [
        Verdict::violated(types::ACCEPTED, violation),
        Verdict::no(types::READY, violation.reason, violation.message.clone()),
    ];
    events::transitions(&context.recorder, found.relay.as_ref(), &verdicts, told).await;
    let generation = found.relay.metadata.generation;
    let status = SmtpRelayStatus {
        observed_generation: generation,
        conditions: conditions::merge(&old.conditions, &verdicts, generation, now),
        ..old
    };
    writer::write(
        &context.client,
        found.relay.as_ref(),
        found.relay.status.as_ref(),
        &status,
    )
    .await?;
    Ok(Outlook {
        pending_for: None,
        renew_at: Timestamp::MAX,
    })
}

/// The relay is being deleted and shards are still there. Other conditions are not told any more:
/// nobody looks after what they speak of.
pub(super) async fn deleting(
    context: &Context,
    found: &Found,
    waiting: &[(i32, String)],
    now: Timestamp,
) -> Result<(), RelayError> {
    let old = found.relay.status.clone().unwrap_or_default();
    let list: Vec<String> = waiting
        .iter()
        .map(|(index, why)| format!("shard {index}: {why}"))
        .collect();
    let message = format!("the relay is being deleted; {}", list.join("; "));
    let verdicts = [Verdict::no(types::READY, reason::DRAINING, message)];
    let shards = found
        .shards
        .iter()
        .map(|shard| shards::status(found, shard, None, waiting, &old, now))
        .collect();
    let status = SmtpRelayStatus {
        addresses: old.addresses.clone(),
        domains: old.domains,
        credentials: old.credentials,
        certificate_not_after: old.certificate_not_after.clone(),
        ..summary(found, (shards, &[]), &old, &verdicts, now)
    };
    events::transitions(&context.recorder, found.relay.as_ref(), &verdicts, told).await;
    let current = found.relay.status.as_ref();
    writer::write(&context.client, found.relay.as_ref(), current, &status).await?;
    Ok(())
}

/// One Event for all certificates: several of one reason would be folded into the first.
async fn tell_issued(context: &Context, found: &Found, reissued: &[(&str, Reissue)]) {
    if reissued.is_empty() {
        return;
    }
    let parts: Vec<String> = reissued
        .iter()
        .map(|(what, why)| format!("{what} ({why})"))
        .collect();
    let note = format!("issued certificates for: {}", parts.join(", "));
    let relay = found.relay.as_ref();
    events::normal(
        &context.recorder,
        relay,
        "CertificateIssued",
        "Issue",
        &note,
    )
    .await;
}

/// Domains and credentials say `Programmed` when their relay's shards run them.
fn tell_attached(context: &Context, found: &Found, entries: crate::render::Entries) {
    if !context.programmed.record(found.key.clone(), entries) {
        return;
    }
    for (domain, _) in &found.domains {
        let namespace = domain.namespace().unwrap_or_default();
        context
            .triggers
            .domains
            .push_name(&namespace, &domain.name_any());
    }
    for (credential, _) in &found.credentials {
        let namespace = credential.namespace().unwrap_or_default();
        context
            .triggers
            .credentials
            .push_name(&namespace, &credential.name_any());
    }
}

/// Whether looking again soon may show something new without any event.
fn is_pending(verdict: &Verdict) -> bool {
    !verdict.holds()
        && matches!(
            verdict.reason,
            reason::PENDING
                | reason::SHARD_UNREACHABLE
                | reason::PROGRESSING
                | reason::DRAINING
                | reason::MAIL_WAITS
                | reason::CLAIM_PENDING
                | reason::CONFIGURATION_REFUSED
        )
}

/// Since when something is under way: since the last condition that is not true turned so.
fn pending_for(status: &SmtpRelayStatus, changed: bool, now: Timestamp) -> Duration {
    let since = status
        .conditions
        .iter()
        .filter(|condition| condition.status != "True")
        .map(|condition| condition.last_transition_time.0)
        .max();
    let waited = since.map_or(0, |since| now.as_second().saturating_sub(since.as_second()));
    if changed {
        return Duration::ZERO;
    }
    Duration::from_secs(u64::try_from(waited).unwrap_or(0))
}

/// How a verdict is told: `Ready` always, of the others what somebody should look at.
fn told(verdict: &Verdict) -> Option<EventType> {
    let told = verdict.kind == types::READY
        || (!verdict.holds() && verdict.kind != types::PROGRAMMED && !is_pending(verdict));
    let normal = verdict.holds() || is_pending(verdict);
    let type_ = if normal {
        EventType::Normal
    } else {
        EventType::Warning
    };
    told.then_some(type_)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_load_balancer() {
        let service = |status: serde_json::Value| -> Service {
            serde_json::from_value(serde_json::json!({"status": status})).unwrap()
        };
        let two = serde_json::json!({"loadBalancer": {"ingress": [
            {"ip": "192.0.2.7"}, {"hostname": "lb.example", "ip": ""}]}});
        let found: Vec<_> = addresses_of(&service(two))
            .into_iter()
            .map(|one| (one.r#type, one.value))
            .collect();
        assert_eq!(
            found,
            [
                (AddressType::IpAddress, "192.0.2.7".to_owned()),
                (AddressType::Hostname, "lb.example".to_owned())
            ]
        );
        assert!(addresses_of(&service(serde_json::json!({}))).is_empty());
    }

    #[test]
    fn an_idle_relay_is_looked_at_rarely_and_a_busy_one_often() {
        let now = Timestamp::from_second(1000).unwrap();
        let outlook = |pending: Option<u64>, renewal: i64| Outlook {
            pending_for: pending.map(Duration::from_secs),
            renew_at: Timestamp::from_second(renewal).unwrap(),
        };
        let rows = [
            (None, 100_000, 60),
            (None, 1020, 20),
            (None, 900, 1),
            (Some(0), 100_000, 1),
            (Some(61), 100_000, 5),
            (Some(4000), 100_000, 15),
        ];
        for (pending, renewal, seconds) in rows {
            let pause = outlook(pending, renewal).look_again(now);
            assert_eq!(pause, Duration::from_secs(seconds), "{pending:?} {renewal}");
        }
    }
}
