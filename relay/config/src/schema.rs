//! The shape of the configuration. Every field has its unit and default in its comment; unknown
//! fields are refused, so that a misspelt one is an error and not a silent default.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{AuthenticationSettings, Cidr, Duration, Grant, Secret};

mod delivery;
mod limits;
mod returns;
mod route;
mod siblings;
mod smarthost;
mod transport;

pub use delivery::{AddressLiterals, Delivery, DeliveryTls, Retry, Timeouts};
pub use limits::{LONGEST_HEADER, Limits};
pub use returns::{Bounces, Reports, Suppression, TlsReports};
pub use route::{LONGEST_TAG, NULL_SENDER, Route, is_tag};
pub use siblings::{SHARD_VARIABLE, Siblings};
pub use smarthost::{
    OAuth2, Smarthost, SmarthostAuthentication, SmarthostId, SmarthostLookup, SmarthostTls,
};
pub use transport::{Dnssec, MtaSts, OverridePolicy, TlsOverride};

/// The only version of the format so far.
pub const VERSION: u32 = 1;

/// The whole configuration of one relay; the same for all of its shards.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Format version; must be [`VERSION`].
    pub version: u32,
    /// Name of the relay in logs and in the banner, `namespace/name` in a cluster.
    pub relay: String,
    /// Host name for the banner, `EHLO` and `Received` (RFC 5321 section 2.3.5).
    pub hostname: String,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Certificate for listeners with TLS. Required as soon as one listener uses TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<CertificateFiles>,
    /// Who is believed besides the credentials.
    #[serde(default, skip_serializing_if = "AuthenticationSettings::is_empty")]
    pub authentication: AuthenticationSettings,
    /// Bounds on what one client may ask for.
    #[serde(default)]
    pub limits: Limits,
    /// What recipients learn of the clients.
    #[serde(default)]
    pub privacy: Privacy,
    /// Where and how accepted messages are kept.
    #[serde(default)]
    pub queue: QueueSettings,
    /// How messages leave.
    #[serde(default)]
    pub delivery: Delivery,
    /// Name servers; the system's `resolv.conf` when empty.
    #[serde(default)]
    pub dns: Dns,
    /// Plain HTTP for `/healthz`, `/readyz` and `/metrics`.
    #[serde(default)]
    pub health: Health,
    /// HTTPS with client certificates for the operator; absent without a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// The shards of this relay; absent for a relay that runs alone, which is shard 0 of 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub siblings: Option<Siblings>,
    /// Directory of bucket files beside the main file ([`crate::bucket_file`]); absent when all
    /// domains and credentials stand in the main file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<PathBuf>,
    /// Sending domains. Those of the buckets are added when the files are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    /// Credentials. Those of the buckets are added when the files are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credential>,
}

/// One address on which clients submit mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Unique name, used in logs and metrics.
    pub name: String,
    /// Address to bind, such as `[::]:10587` or `127.0.0.1:2525`.
    pub address: SocketAddr,
    /// What may come in. Default `Submission`.
    #[serde(default, skip_serializing_if = "ListenerRole::is_submission")]
    pub role: ListenerRole,
    /// How the connection is encrypted.
    pub tls: ListenerTls,
    /// Whether clients must authenticate.
    #[serde(default)]
    pub authentication: Authentication,
    /// Offer `AUTH` with passwords and tokens on connections without TLS. Default false: a password
    /// in clear text is read by whoever shares the network. SCRAM shows none and is offered on
    /// listeners without TLS in any case.
    #[serde(default)]
    pub cleartext_authentication: bool,
    /// Client networks. With `authentication: Optional` those that may send without it; otherwise
    /// those that may connect, all when empty. Must not be empty with `authentication: None`,
    /// which would be an open relay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Cidr>,
    /// Forgive what is harmless in `MAIL` and `RCPT`: white space around the path and missing
    /// angle brackets. Default true, since appliances and old libraries write so. Bare CR or LF is
    /// refused either way.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub lenient: bool,
    /// Every connection begins with a header of the PROXY protocol, version 1 or 2, which says
    /// where the client really is; before TLS, if any. Default false. Needs `proxies`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// With `proxyProtocol`: networks of the proxies. Nobody else may connect, since a header is
    /// only as true as who writes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<Cidr>,
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_yes(value: &bool) -> bool {
    *value
}

impl Listener {
    /// Whether `peer` lies in one of [`Self::clients`].
    pub fn is_client(&self, peer: std::net::IpAddr) -> bool {
        self.clients.iter().any(|network| network.contains(peer))
    }

    /// Whether `peer` lies in one of [`Self::proxies`].
    pub fn is_proxy(&self, peer: std::net::IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(peer))
    }
}

/// What may come in on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerRole {
    /// Mail of clients, for everywhere.
    #[default]
    Submission,
    /// Delivery reports and complaints of anybody, for the bounce domains of sending domains; nothing
    /// is relayed. Needs `authentication: None`; `clients` are who may connect, everybody when empty.
    Bounces,
}

