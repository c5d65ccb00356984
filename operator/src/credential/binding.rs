//! A credential's Secret: the Service Binding entries, the authority, and the verifier.
//!
//! The verifier lies beside the password, so that it stays the same without a second Secret: a
//! verifier that were salted anew at each reconcile would change the relay's configuration each
//! time. The relay gets the verifier only.

use std::fmt;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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
/// one that this function could have made, and its verifier when that belongs to it.
pub fn ensure(
    existing: Option<&SecretData>,
    username: &str,
    endpoint: &Endpoint,
) -> Result<Binding, RandomError> {
    let kept = existing
        .and_then(|data| text(data, PASSWORD))
        .filter(|text| is_generated(text));
    let (password, outcome) = match kept {
        Some(password) => (password.to_owned(), Password::Kept),
        None => (
            URL_SAFE_NO_PAD.encode(random::<PASSWORD_OCTETS>()?),
            Password::Generated,
        ),
    };
    let verifier = existing.and_then(verifier).filter(|text| {
        text.parse::<ScramVerifier>()
            .is_ok_and(|known| known.matches(&password))
    });
    let verifier = if let Some(verifier) = verifier {
        verifier
    } else {
        let salt = random::<SALT_OCTETS>()?;
        let iterations = ScramVerifier::GENERATED_ITERATIONS;
        ScramVerifier::derive(&password, &salt, iterations).to_string()
    };
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
        (VERIFIER, &verifier),
    ];
    let mut data: SecretData = entries
        .map(|(entry, value)| (entry.to_owned(), value.as_bytes().to_vec()))
        .into();
    if let Some(authorities) = &endpoint.authorities {
        data.insert(CA.to_owned(), authorities.as_bytes().to_vec());
    }
    Ok(Binding {
        data,
        password: outcome,
    })
}

/// The verifier in a Secret, if it is one.
pub fn verifier(data: &SecretData) -> Option<String> {
    let verifier = text(data, VERIFIER)?;
    verifier.parse::<ScramVerifier>().ok()?;
    Some(verifier.to_owned())
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
