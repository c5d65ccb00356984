//! Certificates of a relay: its own authority, the leaf that clients see, the leaf of the admin
//! port, and the operator's client certificate.
//!
//! Pure but for key generation: existing Secret data, the names and the time go in, the data that
//! the Secrets should hold comes out. Data that is in order comes back unchanged, so that applying
//! it writes nothing; what is missing, damaged, due, for other names or from another authority is
//! made anew, and the reason is told. Times follow RFC 5280 section 4.1.2.5; names are subject
//! alternative names only (RFC 6125 section 6.4.4).
//!
//! The authority's key stays in a Secret of its own that no pod mounts.

mod authority;
mod inspect;
mod leaf;
mod provided;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use operator_api::names::internal_server_name;

pub use authority::Authority;
pub use leaf::ClientIdentity;
use leaf::Usage;
pub use provided::{Provided, ProvidedFault, check_provided};

/// Entries of a Secret.
pub type SecretData = BTreeMap<String, Vec<u8>>;

/// Entry of the certificate chain, as `kubernetes.io/tls` has it.
pub const CERTIFICATE: &str = "tls.crt";
/// Entry of the private key, as `kubernetes.io/tls` has it.
pub const KEY: &str = "tls.key";
/// Entry of the certificates that a client needs to verify the chain.
pub const CA: &str = "ca.crt";

const DAY: i64 = 24 * 3600;
/// Lifetime of the authority in seconds.
const AUTHORITY_LIFETIME: i64 = 3650 * DAY;
/// Lifetime of the serving and admin leaves in seconds.
const LEAF_LIFETIME: i64 = 90 * DAY;
/// Lifetime of the operator's client certificate, which is made anew and never stored, in seconds.
const CLIENT_LIFETIME: i64 = DAY;
/// How far a certificate's start lies in the past, for peers whose clock is behind, in seconds.
const BACKDATE: i64 = 3600;
/// Certificates read from one entry at most.
const LONGEST_CHAIN: usize = 10;

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Key generation or signing failed.
    #[error("a certificate for {subject} cannot be made: {source}")]
    Issue {
        /// Whose certificate.
        subject: String,
        /// What the library said.
        source: rcgen::Error,
    },
}

/// Why a certificate was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reissue {
    /// There was none.
    Missing,
    /// The certificate or key could not be read, or they do not belong together.
    Damaged,
    /// It was for other names.
    NamesChanged,
    /// It was not for all the parts that it has to play: server, client.
    UsageChanged,
    /// It was signed by another authority.
    AuthorityChanged,
    /// Two thirds of its life are over, or it has not begun.
    Due,
}

impl fmt::Display for Reissue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Missing => "there was none",
            Self::Damaged => "the old one was damaged",
            Self::NamesChanged => "the names have changed",
            Self::UsageChanged => "its purposes have changed",
            Self::AuthorityChanged => "the authority has changed",
            Self::Due => "the old one was due for renewal",
        })
    }
}

/// Data of one Secret, and what was done about it.
#[derive(Clone)]
pub struct Ensured {
    /// What the Secret should hold.
    pub data: SecretData,
    /// Why the certificate is new; `None` when the old one was kept.
    pub reissued: Option<Reissue>,
    /// When to look again.
    pub renew_at: Timestamp,
}

/// Shows no key.
impl fmt::Debug for Ensured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Ensured")
            .field("reissued", &self.reissued)
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

/// Data of the Secrets as they are now; `None` where there is no Secret.
#[derive(Clone, Copy, Default)]
pub struct Existing<'a> {
    /// `<relay>-authority`.
    pub authority: Option<&'a SecretData>,
    /// The relay's TLS Secret, when the operator issues it.
    pub serving: Option<&'a SecretData>,
    /// The admin port's Secret.
    pub internal: Option<&'a SecretData>,
}

/// All certificates of one relay.
#[derive(Debug)]
pub struct RelayCertificates {
    /// The authority, for making the operator's client certificate.
    pub authority: Authority,
    /// Secret of the authority.
    pub authority_secret: Ensured,
    /// Secret for listeners.
    pub serving: Ensured,
    /// Secret for the admin port.
    pub internal: Ensured,
}

impl RelayCertificates {
    /// When the first of them is due.
    pub fn next_renewal(&self) -> Timestamp {
        self.authority_secret
            .renew_at
            .min(self.serving.renew_at)
            .min(self.internal.renew_at)
    }
}

/// Keeps what is in order and makes the rest, for relay `name`; `names` are those of the listeners
/// ([`serving_names`]). Shards are dialled by pod address, which changes, so the admin certificate
/// has a fixed name of its own ([`internal_server_name`]). With it a shard is a client of the others,
/// too; by the name they tell it from the operator.
pub fn ensure(
    existing: Existing<'_>,
    namespace: &str,
    name: &str,
    names: &BTreeSet<String>,
    now: Timestamp,
) -> Result<RelayCertificates, CertificateError> {
    let relay = format!("{namespace}/{name}");
    let (authority, authority_secret) = Authority::ensure(existing.authority, &relay, now)?;
    let internal_names = BTreeSet::from([internal_server_name(name)]);
    Ok(RelayCertificates {
        serving: leaf::ensure(existing.serving, &authority, names, Usage::Server, now)?,
        internal: leaf::ensure(
            existing.internal,
            &authority,
            &internal_names,
            Usage::ServerAndClient,
            now,
        )?,
        authority,
        authority_secret,
    })
}

/// The entries of a Secret.
pub fn data_of(secret: &Secret) -> SecretData {
    let entries = secret.data.iter().flatten();
    entries
        .map(|(entry, content)| (entry.clone(), content.0.clone()))
        .collect()
}

/// The names by which clients reach a relay: its Service in all spellings that cluster DNS
/// completes, and its host name.
pub fn serving_names(relay: &str, namespace: &str, hostname: &str) -> BTreeSet<String> {
    let hostname = hostname.trim_end_matches('.').to_ascii_lowercase();
    [
        relay.to_owned(),
        format!("{relay}.{namespace}"),
        format!("{relay}.{namespace}.svc"),
        format!("{relay}.{namespace}.svc.cluster.local"),
        hostname,
    ]
    .into_iter()
    .filter(|name| !name.is_empty())
    .collect()
}

/// Two thirds of a life from `start` to `end`, both in seconds since 1970.
fn two_thirds(start: i64, end: i64) -> Timestamp {
    let due = start.saturating_add(end.saturating_sub(start) / 3 * 2);
    Timestamp::from_second(due).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests;
