//! Certificates that servers show.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, PKCS_RSA_SHA256, date_time_ymd};

use crate::authority::Authority;

/// A certificate with its key and the ones above it.
pub(super) struct Shown {
    /// PEM, the server's own first, the authority's last.
    pub(super) chain: String,
    /// PEM.
    pub(super) key: String,
}

/// How a certificate differs from a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Ran out long ago.
    Expired,
    /// Is for another name.
    OtherName,
    /// None, but its key is RSA.
    Rsa,
}

impl Shown {
    /// A certificate for `host` by `authority`.
    pub(super) fn new(authority: &Authority, host: &str, fault: Fault) -> Self {
        let name = match fault {
            Fault::OtherName => "elsewhere.example",
            _ => host,
        };
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if fault == Fault::Expired {
            parameters.not_before = date_time_ymd(2020, 1, 1);
            parameters.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = match fault {
            Fault::Rsa => KeyPair::generate_for(&PKCS_RSA_SHA256),
            _ => KeyPair::generate(),
        }
        .unwrap();
        let certificate = authority.sign(&parameters, &key);
        Self {
            chain: certificate.pem() + &authority.pem(),
            key: key.serialize_pem(),
        }
    }
}
