//! Publishing DNS records: how, which, and what the operator has put there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, LocalSecretReference};

/// How records of `status.dnsRecords` get into DNS: one of `externalDNS` and `rfc2136`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.externalDNS) != has(self.rfc2136)")
        .message("give externalDNS for a DNSEndpoint or rfc2136 for a name server, and not both"),
    validation = Rule::new("!has(self.externalDNS) || !has(self.records) || !self.records.exists(r, r == 'Spf')")
        .message("Spf cannot be published through externalDNS, which would replace the other TXT records of the domain; publish it by rfc2136 or by hand")
)]
pub struct Publish {
    /// Through external-dns: DNSEndpoint `<name>-dns` (`externaldns.k8s.io/v1alpha1`) with the records, which it
    /// publishes when it runs with `--source=crd --managed-record-types=TXT --managed-record-types=MX`. Needs
    /// `externalDNS.enabled` in the operator's chart and, for whoever sets this, the right to create
    /// DNSEndpoints in the namespace.
    #[serde(
        default,
        rename = "externalDNS",
        skip_serializing_if = "Option::is_none"
    )]
    pub external_dns: Option<ExternalDns>,

    /// By dynamic updates (RFC 2136) to the primary name server of the zone, signed with TSIG (RFC 8945).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Rfc2136>,

    /// Which records. `Dkim`: those of all keys, also of revoked ones and of those that no longer sign, for as
    /// long as they are in `status.dnsRecords`. `ReturnPath`: MX and SPF of `spec.bounces.domain`.
    /// `Spf`, `Dmarc`, `TlsReports`, `Bimi`: that of the domain itself, only where
    /// `status.dnsRecords` has a value that differs from what is published; it takes the place of what stands
    /// there, and stays when it is published no more. Default `Dkim` and `ReturnPath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 6))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub records: Option<Vec<PublishedKind>>,

    /// Time to live of the records, from `1s` to `168h`: how long others may remember them, and how long a new
    /// DKIM key waits at least before it signs. Default `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('168h')")
            .message("must be from 1s to 168h, such as 5m")
    )]
    pub ttl: Option<Duration>,
}

/// Publishing through external-dns. There is nothing to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExternalDns {}

/// A zone that takes dynamic updates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rfc2136 {
    /// Name or address of the zone's primary name server, such as `ns1.example.com` or `192.0.2.53`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("isIP(self) || self.matches('^([a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.]?$')")
            .message("must be a lower-case host name or an IP address without a port, such as ns1.example.com; the port goes into port")
    )]
    pub server: String,

    /// Its TCP port. Default 53.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,

    /// The zone that the records lie in, such as `example.com`. Default: the sending domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^([a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?[.])*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')")
            .message("must be a lower-case domain name without a trailing dot, such as example.com")
    )]
    pub zone: Option<String>,

    /// Secret of this namespace with the TSIG key, in entries `keyname` (as the server calls it), `secret`
    /// (base64, as `tsig-keygen` shows it) and `algorithm` (`hmac-sha256`, which is the default, `hmac-sha384`
    /// or `hmac-sha512`).
    pub tsig_secret_ref: LocalSecretReference,
}

/// Records that can be published.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum PublishedKind {
    /// DKIM keys.
    Dkim,
    /// MX and SPF of the bounce domain.
    ReturnPath,
    /// SPF of the domain.
    Spf,
    /// DMARC of the domain.
    Dmarc,
    /// TLS reports of the domain.
    TlsReports,
    /// BIMI of the domain.
    Bimi,
}

/// What the operator has put into DNS, or handed to external-dns, and takes away again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    /// Name of the DNSEndpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_endpoint: Option<String>,

    /// The zone that the records were put into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Rfc2136>,

    /// The records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<PublishedRecord>,
}

/// A record that the operator has put into DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishedRecord {
    /// Full name without a trailing dot.
    pub name: String,

    /// Record type, such as `TXT`.
    pub r#type: String,

    /// The value as one string.
    pub value: String,

    /// Since when nothing needs it; it goes once no mail that rests on it can be on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unneeded_since: Option<Time>,
}
