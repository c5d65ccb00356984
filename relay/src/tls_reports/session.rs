//! What one session counts as. Pure.

use std::io;
use std::net::IpAddr;

use rustls::CertificateError;

use super::results::{Failure, ResultType};

/// How TLS went in a session that came far enough for it to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As the policy asks.
    Good,
    /// The server does not offer `STARTTLS`, or refuses it.
    NoTls,
    /// The handshake failed, or would have under an MTA-STS policy that is in testing.
    Failed(ResultType, String),
}

impl Ending {
    /// What a failed handshake counts as.
    pub(crate) fn of_handshake(error: &io::Error) -> Self {
        let inner = error.get_ref();
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(error) => Self::of_tls(error),
            None => Self::Failed(ResultType::ValidationFailure, printable(&error.to_string())),
        }
    }

    /// The same for what the library says (RFC 8460 section 4.3.1).
    pub(crate) fn of_tls(error: &rustls::Error) -> Self {
        let kind = match error {
            rustls::Error::InvalidCertificate(certificate) => of_certificate(certificate),
            _ => ResultType::ValidationFailure,
        };
        Self::Failed(kind, printable(&error.to_string()))
    }

    /// The failure that it is, if it is one.
    pub(super) fn failure(&self) -> Option<Failure> {
        match self {
            Self::Good => None,
            Self::NoTls => Some(Failure::of(ResultType::StarttlsNotSupported)),
            Self::Failed(kind, reason) => Some(Failure {
                failure_reason_code: Some(reason.clone()),
                ..Failure::of(*kind)
            }),
        }
    }
}

const fn of_certificate(error: &CertificateError) -> ResultType {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => ResultType::CertificateExpired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ResultType::CertificateHostMismatch
        }
        _ => ResultType::CertificateNotTrusted,
    }
}

/// Text of a certificate may be in it.
fn printable(text: &str) -> String {
    let known = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    text.chars().map(known).collect()
}

/// Whether an address means something outside of the network that it is in. Others are nobody's
/// business, and of no use to who reads the report.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let shared = first == 100 && (64..128).contains(&second);
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || shared)
        }
        // What is given out to the public (RFC 4291 section 2.4).
        IpAddr::V6(address) => address.segments()[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests;
