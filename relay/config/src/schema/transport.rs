//! What proves that a next server is the right one: DNSSEC, MTA-STS and exceptions from both.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether DNS answers are validated (RFC 4035). DANE (RFC 7672) needs answers that are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dnssec {
    /// `Validate` while the name servers pass signatures on, as a look at the root zone every few
    /// minutes tells, and `Disabled` while they do not.
    #[default]
    Auto,
    /// The relay validates. An answer that should be signed and is not is a failed lookup: mail waits
    /// where the name servers strip signatures.
    Validate,
    /// The name servers validate, and their word (the AD bit, RFC 4035 section 3.2.3) is believed. Only
    /// for a resolver on this machine, or one that nobody comes between.
    TrustResolver,
    /// Nothing is validated and DANE is not used.
    Disabled,
}

/// Policies that domains publish by MTA-STS (RFC 8461).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MtaSts {
    /// Look for policies and keep to them. Default true.
    pub enabled: bool,
    /// HTTPS port of policy hosts. Default 443; another one is for test networks.
    pub port: u16,
}

impl Default for MtaSts {
    fn default() -> Self {
        Self {
            enabled: true,
            port: 443,
        }
    }
}

/// One domain's exception from every other TLS policy, such as for a receiver whose TLSA records are
/// wrong. It ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsOverride {
    /// Recipient domain, lower-case A-labels, without subdomains.
    pub domain: String,
    /// How its MX hosts are spoken to, whatever DANE, MTA-STS and `delivery.tls` say.
    pub policy: OverridePolicy,
    /// From then on the entry has no effect (RFC 3339, such as `2026-12-01T00:00:00Z`).
    pub expires: Timestamp,
    /// Why, for the log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// How the MX hosts of a domain with an override are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverridePolicy {
    /// Clear text; `STARTTLS` is not used.
    None,
    /// TLS when offered and working, clear text otherwise.
    Opportunistic,
    /// TLS or no delivery; the certificate is not judged.
    Required,
    /// TLS with a certificate that is valid for the MX host name, or no delivery.
    Verified,
}