impl ListenerRole {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_submission(&self) -> bool {
        *self == Self::Submission
    }
}

/// Encryption of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerTls {
    /// Clear text only; `STARTTLS` is not offered.
    None,
    /// Clear text upgraded by `STARTTLS` (RFC 3207).
    StartTls,
    /// TLS from the first octet (RFC 8314 section 3.3).
    Implicit,
}

/// Whether a listener wants `AUTH` before `MAIL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authentication {
    /// `MAIL` without `AUTH` is refused with 530 5.7.0.
    #[default]
    Required,
    /// `AUTH` is offered; without it the connection counts as anonymous and may relay nothing
    /// unless its address is in `clients`.
    Optional,
    /// `AUTH` is not offered; the client's address must be in `clients`.
    None,
}

/// PEM files, relative to the directory of the main file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateFiles {
    /// Chain, leaf first.
    pub certificate: PathBuf,
    /// Private key of the leaf, PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// What recipients learn of the clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Privacy {
    /// Keep the names and addresses of clients, and the names of the relay's own pods, out of
    /// messages. Default false: `Received` names them, as RFC 5321 section 4.4 asks.
    pub hide_clients: bool,
}

/// The durable queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QueueSettings {
    /// Directory, created if missing. Default `queue` beside the main file.
    pub directory: PathBuf,
    /// Messages waiting at most; more are answered 452. Default 1000000.
    pub messages: u64,
    /// Free octets below which new messages are answered 452. Default 67108864 (64 MiB).
    pub minimum_free_bytes: u64,
    /// How long a relay that starts waits for another process that uses the queue, such as its
    /// predecessor in its last moments. Default 0s: it ends with an error at once.
    pub lock_timeout: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("queue"),
            messages: 1_000_000,
            minimum_free_bytes: 64 * 1024 * 1024,
            lock_timeout: Duration::from_secs(0),
        }
    }
}

/// Name servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dns {
    /// Addresses with port, such as `10.96.0.10:53`; the system's when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<SocketAddr>,
    /// One query. Default 5s.
    pub timeout: Duration,
    /// Whether answers are validated, which DANE rests on. Default `Auto`.
    pub dnssec: Dnssec,
    /// DNSKEY records, in the form of a zone file, that are trusted besides the root's keys that are
    /// built in: for a signed zone that the root does not know, such as one of a test network. All
    /// keys of such a zone have to be named. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_anchors: Vec<String>,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            dnssec: Dnssec::default(),
            trust_anchors: Vec::new(),
        }
    }
}

/// Health and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Health {
    /// Address to bind. Default `[::]:8080`.
    pub address: SocketAddr,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 8080)),
        }
    }
}

/// The way in for the operator and for the other shards: HTTPS, client certificate required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admin {
    /// Address to bind.
    pub address: SocketAddr,
    /// Own certificate.
    #[serde(flatten)]
    pub certificate: CertificateFiles,
    /// PEM of the authority that signs the certificates of the operator and of the shards.
    pub client_authority: PathBuf,
}

/// A domain that may stand in `From` and `MAIL FROM`, and its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Domain {
    /// Lower-case A-label form without a trailing dot. Subdomains need an entry of their own.
    pub name: String,
    /// Who may send; nobody when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<Grant>,
    /// Address of this domain that takes the place of a header `From` that its sender may not use;
    /// the original goes into `Reply-To` if there is none. Without it such a message is refused.
    /// Only for senders whose envelope sender is of this domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite_from: Option<String>,
    /// How long recipients that bounce or complain are not written to.
    #[serde(default, skip_serializing_if = "Suppression::is_default")]
    pub suppression: Suppression,
    /// Where bounces go. Default: to the sender of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounces: Option<Bounces>,
    /// Every key signs every message of the domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dkim: Vec<DkimKey>,
}

/// A DKIM signing key (RFC 6376, RFC 8463).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DkimKey {
    /// Selector; the record is at `<selector>._domainkey.<domain>`.
    pub selector: String,
    /// Algorithm.
    pub algorithm: DkimAlgorithm,
    /// Private key, PKCS#8 PEM.
    pub private_key: Secret,
}

/// DKIM algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DkimAlgorithm {
    /// `rsa-sha256` with a key of 2048 bits or more.
    RsaSha256,
    /// `ed25519-sha256`.
    Ed25519Sha256,
}

/// A user name and what its password is checked against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credential {
    /// User name of `AUTH`, case-sensitive, unique in the relay.
    pub username: String,
    /// Identity: `namespace/name` of the `SmtpCredential`. Grants name it `credential:namespace/name`.
    pub identity: String,
    /// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`; several while a password is
    /// being rotated.
    pub verifiers: Vec<String>,
}
