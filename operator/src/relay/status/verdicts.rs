//! The conditions of a relay, each the first failing check of a list. Pure.

mod queue;

use jiff::Timestamp;
use operator_api::conditions::{self as types, reason};
use operator_api::{Authentication, ShardPhase, ShardStatus};

use super::pods;

use crate::conditions::Verdict;
use crate::relay::dereference::{Found, Shard};
use crate::relay::validate::Tls;
use crate::render::Violation;

/// What the conditions tell of.
pub(super) struct Seen<'a> {
    pub(super) found: &'a Found,
    /// Why nothing could be rendered.
    pub(super) refused: Option<&'a Violation>,
    pub(super) tls: &'a Tls,
    pub(super) shards: &'a [ShardStatus],
    pub(super) draining: &'a [(i32, String)],
    pub(super) refused_claims: &'a [String],
    pub(super) refused_shards: &'a [String],
    pub(super) refused_service: Option<&'a str>,
    /// Whether the relay was ready with this very spec.
    pub(super) was_ready: bool,
    pub(super) now: Timestamp,
}

/// All conditions, in the order in which they depend on each other.
pub(super) fn all(seen: &Seen<'_>) -> Vec<Verdict> {
    let accepted = accepted(seen);
    let tls = tls_ready(seen);
    let issuers = issuers_ready(seen);
    let durable = queue::durable(seen);
    let queue = queue::healthy(seen);
    let programmed = programmed(seen, &[&accepted, &tls]);
    let ready = ready(seen, &[&accepted, &tls, &programmed]);
    let egress = egress_healthy(seen);
    vec![
        accepted, tls, issuers, durable, queue, egress, programmed, ready,
    ]
}

fn accepted(seen: &Seen<'_>) -> Verdict {
    match seen.refused {
        // A certificate that is missing is TlsReady's to tell.
        Some(violation) if seen.tls.violation() != Some(violation) => {
            Verdict::violated(types::ACCEPTED, violation)
        }
        _ => {
            let notices = [
                open_access(seen).map(|message| (reason::OPEN_ACCESS, message)),
                expired_overrides(seen).map(|message| (reason::OVERRIDE_EXPIRED, message)),
                unsigned_reports(seen).map(|message| (reason::REPORTS_UNSIGNED, message)),
            ];
            let first = notices.into_iter().flatten().next();
            let (reason, message) =
                first.unwrap_or((reason::ACCEPTED, "the spec can be used".to_owned()));
            Verdict::yes(types::ACCEPTED, reason, message)
        }
    }
}

/// Exceptions whose time is over.
fn expired_overrides(seen: &Seen<'_>) -> Option<String> {
    let delivery = seen.found.relay.spec.delivery.as_ref()?;
    let expired: Vec<String> = delivery
        .tls_overrides
        .iter()
        .enumerate()
        .filter(|(_, one)| one.expires.0 <= seen.now)
        .map(|(index, one)| format!("spec.delivery.tlsOverrides[{index}] for {}", one.domain))
        .collect();
    (!expired.is_empty()).then(|| {
        format!(
            "the spec can be used, but these have expired and have no effect: {}; remove them, or \
             give them a new date",
            expired.join(", ")
        )
    })
}

/// TLS reports that nobody would believe.
fn unsigned_reports(seen: &Seen<'_>) -> Option<String> {
    let delivery = seen.found.relay.spec.delivery.as_ref()?;
    let from = &delivery.reports.as_ref()?.tls.as_ref()?.from;
    let domain = from.rsplit_once('@').map_or("", |(_, domain)| domain);
    let mut domains = seen.found.domains.iter();
    let signs = domains.any(|(one, keys)| one.spec.domain == domain && keys.is_some());
    (!signs).then(|| {
        format!(
            "the spec can be used, but no TLS reports are sent: spec.delivery.reports.tls.from is {from}, \
             and no SendingDomain of this relay has the domain {domain} and DKIM keys; make one, or \
             name an address of another domain"
        )
    })
}

/// Who can send without proving who it is; stands as long as the listener does.
fn open_access(seen: &Seen<'_>) -> Option<String> {
    let spec = &seen.found.relay.spec;
    let cidrs = spec.client_cidrs();
    let open: Vec<String> = spec
        .listeners()
        .into_iter()
        .filter(|listener| match listener.authentication {
            Authentication::None => true,
            Authentication::Optional => !cidrs.is_empty(),
            Authentication::Required => false,
        })
        .map(|listener| listener.name)
        .collect();
    (!open.is_empty()).then(|| {
        format!(
            "the spec can be used, but anybody in {} can send by {} without authentication, as any \
             domain that grants namespace \"*\"; set authentication: Required where clients can \
             log in",
            cidrs.join(", "),
            open.join(", ")
        )
    })
}

