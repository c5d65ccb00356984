//! Certificates that servers show, and TLSA records that match them.

use std::fmt::Write as _;

use aws_lc_rs::digest::{Algorithm, SHA256, SHA512, digest};
use rcgen::{
    Certificate, CertificateParams, ExtendedKeyUsagePurpose, KeyPair, PKCS_RSA_SHA256,
    PublicKeyData, date_time_ymd,
};

use crate::authority::Authority;

/// A certificate with its key and the ones above it.
pub(super) struct Shown {
    /// PEM, the server's own first, the authority's last.
    pub(super) chain: String,
    /// PEM.
    pub(super) key: String,
    own: Pin,
    authority: Pin,
}

/// What a TLSA record can hold of a certificate.
struct Pin {
    certificate: Vec<u8>,
    public_key: Vec<u8>,
}

impl Pin {
    fn new(certificate: &Certificate, key: &KeyPair) -> Self {
        Self {
            certificate: certificate.der().to_vec(),
            public_key: key.subject_public_key_info(),
        }
    }
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
            own: Pin::new(&certificate, &key),
            authority: Pin::new(authority.certificate(), authority.key()),
        }
    }

    /// TLSA data that matches: of the authority's certificate for the usages 0 and 2, of the server's
    /// own for 1 and 3.
    pub(super) fn tlsa(&self, usage: u8, selector: u8, matching: u8) -> String {
        let pin = match usage {
            0 | 2 => &self.authority,
            _ => &self.own,
        };
        let data = match selector {
            0 => &pin.certificate,
            _ => &pin.public_key,
        };
        let hash = |algorithm: &'static Algorithm| digest(algorithm, data).as_ref().to_vec();
        let data = match matching {
            0 => data.clone(),
            1 => hash(&SHA256),
            _ => hash(&SHA512),
        };
        let mut text = format!("{usage} {selector} {matching} ");
        for byte in data {
            write!(text, "{byte:02x}").unwrap();
        }
        text
    }
}
