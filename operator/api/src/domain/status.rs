//! Status of a SendingDomain: its records, its keys, and what was published.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DkimAlgorithm, Publication};

/// Written by the operator, and only when something changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendingDomainStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Accepted`: the relay takes the domain. `KeysReady`: DKIM keys exist. `DnsVerified`: the
    /// records were seen in DNS. `Programmed`: every shard of the relay runs the domain; mail is
    /// accepted and signed from then on, whatever DNS shows. `Ready`: all of these hold.
    /// `RecordsPublished`, with `spec.dns.publish`: the records were put where it says; `Ready` rests on what
    /// DNS shows of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Records to publish, ready to copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_records: Vec<DnsRecord>,

    /// DKIM keys; the private parts are in Secret `<name>-dkim` of this namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["selector".into()]))]
    pub keys: Vec<KeyStatus>,

    /// What `spec.dns.publish` has led to, by which it is taken away again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<Publication>,
}

/// A record to publish, and what DNS shows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsRecord {
    /// Full name without a trailing dot.
    pub name: String,

    /// Record type, such as `TXT`.
    pub r#type: String,

    /// The value as one string, as DNS panels and APIs want it. Empty, as are `splitValue` and `zone`, where there
    /// is nothing to publish: the record is not needed, or `message` tells what to correct.
    pub value: String,

    /// The same value in strings of at most 255 octets, as some DNS panels want it.
    pub split_value: Vec<String>,

    /// The record as a line of a zone file (RFC 1035 section 5.1).
    #[serde(default)]
    pub zone: String,

    /// What the record is for.
    pub purpose: DnsRecordPurpose,

    /// `Required`: decides on `DnsVerified`. `Recommended`: many receivers want it. `Optional`: shown since it
    /// is published, or the spec asks for it.
    #[serde(default)]
    pub requirement: DnsRecordRequirement,

    /// `Missing`: no such record. `Mismatch`: what stands there does not do. `Conflict`: several records
    /// stand there, where there must be one. `Verified`: does what it should. `Unknown`: not looked yet, or
    /// DNS did not answer.
    pub state: DnsRecordState,

    /// What DNS answered when it differed, a line for each record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,

    /// What is wrong with the record and the remedy, or what to know of one that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DnsRecordPurpose {
    /// A DKIM public key (RFC 6376 section 3.6).
    Dkim,
    /// Who may send for the domain (RFC 7208); the value is the published record with what it lacks.
    Spf,
    /// What receivers do with mail that is not proven to be the domain's (RFC 9989).
    Dmarc,
    /// That reports about the domain are wanted elsewhere (RFC 9990 section 4), to be published there.
    DmarcReports,
    /// That mail to the domain comes over TLS (RFC 8461).
    MtaSts,
    /// Where reports about TLS go (RFC 8460).
    TlsReports,
    /// The logo of the domain (BIMI).
    Bimi,
    /// The way of reports to the relay: MX of `spec.bounces.domain` (RFC 5321 section 5.1).
    ReturnPathMx,
    /// Who may send with a return path at `spec.bounces.domain` (RFC 7208): as at the domain itself.
    ReturnPathSpf,
}

/// How much a record matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DnsRecordRequirement {
    /// Decides on `DnsVerified`.
    #[default]
    Required,
    /// Many receivers want it.
    Recommended,
    /// The domain may do without.
    Optional,
}

/// What DNS shows of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DnsRecordState {
    /// Not looked yet, or DNS did not answer.
    #[default]
    Unknown,
    /// No such record.
    Missing,
    /// What stands there does not do.
    Mismatch,
    /// Several records stand there, where there must be one.
    Conflict,
    /// Does what it should.
    Verified,
}

/// A DKIM key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// Selector; the record is at `<selector>._domainkey.<domain>`.
    pub selector: String,

    /// `RsaSha256` or `Ed25519Sha256`.
    pub algorithm: DkimAlgorithm,

    /// `Pending`: made, not in use. `Active`: signs. `Retiring`: no longer signs, its record must
    /// stay until mail under way has arrived. `Revoked`: destroyed; its record says so.
    pub state: KeyState,

    /// When the key was made.
    pub created_at: Time,
}

/// Life of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyState {
    /// Made, not in use.
    #[default]
    Pending,
    /// Signs.
    Active,
    /// No longer signs.
    Retiring,
    /// Destroyed, since others may have it.
    Revoked,
}