/// Keys of token issuers. Clients with a password do not need them.
fn issuers_ready(seen: &Seen<'_>) -> Verdict {
    let issuers = &seen.found.issuers;
    if !issuers.faults.is_empty() {
        return Verdict::no(
            types::ISSUERS_READY,
            reason::ISSUER_UNAVAILABLE,
            format!(
                "keys that were known stay in force, but could not be refreshed: {}",
                issuers.faults.join("; ")
            ),
        );
    }
    let names: Vec<&str> = issuers
        .usable
        .iter()
        .map(|issuer| issuer.name.as_str())
        .collect();
    if names.is_empty() {
        return Verdict::yes(
            types::ISSUERS_READY,
            reason::TOKENS_NOT_USED,
            "no tokens are accepted",
        );
    }
    Verdict::yes(
        types::ISSUERS_READY,
        reason::KEYS_KNOWN,
        format!("tokens of {} are accepted", names.join(", ")),
    )
}

fn tls_ready(seen: &Seen<'_>) -> Verdict {
    let valid =
        |message: String| Verdict::yes(types::TLS_READY, reason::CERTIFICATE_VALID, message);
    match seen.tls {
        Tls::Unused => Verdict::yes(
            types::TLS_READY,
            reason::TLS_NOT_USED,
            "no listener uses TLS",
        ),
        Tls::Issued { .. } => valid("the operator's certificate is in place".to_owned()),
        Tls::Provided {
            secret,
            usable,
            notice,
        } => match usable {
            Ok(_) => {
                let notice = notice.as_ref().map(|said| format!("; {said}"));
                valid(format!(
                    "the certificate of Secret {secret:?} is in place{}",
                    notice.unwrap_or_default()
                ))
            }
            Err(violation) => Verdict::violated(types::TLS_READY, violation),
        },
    }
}

/// What is in mail's way out. Nothing waits for it: mail is accepted and kept meanwhile.
fn egress_healthy(seen: &Seen<'_>) -> Verdict {
    let shards = seen.shards.iter();
    let blocked: Vec<&str> = shards
        .clone()
        .filter(|shard| shard.blocked_since.is_some())
        .map(|shard| shard.name.as_str())
        .collect();
    if !blocked.is_empty() {
        return Verdict::no(
            types::EGRESS_HEALTHY,
            reason::PORT_BLOCKED,
            format!(
                "no MX host answers {} although others do: the provider, a firewall or a \
                 NetworkPolicy blocks outgoing port 25; mail is kept. Have the port opened, or send \
                 through spec.delivery.smarthosts on port 587 or 465",
                blocked.join(", ")
            ),
        );
    }
    if let Some(message) = refused_login(seen) {
        return Verdict::no(types::EGRESS_HEALTHY, reason::LOGIN_REFUSED, message);
    }
    let fault = shards
        .flat_map(|shard| shard.tokens.iter().map(move |token| (shard, token)))
        .find_map(|(shard, token)| Some((shard, token, token.error.as_ref()?)));
    if let Some((shard, token, error)) = fault {
        return Verdict::no(
            types::EGRESS_HEALTHY,
            reason::TOKEN_UNAVAILABLE,
            format!(
                "{} has no access token for smarthost {}, and its mail is kept: {error}; check oauth2 \
                 and the Secret of credentialsSecretRef",
                shard.name, token.smarthost
            ),
        );
    }
    Verdict::yes(
        types::EGRESS_HEALTHY,
        reason::HEALTHY,
        "nothing is known to be in the way of outgoing mail",
    )
}

/// The first smarthost that refuses a login.
fn refused_login(seen: &Seen<'_>) -> Option<String> {
    let mut shards = seen.shards.iter();
    let (shard, login) = shards.find_map(|shard| Some((shard, shard.refused_logins.first()?)))?;
    Some(format!(
        "smarthost {} does not take the login of {}, and mail for it is kept: {}; check the Secret of \
         credentialsSecretRef, and tls and oauth2 of the smarthost",
        login.smarthost, shard.name, login.error
    ))
}

/// The first of `before` that does not hold.
fn first_failing<'a>(before: &[&'a Verdict]) -> Option<&'a Verdict> {
    before.iter().find(|verdict| !verdict.holds()).copied()
}

