//! What the credential shows: built from what was read and written, written only when it differs.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use operator_api::conditions::{ACCEPTED, PROGRAMMED, READY, SECRET_READY, reason};
use operator_api::{Binding, SmtpCredential, SmtpCredentialStatus};

use super::CredentialError;
use super::apply::Applied;
use super::binding::Password;
use super::validate::Judged;
use crate::conditions::{self, Verdict};
use crate::context::Context;
use crate::kubernetes::{events, status};
use crate::render::admission::Attached as _;
use crate::render::{Digest, credential_entry};

/// While the relay does not run the credential as it is. The relay's changes trigger a reconcile too;
/// this covers a configuration that came into force without its status changing. Costs no request;
/// a tenth of the time that it has lasted, within these bounds.
const PENDING: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_mins(1);

pub(super) async fn run(
    credential: &SmtpCredential,
    context: &Context,
    judged: &Judged,
    applied: &Applied,
    now: Timestamp,
) -> Result<Action, CredentialError> {
    let entry = applied
        .data
        .as_ref()
        .and_then(|data| credential_entry(credential, data));
    let known = context.programmed.has_credential(
        &credential.relay_key(),
        &credential.username(),
        entry.as_ref().map(Digest::of),
    );
    let existing = credential.status.as_ref();
    let existing = existing.map_or(&[][..], |status| &status.conditions);
    // After a restart nothing is known until the shards have been asked; what was found before
    // stands so long.
    let programmed = known
        .unwrap_or_else(|| conditions::held(existing, PROGRAMMED, credential.metadata.generation));
    let (desired, verdicts) = build(credential, judged, applied, programmed, now);
    tell(credential, context, applied, &verdicts).await;
    status::write(
        &context.client,
        credential,
        credential.status.as_ref(),
        &desired,
    )
    .await
    .map_err(|source| CredentialError::WriteStatus(Box::new(source)))?;
    if judged.accepted.is_ok() && known != Some(true) {
        let wait = conditions::patience(existing, PROGRAMMED, &PENDING, now);
        return Ok(Action::requeue(wait));
    }
    Ok(Action::await_change())
}

/// The status, and the verdicts that its conditions are made of. Pure.
fn build(
    credential: &SmtpCredential,
    judged: &Judged,
    applied: &Applied,
    programmed: bool,
    now: Timestamp,
) -> (SmtpCredentialStatus, Vec<Verdict>) {
    let mut verdicts = vec![
        accepted(judged),
        secret_ready(credential, judged),
        is_programmed(judged, programmed),
    ];
    verdicts.push(conditions::ready(&verdicts, "the application can send"));
    let existing = credential
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let generation = credential.metadata.generation;
    let binding = applied.data.as_ref().map(|_| Binding {
        name: credential.secret_name(),
    });
    let status = SmtpCredentialStatus {
        observed_generation: generation,
        conditions: conditions::merge(existing, &verdicts, generation, now),
        username: binding.is_some().then(|| credential.username()),
        binding,
    };
    (status, verdicts)
}

fn accepted(judged: &Judged) -> Verdict {
    match &judged.accepted {
        Ok(()) => Verdict::yes(ACCEPTED, reason::ACCEPTED, "the relay takes the credential"),
        Err(violation) => Verdict::violated(ACCEPTED, violation),
    }
}

fn secret_ready(credential: &SmtpCredential, judged: &Judged) -> Verdict {
    match &judged.endpoint {
        Ok(_) => {
            let message = format!("Secret {} is written", credential.secret_name());
            Verdict::yes(SECRET_READY, reason::SECRET_WRITTEN, message)
        }
        Err(violation) => Verdict::violated(SECRET_READY, violation),
    }
}

fn is_programmed(judged: &Judged, programmed: bool) -> Verdict {
    if judged.accepted.is_err() {
        let message = "waits for Accepted";
        return Verdict::no(PROGRAMMED, reason::NOT_ACCEPTED, message);
    }
    if programmed {
        let message = "every shard of the relay knows the credential";
        return Verdict::yes(PROGRAMMED, reason::PROGRAMMED, message);
    }
    let message = "the relay's shards do not all know the credential as it is now";
    Verdict::no(PROGRAMMED, reason::PENDING, message)
}

async fn tell(
    credential: &SmtpCredential,
    context: &Context,
    applied: &Applied,
    verdicts: &[Verdict],
) {
    const ACTION: &str = "Reconcile";
    if applied.password == Password::Generated {
        let note = format!(
            "made a password in Secret {}; applications have to read it anew",
            credential.secret_name()
        );
        events::normal(&context.recorder, credential, "PasswordMade", ACTION, &note).await;
    }
    let existing = credential
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    for verdict in conditions::transitions(existing, verdicts) {
        let note = format!("{}: {}", verdict.kind, verdict.message);
        if verdict.holds() {
            events::normal(&context.recorder, credential, verdict.reason, ACTION, &note).await;
        } else if is_bad(verdict) {
            events::warning(&context.recorder, credential, verdict.reason, ACTION, &note).await;
        }
    }
}

/// What passes by itself, or is told by another condition, is no Event.
fn is_bad(verdict: &Verdict) -> bool {
    verdict.kind != READY && ![reason::PENDING, reason::NOT_ACCEPTED].contains(&verdict.reason)
}

#[cfg(test)]
mod tests;
