//! Judges what was read; pure.

use kube::ResourceExt as _;
use operator_api::conditions::reason;
use operator_api::{SmtpCredential, SmtpRelay};

use super::binding::{self, Endpoint};
use super::dereference::Seen;
use crate::certificates::CA;
use crate::domain::relay_is_accepted;
use crate::render::{Violation, admission};

/// What became of the checks.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// Whether the relay takes the credential.
    pub(super) accepted: Result<(), Violation>,
    /// What the Secret should tell the application, or why it is not written.
    pub(super) endpoint: Result<Endpoint, Violation>,
}

pub(super) fn run(credential: &SmtpCredential, seen: &Seen) -> Judged {
    let relay = seen.relay.as_deref();
    let rivals = seen.rivals.iter().map(AsRef::as_ref);
    let accepted = admission::judge(credential, relay, &seen.namespaces, rivals)
        .and_then(|()| relay_is_accepted(relay))
        .and_then(|()| admission::has_room(seen.lacks_room, credential))
        .and_then(|()| relay.map_or(Ok(()), takes_passwords))
        .and_then(|()| overlap(credential));
    let endpoint = match (&accepted, relay) {
        (Ok(()), Some(relay)) => judge_secret(credential, seen, relay),
        _ => Err(Violation::new(reason::NOT_ACCEPTED, "waits for Accepted")),
    };
    Judged { accepted, endpoint }
}

fn overlap(credential: &SmtpCredential) -> Result<(), Violation> {
    let rotation = credential.spec.rotation.as_ref();
    let Some(text) = rotation.and_then(|rotation| rotation.overlap.as_ref()) else {
        return Ok(());
    };
    text.parse::<relay_config::Duration>()
        .map(|_| ())
        .map_err(|error| {
            Violation::new(
                reason::INVALID_SPEC,
                format!("spec.rotation.overlap: {error}"),
            )
        })
}

fn takes_passwords(relay: &SmtpRelay) -> Result<(), Violation> {
    if binding::endpoint(relay, None).is_some() {
        return Ok(());
    }
    Err(Violation::new(
        reason::RELAY_NOT_ACCEPTED,
        format!(
            "SmtpRelay {}/{} has no listener that takes a password under TLS; give one \
             authentication: Required and tls: StartTls or Implicit",
            relay.namespace().unwrap_or_default(),
            relay.name_any()
        ),
    ))
}

fn judge_secret(
    credential: &SmtpCredential,
    seen: &Seen,
    relay: &SmtpRelay,
) -> Result<Endpoint, Violation> {
    let existing = seen.binding(credential);
    if seen.secret.is_some() && existing.is_none() {
        return Err(Violation::new(
            reason::SECRET_CONFLICT,
            format!(
                "Secret {} exists and was not made for this SmtpCredential; delete it, or choose \
                 another spec.secretName in a new SmtpCredential",
                credential.secret_name()
            ),
        ));
    }
    if existing.is_none() && seen.terminating {
        let message = "the namespace is being deleted; no Secret is made in it";
        return Err(Violation::new(reason::PENDING, message));
    }
    let own_authority = relay.provided_tls_secret().is_none();
    // An application that has the authority keeps it while the relay's ConfigMap is being repaired.
    let kept = || {
        let content = existing.as_ref()?.get(CA)?;
        String::from_utf8(content.clone())
            .ok()
            .filter(|_| own_authority)
    };
    let authorities = seen.authorities.clone().or_else(kept);
    if own_authority && authorities.is_none() {
        let message = "waits for the relay's certificate authority";
        return Err(Violation::new(reason::PENDING, message));
    }
    binding::endpoint(relay, authorities)
        .ok_or_else(|| Violation::new(reason::NOT_ACCEPTED, "waits for Accepted"))
}

#[cfg(test)]
mod tests;
