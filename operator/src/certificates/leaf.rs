//! Certificates that an authority signs: for listeners, for the admin port, for the operator.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::{CertificateError as Rejection, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use super::authority::common_name;
use super::inspect::{self, Fault};
use super::{
    Authority, BACKDATE, CA, CERTIFICATE, CLIENT_LIFETIME, CertificateError, Ensured, KEY,
    LEAF_LIFETIME, Reissue, SecretData, two_thirds,
};

/// The operator's certificate and key towards admin ports; only ever in memory.
pub struct ClientIdentity {
    /// Chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Private key of the leaf.
    pub key: PrivateKeyDer<'static>,
    /// After this another one should be made.
    pub renew_at: Timestamp,
}

/// Shows no key.
impl fmt::Debug for ClientIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientIdentity")
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A client certificate for the operator. It carries no DNS name, by which admin ports tell the
    /// operator from the other shards.
    pub fn operator_identity(&self, now: Timestamp) -> Result<ClientIdentity, CertificateError> {
        const SUBJECT: &str = "mail relay operator";
        let mut params = params(SUBJECT, now, CLIENT_LIFETIME);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = sign(self, &params, SUBJECT)?;
        let start = now.as_second() - BACKDATE;
        Ok(ClientIdentity {
            chain: vec![certificate.into()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            renew_at: two_thirds(start, start + CLIENT_LIFETIME),
        })
    }
}

/// What a leaf is for (RFC 5280 section 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// TLS servers.
    Server,
    /// Both sides of a connection between shards.
    ServerAndClient,
}

impl Usage {
    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Self::ServerAndClient => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        }
    }
}

/// Keeps the leaf of `existing` or makes a new one for exactly `names`.
pub(super) fn ensure(
    existing: Option<&SecretData>,
    authority: &Authority,
    names: &BTreeSet<String>,
    usage: Usage,
    now: Timestamp,
) -> Result<Ensured, CertificateError> {
    let judged = existing
        .ok_or(Reissue::Missing)
        .and_then(|data| Ok((data, judge(data, authority, names, usage, now)?)));
    let (mut data, reissued, renew_at) = match judged {
        Ok((old, renew_at)) => {
            let kept = old
                .iter()
                .filter(|(entry, _)| [CERTIFICATE, KEY].contains(&&entry[..]));
            let kept = kept.map(|(entry, content)| (entry.clone(), content.clone()));
            (kept.collect(), None, renew_at)
        }
        Err(reissue) => {
            let (data, renew_at) = issue(authority, names, usage, now)?;
            (data, Some(reissue), renew_at)
        }
    };
    data.insert(CA.to_owned(), authority.bundle().as_bytes().to_vec());
    Ok(Ensured {
        data,
        reissued,
        renew_at,
    })
}

/// When the leaf in `data` is due, or why it cannot stay.
fn judge(
    data: &SecretData,
    authority: &Authority,
    names: &BTreeSet<String>,
    usage: Usage,
    now: Timestamp,
) -> Result<Timestamp, Reissue> {
    let (chain, _) = inspect::pair(data).map_err(|fault| match fault {
        Fault::Missing(CERTIFICATE) => Reissue::Missing,
        _ => Reissue::Damaged,
    })?;
    let (leaf, intermediates) = chain.split_first().ok_or(Reissue::Damaged)?;
    let facts = inspect::facts(leaf).ok_or(Reissue::Damaged)?;
    if facts.names != *names {
        return Err(Reissue::NamesChanged);
    }
    // A server's leaf that may also be a client's would get its holder into admin ports.
    if facts.is_client != (usage == Usage::ServerAndClient) {
        return Err(Reissue::UsageChanged);
    }
    let renew_at = two_thirds(facts.not_before, facts.not_after);
    if now >= renew_at || now.as_second() < facts.not_before {
        return Err(Reissue::Due);
    }
    verify(leaf, intermediates, authority, names, now)?;
    Ok(renew_at)
}

/// Judges the leaf as a client would.
fn verify(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    authority: &Authority,
    names: &BTreeSet<String>,
    now: Timestamp,
) -> Result<(), Reissue> {
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.certificate().clone())
        .map_err(|_| Reissue::AuthorityChanged)?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), inspect::provider())
            .build()
            .map_err(|_| Reissue::AuthorityChanged)?;
    let name = names
        .first()
        .and_then(|name| ServerName::try_from(name.as_str()).ok());
    let name = name.ok_or(Reissue::NamesChanged)?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    match verifier.verify_server_cert(leaf, intermediates, &name, &[], time) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(
            Rejection::UnknownIssuer | Rejection::BadSignature,
        )) => Err(Reissue::AuthorityChanged),
        Err(_) => Err(Reissue::Damaged),
    }
}

fn issue(
    authority: &Authority,
    names: &BTreeSet<String>,
    usage: Usage,
    now: Timestamp,
) -> Result<(SecretData, Timestamp), CertificateError> {
    let subject = names.first().map_or("mail relay", String::as_str);
    let mut params = params(subject, now, LEAF_LIFETIME);
    params.extended_key_usages = usage.purposes();
    for name in names {
        let name = name
            .clone()
            .try_into()
            .map_err(|source| CertificateError::Issue {
                subject: subject.to_owned(),
                source,
            })?;
        params.subject_alt_names.push(rcgen::SanType::DnsName(name));
    }
    let (certificate, key) = sign(authority, &params, subject)?;
    let data = SecretData::from([
        (CERTIFICATE.to_owned(), certificate.pem().into_bytes()),
        (KEY.to_owned(), key.serialize_pem().into_bytes()),
    ]);
    let start = now.as_second() - BACKDATE;
    Ok((data, two_thirds(start, start + LEAF_LIFETIME)))
}

fn sign(
    authority: &Authority,
    params: &CertificateParams,
    subject: &str,
) -> Result<(rcgen::Certificate, KeyPair), CertificateError> {
    let failed = |source| CertificateError::Issue {
        subject: subject.to_owned(),
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, authority.issuer()).map_err(failed)?;
    Ok((certificate, key))
}

fn params(subject: &str, now: Timestamp, lifetime: i64) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name(subject));
    let mut params = CertificateParams::default();
    set_validity(&mut params, now.as_second() - BACKDATE, lifetime);
    params.distinguished_name = name;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Tells two authorities of one name apart after a renewal.
    params.use_authority_key_identifier_extension = true;
    params
}

/// Sets the validity, in seconds since 1970; earlier times become 1970.
pub(super) fn set_validity(params: &mut CertificateParams, start: i64, lifetime: i64) {
    let time = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    params.not_before = time(start);
    params.not_after = time(start.saturating_add(lifetime));
}
