//! A credential's Secret: the Service Binding entries, the authority, and the verifier.
//!
//! The verifier lies beside the password, so that it stays the same without a second Secret: a
//! verifier that were salted anew at each reconcile would change the relay's configuration each
//! time. The relay gets the verifier only.
//!
//! Rotation is one decision over the Secret, the wish and the time: the new password's verifier
//! takes the salt of the one before, so that one challenge of SCRAM serves both, and the one before
//! stays with the time of its end until that has come. All of it lies in the Secret and so changes
//! in one write.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use operator_api::{Authentication, ListenerTls, SmtpRelay};
use relay_config::ScramVerifier;

use crate::certificates::{CA, SecretData};

/// Type of the Secret, as the Service Binding specification wants it.
pub const SECRET_TYPE: &str = "servicebinding.io/smtp";

/// Octets of randomness in a password: 256 bits, 43 characters.
const PASSWORD_OCTETS: usize = 32;
const PASSWORD_LENGTH: usize = 43;
const SALT_OCTETS: usize = 16;

const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const VERIFIER: &str = "verifier";
/// The verifier of the password before.
const PREVIOUS: &str = "previous-verifier";
/// Until when that holds, RFC 3339.
const PREVIOUS_UNTIL: &str = "previous-valid-until";
/// The trigger that the password was made for.
const TRIGGER: &str = "rotation";

/// The system gave no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password cannot be generated; the system's source of randomness may be missing")]
pub struct RandomError;

/// Where and how an application connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name, the Service's.
    pub host: String,
    /// Port of the Service.
    pub port: i32,
    /// TLS from the first octet.
    pub implicit_tls: bool,
    /// PEM of the authorities that the application should trust, when they are the relay's own.
    pub authorities: Option<String>,
}

/// What happened to the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Password {
    /// It stayed.
    Kept,
    /// It is new, since there was no Secret or no usable password in it.
    Generated,
    /// It is new, since a rotation was asked for.
    Rotated,
}

/// What is asked for of the password's rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// A change of it makes a new password.
    pub trigger: Option<String>,
    /// How long the password before is accepted after that.
    pub overlap: Duration,
}

/// What became of the last rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// The trigger that the password in force was made for.
    pub trigger: Option<String>,
    /// Until when the password before is accepted.
    pub previous_until: Option<Timestamp>,
}

/// The Secret as it should be.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its entries.
    pub data: SecretData,
    /// What happened to the password.
    pub password: Password,
}

/// Shows no password.
impl fmt::Debug for Binding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Binding({:?})", self.password)
    }
}

/// The best port of `relay` for an application: one that takes AUTH under TLS, 587 before 465
/// before the lowest other one. `None` when there is no such listener.
pub fn endpoint(relay: &SmtpRelay, authorities: Option<String>) -> Option<Endpoint> {
    let listeners = relay.spec.listeners();
    let usable = listeners.iter().filter(|listener| {
        listener.authentication != Authentication::None && listener.tls != ListenerTls::None
    });
    let best = usable.min_by_key(|listener| match listener.port {
        587 => (0, 0),
        465 => (1, 0),
        port => (2, port),
    })?;
    Some(Endpoint {
        host: format!(
            "{}.{}.svc",
            relay.metadata.name.as_deref().unwrap_or_default(),
            relay.metadata.namespace.as_deref().unwrap_or_default()
        ),
        port: best.port,
        implicit_tls: best.tls == ListenerTls::Implicit,
        authorities,
    })
}

/// The Secret's entries for `username` at `endpoint`. Keeps the password of `existing` when it is
/// one that this function could have made and no rotation is due, and its verifier when that belongs
/// to it.
pub fn ensure(
    existing: Option<&SecretData>,
    username: &str,
    endpoint: &Endpoint,
    wish: &Wish,
    now: Timestamp,
) -> Result<Binding, RandomError> {
    let secrets = secrets(existing, wish, now)?;
    let password = secrets.password;
    let scheme = if endpoint.implicit_tls {
        "smtps"
    } else {
        "smtp"
    };
    let uri = format!(
        "{scheme}://{}:{password}@{}:{}",
        percent_encoded(username),
        endpoint.host,
        endpoint.port
    );
    let port = endpoint.port.to_string();
    let entries = [
        ("type", "smtp"),
        ("provider", "mailrelay"),
        ("host", &endpoint.host),
        ("port", &port),
        (USERNAME, username),
        (PASSWORD, &password),
        ("uri", &uri),
        (VERIFIER, &secrets.verifier),
    ];
    let mut data: SecretData = entries
        .map(|(entry, value)| (entry.to_owned(), value.as_bytes().to_vec()))
        .into();
    if let Some(authorities) = &endpoint.authorities {
        data.insert(CA.to_owned(), authorities.as_bytes().to_vec());
    }
    if let Some(trigger) = &wish.trigger {
        data.insert(TRIGGER.to_owned(), trigger.as_bytes().to_vec());
    }
    if let Some((verifier, until)) = secrets.previous {
        data.insert(PREVIOUS.to_owned(), verifier.into_bytes());
        data.insert(PREVIOUS_UNTIL.to_owned(), until.to_string().into_bytes());
    }
    Ok(Binding {
        data,
        password: secrets.outcome,
    })
}

