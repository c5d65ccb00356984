//! Makes the Secret as it should be; no client.

use operator_api::SmtpCredential;

use super::binding::{self, Password, RandomError};
use super::dereference::Seen;
use super::validate::Judged;
use crate::certificates::SecretData;
use crate::guarded_secret::{self, Change, Desired};

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
) -> Result<Prepared, RandomError> {
    let existing = seen.binding(credential);
    let Ok(endpoint) = &judged.endpoint else {
        return Ok(Prepared {
            change: None,
            data: existing,
            password: Password::Kept,
        });
    };
    let made = binding::ensure(existing.as_ref(), &credential.username(), endpoint)?;
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