fn programmed(seen: &Seen<'_>, before: &[&Verdict]) -> Verdict {
    if let Some(first) = first_failing(before) {
        return Verdict::no(
            types::PROGRAMMED,
            reason::NOT_ACCEPTED,
            format!(
                "condition {} is not true; running shards keep the last configuration",
                first.kind
            ),
        );
    }
    if let Some(why) = seen.refused_service {
        return Verdict::no(
            types::PROGRAMMED,
            reason::SERVICE_REFUSED,
            format!(
                "the API server does not take the Service as spec.service and spec.listeners ask: {why}; \
                 it stays as it is"
            ),
        );
    }
    if let Some(first) = seen.refused_shards.first() {
        return Verdict::no(
            types::PROGRAMMED,
            reason::SHARD_REFUSED,
            format!(
                "the API server does not take a shard as spec.podTemplate asks: {first}; shards that \
                 run stay as they are"
            ),
        );
    }
    let behind: Vec<(&ShardStatus, &Shard)> = seen
        .shards
        .iter()
        .zip(&seen.found.shards)
        .filter(|(status, _)| status.phase != ShardPhase::Draining && !status.programmed)
        .collect();
    if behind.is_empty() {
        return Verdict::yes(
            types::PROGRAMMED,
            reason::PROGRAMMED,
            "every shard runs the newest configuration",
        );
    }
    let names: Vec<&str> = behind
        .iter()
        .map(|(status, _)| status.name.as_str())
        .collect();
    let names = names.join(", ");
    let mut running = behind
        .iter()
        .filter(|(status, _)| status.phase == ShardPhase::Running);
    let told = running.find_map(|(_, shard)| match &shard.report {
        Some(Err(error)) => Some((reason::SHARD_UNREACHABLE, error)),
        Some(Ok(report)) => Some((reason::CONFIGURATION_REFUSED, report.config_error.as_ref()?)),
        None => None,
    });
    match told {
        Some((reason::SHARD_UNREACHABLE, message)) => Verdict::no(
            types::PROGRAMMED,
            reason::SHARD_UNREACHABLE,
            format!("{names} cannot be asked: {message}"),
        ),
        Some((reason, message)) => Verdict::no(
            types::PROGRAMMED,
            reason,
            format!("{names} refused the newest configuration: {message}"),
        ),
        _ => Verdict::no(
            types::PROGRAMMED,
            reason::PENDING,
            format!("the newest configuration is under way to {names}"),
        ),
    }
}

fn ready(seen: &Seen<'_>, before: &[&Verdict]) -> Verdict {
    if seen.found.relay.spec.replicas == 0 {
        return no_replicas(seen);
    }
    let accepted = !before.iter().any(|verdict| {
        !verdict.holds() && [types::ACCEPTED, types::TLS_READY].contains(&verdict.kind)
    });
    if accepted && let Some(failing) = pods::failing(seen.found) {
        return Verdict::no(types::READY, reason::POD_FAILING, failing);
    }
    // A domain or credential that is under way to the shards takes nothing from their readiness.
    let first =
        first_failing(before).filter(|first| !(seen.was_ready && first.reason == reason::PENDING));
    if let Some(first) = first {
        let reason = match first.reason {
            reason::PENDING => reason::PROGRESSING,
            other => other,
        };
        return Verdict::no(types::READY, reason, first.message.clone());
    }
    let starting: Vec<&str> = seen
        .shards
        .iter()
        .filter(|shard| shard.phase == ShardPhase::Starting)
        .map(|shard| shard.name.as_str())
        .collect();
    if !starting.is_empty() {
        return Verdict::no(
            types::READY,
            reason::PROGRESSING,
            format!("waiting for {} to become ready", starting.join(", ")),
        );
    }
    let message = format!("the relay accepts mail{}", drains(seen.draining));
    Verdict::yes(types::READY, reason::READY, message)
}

/// `Ready` of a relay that is to have no shards.
fn no_replicas(seen: &Seen<'_>) -> Verdict {
    if let Some(refused) = &seen.found.scale.refused {
        return Verdict::no(types::READY, reason::MAIL_WAITS, refused.clone());
    }
    if !seen.draining.is_empty() {
        return Verdict::no(
            types::READY,
            reason::DRAINING,
            format!("spec.replicas is 0, and shards go{}", drains(seen.draining)),
        );
    }
    Verdict::no(
        types::READY,
        reason::SCALED_TO_ZERO,
        "spec.replicas is 0; set it to 1 or more to accept mail",
    )
}

/// Which shards drain, and why they are still there.
fn drains(draining: &[(i32, String)]) -> String {
    let one = |(index, why): &(i32, String)| format!("; shard {index} drains: {why}");
    draining.iter().map(one).collect()
}

#[cfg(test)]
pub(super) mod tests;