/// The parts of a Secret that cannot be made again.
struct Secrets {
    password: String,
    verifier: String,
    previous: Option<(String, Timestamp)>,
    outcome: Password,
}

fn secrets(
    existing: Option<&SecretData>,
    wish: &Wish,
    now: Timestamp,
) -> Result<Secrets, RandomError> {
    let kept = existing.and_then(|data| {
        let password = text(data, PASSWORD).filter(|text| is_generated(text))?;
        Some((data, password))
    });
    let Some((data, password)) = kept else {
        let password = URL_SAFE_NO_PAD.encode(random::<PASSWORD_OCTETS>()?);
        let verifier = derived(&password, &random::<SALT_OCTETS>()?);
        return Ok(Secrets {
            password,
            verifier: verifier.to_string(),
            previous: None,
            outcome: Password::Generated,
        });
    };
    let known = parsed(data, VERIFIER).filter(|known| known.matches(password));
    let current = match known {
        Some(known) => known,
        None => derived(password, &random::<SALT_OCTETS>()?),
    };
    let due = wish.trigger.is_some() && text(data, TRIGGER) != wish.trigger.as_deref();
    if !due {
        return Ok(Secrets {
            password: password.to_owned(),
            verifier: current.to_string(),
            previous: previous(data, now).map(|(known, until)| (known.to_string(), until)),
            outcome: Password::Kept,
        });
    }
    let password = URL_SAFE_NO_PAD.encode(random::<PASSWORD_OCTETS>()?);
    let verifier = derived(&password, current.salt());
    let until = jiff::SignedDuration::try_from(wish.overlap)
        .ok()
        .and_then(|overlap| now.checked_add(overlap).ok())
        .unwrap_or(Timestamp::MAX);
    // Whole seconds, as a status shows them.
    let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
    Ok(Secrets {
        password,
        verifier: verifier.to_string(),
        previous: (until > now).then(|| (current.to_string(), until)),
        outcome: Password::Rotated,
    })
}

fn derived(password: &str, salt: &[u8]) -> ScramVerifier {
    ScramVerifier::derive(password, salt, ScramVerifier::GENERATED_ITERATIONS)
}

fn parsed(data: &SecretData, entry: &str) -> Option<ScramVerifier> {
    text(data, entry)?.parse().ok()
}

/// The password before, while it is accepted. An end that cannot be read has come.
fn previous(data: &SecretData, now: Timestamp) -> Option<(ScramVerifier, Timestamp)> {
    let until: Timestamp = text(data, PREVIOUS_UNTIL)?.parse().ok()?;
    let verifier = parsed(data, PREVIOUS)?;
    (until > now).then_some((verifier, until))
}

/// What a Secret says of its last rotation.
pub fn rotated(data: &SecretData, now: Timestamp) -> Rotated {
    Rotated {
        trigger: text(data, TRIGGER).map(str::to_owned),
        previous_until: previous(data, now).map(|(_, until)| until),
    }
}

/// The verifiers in a Secret, that of the password in force first; `None` without that one. The one
/// before is among them for as long as it stands there: [`ensure`] takes it out when its time is
/// over.
pub fn verifiers(data: &SecretData) -> Option<Vec<String>> {
    let current = parsed(data, VERIFIER)?;
    let before = parsed(data, PREVIOUS);
    let all = std::iter::once(current).chain(before);
    Some(all.map(|verifier| verifier.to_string()).collect())
}

/// Whether a password has the form of a generated one. A shorter one that a person put there would
/// be guessed, and the verifier's few iterations would not hinder it.
fn is_generated(password: &str) -> bool {
    password.len() == PASSWORD_LENGTH
        && URL_SAFE_NO_PAD
            .decode(password)
            .is_ok_and(|octets| octets.len() == PASSWORD_OCTETS)
}

fn text<'a>(data: &'a SecretData, entry: &str) -> Option<&'a str> {
    data.get(entry)
        .and_then(|text| std::str::from_utf8(text).ok())
}

fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut octets = [0; N];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|_| RandomError)?;
    Ok(octets)
}

/// RFC 3986 section 2.3: everything but unreserved characters.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
