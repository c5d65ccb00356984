//! From resources to the files that every shard of a relay mounts.
//!
//! Pure: all objects are read before, nothing is written here. The result is the same for the same
//! objects in any order, and the hash is computed from the very files that were built, with the
//! function that the relay uses; so the first install needs no second look to know what to expect.
//!
//! A domain or credential that cannot be used is left out and the others go on; its own controller
//! tells why, with the same functions ([`admission`]). Only what breaks the whole relay is an error.

pub mod admission;
mod buckets;
mod config;
#[cfg(test)]
pub(crate) mod fixtures;
mod programmed;
mod quantity;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use operator_api::conditions::reason;
use operator_api::{SendingDomain, SmtpCredential, SmtpRelay};
use relay_config::{BUCKETS, ConfigHash, MAIN_FILE, bucket_file, parse_files};

use crate::certificates::{self, SecretData};

pub(crate) use buckets::{build_credential as credential_entry, build_domain as domain_entry};
pub(crate) use config::hostname;
pub use programmed::{Digest, Entries, Programmed};
pub(crate) use quantity::octets;

/// Directory of bucket files below the configuration directory.
pub const BUCKET_DIRECTORY: &str = "buckets";
/// Directory of the listeners' certificate below the configuration directory.
pub const TLS_DIRECTORY: &str = "tls";
/// Directory of the admin port's certificate below the configuration directory.
pub const INTERNAL_DIRECTORY: &str = "internal";
/// Octets of one Secret's content at most: 1 MiB in Kubernetes, less what labels and names take.
pub const SECRET_LIMIT: usize = 1024 * 1024 - 16 * 1024;

/// Labels of namespaces by name.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// The first thing that is wrong with an object: a documented reason, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Reason of the condition, from [`operator_api::conditions::reason`].
    pub reason: &'static str,
    /// The field, the value, the remedy.
    pub message: String,
}

impl Violation {
    /// A violation for `reason`.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// A SendingDomain and the data of its key Secret, if that exists and is the operator's.
#[derive(Clone, Copy, Debug)]
pub struct DomainInput<'a> {
    /// The resource.
    pub domain: &'a SendingDomain,
    /// `<name>-dkim`.
    pub keys: Option<&'a SecretData>,
}

/// An SmtpCredential and the data of its binding Secret, if that exists and is the operator's.
#[derive(Clone, Copy)]
pub struct CredentialInput<'a> {
    /// The resource.
    pub credential: &'a SmtpCredential,
    /// The binding Secret.
    pub binding: Option<&'a SecretData>,
}

/// Everything that a relay's configuration is made of. Domains and credentials of other relays may
/// be among the lists; they are passed over.
#[derive(Clone, Copy)]
pub struct RelayInputs<'a> {
    /// The resource.
    pub relay: &'a SmtpRelay,
    /// All namespaces that domains and credentials may lie in.
    pub namespaces: &'a Namespaces,
    /// SendingDomains.
    pub domains: &'a [DomainInput<'a>],
    /// SmtpCredentials.
    pub credentials: &'a [CredentialInput<'a>],
    /// Secrets that `spec.delivery` names, by name, as far as they exist.
    pub secrets: &'a BTreeMap<String, SecretData>,
    /// Issuers of tokens, with their keys.
    pub issuers: &'a [relay_config::Issuer],
    /// Data of the listeners' TLS Secret; not needed when no listener uses TLS.
    pub tls: Option<&'a SecretData>,
    /// Numbers of the shards that are to be there.
    pub staying: &'a BTreeSet<i32>,
    /// Numbers of those that are to go and still exist.
    pub leaving: &'a BTreeSet<i32>,
    /// Data of the admin port's Secret.
    pub internal: &'a SecretData,
}

/// Content of a relay's Secrets and what the relay must report once it runs them.
#[derive(Clone)]
pub struct Rendered {
    /// Entries of the configuration Secret, all of which lie in the configuration directory.
    pub config: SecretData,
    /// Content of each bucket; a bucket that is not here must have no Secret.
    pub buckets: BTreeMap<usize, Vec<u8>>,
    /// Hash that a shard reports when all of this is in force.
    pub hash: ConfigHash,
    /// What is in the buckets, by name, for [`Programmed`].
    pub entries: Entries,
}

/// Shows no secret.
impl std::fmt::Debug for Rendered {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Rendered")
            .field("hash", &self.hash)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

/// Renders one relay.
pub fn render(inputs: &RelayInputs<'_>) -> Result<Rendered, Violation> {
    let (config, mut files) = config::build(inputs)?;
    let (buckets, entries) = buckets::build(inputs)?;
    let main = json(&config)?;
    if main.len() + files.values().map(Vec::len).sum::<usize>() > SECRET_LIMIT {
        return Err(Violation::new(
            reason::INVALID_SPEC,
            format!(
                "spec.delivery.smarthosts: the certificate authorities together exceed the \
                 {SECRET_LIMIT} octets of a Secret; name only those that are needed"
            ),
        ));
    }
    files.insert(MAIN_FILE.to_owned(), main);
    let hash = hash(inputs, &files, &buckets)?;
    Ok(Rendered {
        config: files,
        buckets,
        hash,
        entries,
    })
}

/// Reads the files as a relay will, which validates them as well.
fn hash(
    inputs: &RelayInputs<'_>,
    files: &SecretData,
    buckets: &BTreeMap<usize, Vec<u8>>,
) -> Result<ConfigHash, Violation> {
    let mut mounted: BTreeMap<PathBuf, Vec<u8>> = files
        .iter()
        .map(|(name, content)| (PathBuf::from(name), content.clone()))
        .collect();
    for (index, content) in buckets {
        debug_assert!(*index < BUCKETS, "bucket_of stays below BUCKETS");
        let path = Path::new(BUCKET_DIRECTORY).join(bucket_file(*index));
        mounted.insert(path, content.clone());
    }
    let secrets = [
        (TLS_DIRECTORY, inputs.tls),
        (INTERNAL_DIRECTORY, Some(inputs.internal)),
    ];
    for (directory, data) in secrets {
        let entries = [
            certificates::CERTIFICATE,
            certificates::KEY,
            certificates::CA,
        ];
        for entry in entries {
            if let Some(content) = data.and_then(|data| data.get(entry)) {
                mounted.insert(Path::new(directory).join(entry), content.clone());
            }
        }
    }
    parse_files(Path::new(MAIN_FILE), &mounted)
        .map(|read| read.hash)
        .map_err(|error| Violation::new(reason::INVALID_SPEC, error.to_string()))
}

/// Cannot fail for these types; the error is kept for the sake of the rule.
fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Violation> {
    serde_json::to_vec(value)
        .map_err(|error| Violation::new(reason::INVALID_SPEC, error.to_string()))
}

#[cfg(test)]
mod tests;
