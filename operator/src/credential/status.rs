//! What the credential shows: built from what was read and written, written only when it differs.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use operator_api::conditions::{SECRET_READY, reason};
use operator_api::{Binding, RotationStatus, SmtpCredential, SmtpCredentialStatus};

use super::CredentialError;
use super::apply::Applied;
use super::binding::{self, Password};
use super::validate::Judged;
use crate::conditions::{self, Conditioned as _, Verdict};
use crate::context::Context;
use crate::kubernetes::controller::Action;
use crate::kubernetes::events::{self, RECONCILE};
use crate::kubernetes::status;
use crate::render::admission::Attached as _;
use crate::render::{Digest, credential_entry};

/// Reasons that pass by themselves, or are told by another condition.
const QUIET: [&str; 2] = [reason::PENDING, reason::NOT_ACCEPTED];

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
    let shown = credential.conditions();
    let programmed = conditions::is_programmed(known, shown, credential.metadata.generation);
    let (desired, verdicts) = build(credential, judged, applied, programmed, now);
    // In a namespace that goes nothing can be made, Events included (case O8).
    let namespace = credential.metadata.namespace.as_deref();
    if !context.stores.is_terminating(namespace.unwrap_or_default()) {
        tell(credential, context, applied, &verdicts).await;
    }
    status::write(
        &context.client,
        credential,
        credential.status.as_ref(),
        &desired,
    )
    .await
    .map_err(|source| CredentialError::WriteStatus(Box::new(source)))?;
    let wait = conditions::look_again(&judged.accepted, known, shown, now);
    // The password before ends then, whatever else happens or not.
    let end = desired
        .rotation
        .and_then(|rotation| rotation.previous_valid_until)
        .map(|Time(until)| {
            let left = until.as_second().saturating_sub(now.as_second()).max(0);
            Duration::from_secs(left.unsigned_abs() + 1)
        });
    let next = wait.into_iter().chain(end).min();
    Ok(next.map_or_else(Action::await_change, Action::requeue))
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
        conditions::accepted(&judged.accepted, "the relay takes the credential"),
        secret_ready(credential, judged),
        conditions::programmed(
            &judged.accepted,
            programmed,
            "every shard of the relay knows the credential",
            "the relay's shards do not all know the credential as it is now",
        ),
    ];
    verdicts.push(conditions::ready(&verdicts, "the application can send"));
    let generation = credential.metadata.generation;
    let binding = applied.data.as_ref().map(|_| Binding {
        name: credential.secret_name(),
    });
    let status = SmtpCredentialStatus {
        observed_generation: generation,
        conditions: conditions::merge(credential.conditions(), &verdicts, generation, now),
        username: binding.is_some().then(|| credential.username()),
        rotation: rotation(applied, now),
        binding,
    };
    (status, verdicts)
}

fn rotation(applied: &Applied, now: Timestamp) -> Option<RotationStatus> {
    let rotated = binding::rotated(applied.data.as_ref()?, now);
    (rotated != binding::Rotated::default()).then(|| RotationStatus {
        trigger: rotated.trigger,
        previous_valid_until: rotated.previous_until.map(Time),
    })
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

async fn tell(
    credential: &SmtpCredential,
    context: &Context,
    applied: &Applied,
    verdicts: &[Verdict],
) {
    let recorder = &context.recorder;
    let secret = credential.secret_name();
    let made = match applied.password {
        Password::Kept => None,
        Password::Generated => Some((
            "PasswordMade",
            format!("made a password in Secret {secret}; applications have to read it anew"),
        )),
        Password::Rotated => Some((
            "PasswordRotated",
            format!(
                "made a new password in Secret {secret}; the one before is accepted until \
                 status.rotation.previousValidUntil, if that is there"
            ),
        )),
    };
    if let Some((reason, note)) = made {
        events::normal(recorder, credential, reason, RECONCILE, &note).await;
    }
    events::transitions(recorder, credential, verdicts, |verdict| {
        events::unless_quiet(verdict, &QUIET)
    })
    .await;
}

#[cfg(test)]
mod tests;
