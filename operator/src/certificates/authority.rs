//! A relay's own certificate authority.

use std::fmt;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;

use super::inspect::{self, Fault};
use super::{
    AUTHORITY_LIFETIME, BACKDATE, CA, CERTIFICATE, CertificateError, Ensured, KEY, Reissue,
    SecretData, leaf, two_thirds,
};

/// RFC 5280 appendix A.1, ub-common-name.
const LONGEST_COMMON_NAME: usize = 64;

/// An authority that can sign.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    bundle: String,
}

impl Authority {
    /// Keeps the authority of `existing` or makes a new one. After a renewal the bundle still
    /// holds the old certificate while it is valid, for clients that have not fetched the new one.
    pub(super) fn ensure(
        existing: Option<&SecretData>,
        relay: &str,
        now: Timestamp,
    ) -> Result<(Self, Ensured), CertificateError> {
        let (reissued, previous) = match existing.map(|data| judge(data, now)) {
            Some(Ok((authority, ensured))) => return Ok((authority, ensured)),
            Some(Err((reissued, previous))) => (reissued, previous),
            None => (Reissue::Missing, None),
        };
        let failed = |source| CertificateError::Issue {
            subject: format!("the authority of {relay}"),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let params = params(relay, now);
        let certificate = params.self_signed(&key).map_err(failed)?;
        let mut bundle = certificate.pem();
        bundle.extend(previous);
        let data = SecretData::from([
            (CERTIFICATE.to_owned(), certificate.pem().into_bytes()),
            (KEY.to_owned(), key.serialize_pem().into_bytes()),
            (CA.to_owned(), bundle.clone().into_bytes()),
        ]);
        let start = now.as_second() - BACKDATE;
        let ensured = Ensured {
            data,
            reissued: Some(reissued),
            renew_at: two_thirds(start, start + AUTHORITY_LIFETIME),
        };
        let authority = Self {
            certificate: certificate.into(),
            issuer: Issuer::new(params, key),
            bundle,
        };
        Ok((authority, ensured))
    }

    /// The authority in the data of its Secret, if it is in order and not due.
    pub fn from_secret(data: &SecretData, now: Timestamp) -> Option<Self> {
        judge(data, now).ok().map(|(authority, _)| authority)
    }

    /// PEM of the certificates that clients verify the relay with: this one, and its predecessor
    /// while that is valid.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
}

/// Shows no key.
impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Authority")
    }
}

/// The authority in `data`, or why it must be replaced and the certificate to keep in the bundle.
fn judge(
    data: &SecretData,
    now: Timestamp,
) -> Result<(Authority, Ensured), (Reissue, Option<String>)> {
    let damaged = || (Reissue::Damaged, None);
    let (chain, _) = inspect::pair(data).map_err(|fault| match fault {
        Fault::Missing(CERTIFICATE) => (Reissue::Missing, None),
        _ => damaged(),
    })?;
    let [certificate] = &chain[..] else {
        return Err(damaged());
    };
    let facts = inspect::facts(certificate).ok_or_else(damaged)?;
    if !facts.is_authority {
        return Err(damaged());
    }
    let renew_at = two_thirds(facts.not_before, facts.not_after);
    let text = |entry| {
        data.get(entry)
            .and_then(|text| std::str::from_utf8(text).ok())
    };
    let pem = text(CERTIFICATE).ok_or_else(damaged)?;
    if now >= renew_at || now.as_second() < facts.not_before {
        let valid = now.as_second() < facts.not_after;
        return Err((Reissue::Due, valid.then(|| pem.to_owned())));
    }
    let key = text(KEY).and_then(|pem| KeyPair::from_pem(pem).ok());
    let key = key.ok_or_else(damaged)?;
    let issuer = Issuer::from_ca_cert_der(certificate, key).map_err(|_| damaged())?;
    let bundle = bundle(data, pem, certificate, now);
    let mut kept = SecretData::new();
    for entry in [CERTIFICATE, KEY] {
        kept.extend(
            data.get_key_value(entry)
                .map(|(k, v)| (k.clone(), v.clone())),
        );
    }
    kept.insert(CA.to_owned(), bundle.clone().into_bytes());
    let authority = Authority {
        certificate: certificate.clone(),
        issuer,
        bundle,
    };
    let ensured = Ensured {
        data: kept,
        reissued: None,
        renew_at,
    };
    Ok((authority, ensured))
}

/// The stored bundle while it is exactly this certificate and at most one valid predecessor; else
/// only this certificate. Thus an edited or outdated bundle mends itself.
fn bundle(
    data: &SecretData,
    pem: &str,
    certificate: &CertificateDer<'static>,
    now: Timestamp,
) -> String {
    let stored = data.get(CA).and_then(|text| std::str::from_utf8(text).ok());
    let valid = |certificate| {
        inspect::facts(certificate)
            .is_some_and(|facts| facts.is_authority && now.as_second() < facts.not_after)
    };
    match (stored, inspect::chain(data, CA).as_deref()) {
        (Some(stored), Ok([first, previous])) if first == certificate && valid(previous) => {
            stored.to_owned()
        }
        _ => pem.to_owned(),
    }
}

fn params(relay: &str, now: Timestamp) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(
        DnType::CommonName,
        common_name(&format!("Authority of mail relay {relay}")),
    );
    let mut params = CertificateParams::default();
    leaf::set_validity(&mut params, now.as_second() - BACKDATE, AUTHORITY_LIFETIME);
    params.distinguished_name = name;
    // 0: it signs leaves, never other authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// `text` cut to what a common name may hold.
pub(super) fn common_name(text: &str) -> String {
    text.chars().take(LONGEST_COMMON_NAME).collect()
}
