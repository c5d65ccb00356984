//! A certificate that the user brings in a Secret (`spec.tls.secretName`), cert-manager's included.

use std::fmt;

use jiff::Timestamp;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::inspect::{self, Fault};
use super::{CA, CERTIFICATE, KEY, LONGEST_CHAIN, SecretData};

/// A certificate that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provided {
    /// The leaf's last second.
    pub not_after: Timestamp,
    /// PEM of the authorities for clients, when the Secret names any.
    pub bundle: Option<String>,
}

/// Why a user's certificate cannot be used. The text names the entry and the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvidedFault {
    /// An entry is missing or empty.
    Missing(&'static str),
    /// An entry is not what its name says.
    Unreadable(&'static str),
    /// Too many certificates.
    TooLong,
    /// The key is that of another certificate.
    Mismatch,
    /// The key is that of a later certificate in the chain.
    WrongOrder,
    /// The leaf has expired.
    Expired(Timestamp),
    /// The leaf is not valid yet.
    NotYetValid(Timestamp),
}

impl fmt::Display for ProvidedFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(entry) => write!(
                formatter,
                "entry {entry} is missing or empty; the Secret needs {CERTIFICATE} (the chain, leaf \
                 first) and {KEY} (its private key), both PEM"
            ),
            Self::Unreadable(KEY) => write!(
                formatter,
                "entry {KEY} is not a usable private key; give an unencrypted RSA, ECDSA or \
                 Ed25519 key in PEM"
            ),
            Self::Unreadable(entry) => write!(
                formatter,
                "entry {entry} has no readable certificate; give X.509 certificates in PEM, the \
                 leaf first"
            ),
            Self::TooLong => write!(
                formatter,
                "entry {CERTIFICATE} has more than {LONGEST_CHAIN} certificates; give the leaf and \
                 its intermediates only"
            ),
            Self::Mismatch => write!(
                formatter,
                "{KEY} is not the private key of the certificate in {CERTIFICATE}; store the two \
                 that were made together"
            ),
            Self::WrongOrder => write!(
                formatter,
                "{CERTIFICATE} does not begin with the leaf; put the certificate that belongs to \
                 {KEY} first and its intermediates after it"
            ),
            Self::Expired(time) => {
                write!(formatter, "the certificate expired at {time}; renew it")
            }
            Self::NotYetValid(time) => write!(
                formatter,
                "the certificate is valid only from {time}; wait, or check the clocks"
            ),
        }
    }
}

impl From<Fault> for ProvidedFault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Missing(entry) => Self::Missing(entry),
            Fault::Unreadable(entry) => Self::Unreadable(entry),
            Fault::TooLong => Self::TooLong,
            Fault::Mismatch => Self::Mismatch,
        }
    }
}

/// Judges the data of a user's TLS Secret. Whose authority signed it is the clients' concern.
pub fn check_provided(data: &SecretData, now: Timestamp) -> Result<Provided, ProvidedFault> {
    let (chain, _) = match inspect::pair(data) {
        Err(Fault::Mismatch) if later_certificate_matches(data) => {
            return Err(ProvidedFault::WrongOrder);
        }
        result => result?,
    };
    let facts = chain.first().and_then(inspect::facts);
    let facts = facts.ok_or(ProvidedFault::Unreadable(CERTIFICATE))?;
    let timestamp = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    if now.as_second() > facts.not_after {
        return Err(ProvidedFault::Expired(timestamp(facts.not_after)));
    }
    if now.as_second() < facts.not_before {
        return Err(ProvidedFault::NotYetValid(timestamp(facts.not_before)));
    }
    Ok(Provided {
        not_after: timestamp(facts.not_after),
        bundle: bundle(data)?,
    })
}

fn later_certificate_matches(data: &SecretData) -> bool {
    let key = data
        .get(KEY)
        .and_then(|key| PrivateKeyDer::from_pem_slice(key).ok());
    let (Ok(chain), Some(key)) = (inspect::chain(data, CERTIFICATE), key) else {
        return false;
    };
    let mut later = chain.into_iter().skip(1);
    later.any(|certificate| inspect::matches(&[certificate], &key).is_ok())
}

/// `ca.crt` is optional, but must be readable when it is there: clients will get it.
fn bundle(data: &SecretData) -> Result<Option<String>, ProvidedFault> {
    match inspect::chain(data, CA) {
        Err(Fault::Missing(_)) => Ok(None),
        Err(fault) => Err(fault.into()),
        Ok(_) => {
            let text = data.get(CA).cloned().map(String::from_utf8);
            text.transpose().map_err(|_| ProvidedFault::Unreadable(CA))
        }
    }
}
