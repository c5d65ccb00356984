//! Makes the Secret as it should be; no client.

use std::time::Duration;

use jiff::Timestamp;
use operator_api::SmtpCredential;

use super::binding::{self, Password, RandomError, Wish};
use super::dereference::Seen;
use super::validate::Judged;
use crate::certificates::SecretData;
use crate::guarded_secret::{self, Change, Desired};

/// How long the password before a rotation is accepted.
const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// What [`super::apply`] shall write.
pub(super) struct Prepared {
    /// The write.
    pub(super) change: Option<Change>,
    /// Data of the Secret after it; `None` when there is none.
    pub(super) data: Option<SecretData>,
    /// What happened to the password.
    pub(super) password: Password,
}

pub(super) fn run(
    credential: &SmtpCredential,
    seen: &Seen,
    judged: &Judged,
    now: Timestamp,
) -> Result<Prepared, RandomError> {
    let existing = seen.binding(credential);
    let Ok(endpoint) = &judged.endpoint else {
        return Ok(Prepared {
            change: None,
            data: existing,
            password: Password::Kept,
        });
    };
    let made = binding::ensure(
        existing.as_ref(),
        &credential.username(),
        endpoint,
        &wish(credential),
        now,
    )?;
    let desired = Desired {
        name: &credential.secret_name(),
        kind: binding::SECRET_TYPE,
        component: "binding",
        data: &made.data,
    };
    Ok(Prepared {
        change: Some(guarded_secret::change(
            credential,
            seen.secret.as_ref(),
            &desired,
        )),
        data: Some(made.data),
        password: made.password,
    })
}

/// A duration that cannot be read was refused by [`super::validate`] before.
fn wish(credential: &SmtpCredential) -> Wish {
    let rotation = credential.spec.rotation.clone().unwrap_or_default();
    let overlap = rotation
        .overlap
        .and_then(|text| text.parse::<relay_config::Duration>().ok());
    Wish {
        trigger: rotation.trigger,
        overlap: overlap.map_or(DEFAULT_OVERLAP, relay_config::Duration::get),
    }
}
