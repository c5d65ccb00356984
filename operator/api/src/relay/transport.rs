//! What proves that a recipient's server is the right one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether DNS answers are validated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum Dnssec {
    /// `Validate` while the name servers pass signatures on, `Disabled` while they do not.
    #[default]
    Auto,
    /// The relay validates; mail waits where an answer should be signed and is not.
    Validate,
    /// The name servers validate and are believed (AD bit).
    TrustResolver,
    /// Nothing is validated and DANE is not used.
    Disabled,
}

/// Policies that recipient domains publish by MTA-STS (RFC 8461).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MtaSts {
    /// Look for policies and keep to them. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,

    /// TCP port of the hosts that policies are fetched from. Default 443; another one is for test
    /// networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// A recipient domain's exception from every other TLS policy, until a date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsOverride {
    /// Recipient domain in lower case, IDNs as A-labels; its subdomains are not meant.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$")
    )]
    pub domain: String,

    /// How the domain's MX hosts are spoken to, whatever DANE, MTA-STS and `delivery.tls` say.
    /// `None`: clear text. `Opportunistic`: TLS when offered and working, clear text otherwise.
    /// `Required`: TLS or no delivery, the certificate is not judged. `Verified`: TLS with a
    /// certificate that is valid for the MX host name, or no delivery.
    pub policy: OverridePolicy,

    /// From then on the entry has no effect, such as `2026-12-01T00:00:00Z`. An entry that has
    /// expired is named in the condition `Accepted`.
    pub expires: Time,

    /// Why, for whoever finds the entry later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
}

/// How the MX hosts of a domain with an override are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OverridePolicy {
    /// Clear text.
    None,
    /// TLS when offered and working, clear text otherwise.
    Opportunistic,
    /// TLS or no delivery; the certificate is not judged.
    Required,
    /// TLS with a certificate that is valid for the MX host name, or no delivery.
    Verified,
}
