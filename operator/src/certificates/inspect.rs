//! Reading certificates and keys that lie in a Secret, which anybody may have edited.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{CERTIFICATE, KEY, LONGEST_CHAIN, SecretData};

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The entry is not there or empty.
    Missing(&'static str),
    /// The entry is there but is no PEM of the right kind.
    Unreadable(&'static str),
    /// More certificates than [`LONGEST_CHAIN`].
    TooLong,
    /// The key is not the first certificate's.
    Mismatch,
}

/// The parts of a leaf that decide whether it can stay.
pub(super) struct Facts {
    /// Seconds since 1970.
    pub(super) not_before: i64,
    /// Seconds since 1970.
    pub(super) not_after: i64,
    /// DNS names among the subject alternative names, sorted.
    pub(super) names: std::collections::BTreeSet<String>,
    /// Its purposes include that of a TLS client.
    pub(super) is_client: bool,
    /// Basic constraints say that it may sign others.
    pub(super) is_authority: bool,
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The certificates of `entry`, at least one.
pub(super) fn chain(
    data: &SecretData,
    entry: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let content = present(data, entry)?;
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(content) {
        if chain.len() == LONGEST_CHAIN {
            return Err(Fault::TooLong);
        }
        let certificate = certificate.map_err(|_| Fault::Unreadable(entry))?;
        facts(&certificate).ok_or(Fault::Unreadable(entry))?;
        chain.push(certificate);
    }
    if chain.is_empty() {
        return Err(Fault::Unreadable(entry));
    }
    Ok(chain)
}

/// The chain and its key, known to belong together and to be usable by the relay's TLS library.
pub(super) fn pair(
    data: &SecretData,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Fault> {
    let chain = chain(data, CERTIFICATE)?;
    let key =
        PrivateKeyDer::from_pem_slice(present(data, KEY)?).map_err(|_| Fault::Unreadable(KEY))?;
    matches(&chain, &key)?;
    Ok((chain, key))
}

/// Whether `key` is that of the first certificate.
pub(super) fn matches(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), Fault> {
    match CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Fault::Mismatch),
        Err(rustls::Error::InvalidCertificate(_)) => Err(Fault::Unreadable(CERTIFICATE)),
        Err(_) => Err(Fault::Unreadable(KEY)),
    }
}

/// `None` when the DER is no certificate or has octets after it.
pub(super) fn facts(certificate: &CertificateDer<'_>) -> Option<Facts> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let names = parsed.subject_alternative_name().ok()?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let purposes = parsed.extended_key_usage().ok()?;
    Some(Facts {
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        names: names
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect(),
        is_client: purposes.is_some_and(|purposes| purposes.value.client_auth),
        is_authority: parsed.is_ca(),
    })
}

fn present<'a>(data: &'a SecretData, entry: &'static str) -> Result<&'a [u8], Fault> {
    match data.get(entry) {
        Some(content) if !content.is_empty() => Ok(content),
        _ => Err(Fault::Missing(entry)),
    }
}
