//! `SendingDomain`: a mail domain that applications may send from, with its DKIM keys.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, RelayReference};

/// A mail domain that applications may send from.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "mailrelay.dev",
    version = "v1alpha1",
    kind = "SendingDomain",
    plural = "sendingdomains",
    singular = "sendingdomain",
    shortname = "sd",
    category = "mailrelay",
    namespaced,
    status = "SendingDomainStatus",
    derive = "PartialEq",
    doc = "A mail domain that applications may send from through a relay. Its DKIM keys are made by the operator; publish the records of `status.dnsRecords`.",
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(name = "Relay", type_ = "string", json_path = ".spec.relayRef.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "DNS",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="DnsVerified")].reason"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.bounces) || [has(self.bounces.domain) ? self.bounces.domain : '', has(self.bounces.address) ? self.bounces.address.split('@')[1] : ''].all(d, d == '' || d == self.domain || d.endsWith('.' + self.domain))")
        .message("bounces must lie in the domain itself or below it, or SPF would not be aligned with From")
        .field_path(".bounces")
)]
pub struct SendingDomainSpec {
    /// The domain in lower case, without a trailing dot, such as `example.com`; IDNs as A-labels
    /// (`xn--`). Subdomains need a SendingDomain of their own. Cannot be changed.
    #[schemars(length(min = 3, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')")
            .message("must be a lower-case domain name without a trailing dot, such as example.com; IDNs as A-labels (xn--)"),
        validation = Rule::new("self == oldSelf")
            .message("domain cannot be changed, since keys and records belong to it; make a second SendingDomain")
    )]
    pub domain: String,

    /// The SmtpRelay that sends for the domain. Cannot be changed.
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("relayRef cannot be changed; make a second SendingDomain for the other relay")
    )]
    pub relay_ref: RelayReference,

    /// DKIM keys and signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkim: Option<Dkim>,

    /// Who may send from the domain. Default: every ServiceAccount and every SmtpCredential of this
    /// object's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub senders: Option<Vec<Sender>>,

    /// What becomes of a message whose header From its sender may not use. Default: it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unauthorized_from: Option<UnauthorizedFrom>,

    /// How long recipients that bounce or complain are not written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppression: Option<Suppression>,

    /// Where bounces of the domain's mail go. Default: to the sender of each message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounces: Option<Bounces>,

    /// Records of the domain besides those of its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DomainDns>,
}

/// Where bounces of the domain's mail go: every message leaves with a return path of its own for each
/// recipient, which holds a signature of the relay. The operator makes the secrets for it in Secret
/// `<name>-dkim` and renews them every 90 days, with overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.domain) != has(self.address)")
        .message("give domain for reports that the relay reads, or address for a mailbox, and not both")
)]
pub struct Bounces {
    /// A domain whose mail is nothing but reports, such as `bounces.example.com`: the sending domain
    /// or one below it, so that SPF stays aligned. Publish its records of `status.dnsRecords`: an MX
    /// record that leads to a listener of the relay with `role: Bounces`, by the relay's
    /// `spec.hostname`, and an SPF record as for the sending domain. Bounces and complaints
    /// feed the suppression list, and bounces go on to the senders of the messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')")
            .message("must be a lower-case domain name without a trailing dot, such as bounces.example.com")
    )]
    pub domain: Option<String>,

    /// A mailbox of the domain, or of one below it, that takes subaddresses, such as
    /// `bounces@example.com`; at most nine characters before the @. Reports come to
    /// `bounces+…@example.com`, and the relay does not see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9_=-]+([.][A-Za-z0-9_=-]+)*@([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$') && self.indexOf('@') <= 9")
            .message("must be a plain address with at most nine characters before the @, such as bounces@example.com")
    )]
    pub address: Option<String>,

    /// How long a return path is good after its message was accepted, such as `240h`: what comes to it
    /// later is refused. From `1h` to `840h` (35 days), as long as the secret of a return path is kept
    /// after it was renewed. Default `720h`, 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('840h')")
            .message("must be from 1h to 840h (35 days), such as 720h")
    )]
    pub valid_for: Option<Duration>,
}

/// Records of a domain besides those of its keys: what they should say. They stand in
/// `status.dnsRecords`; SPF is checked once `spec.egress` of the relay says from where mail leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainDns {
    /// The DMARC record (RFC 9989). Default: any will do, the domain's own or that of a domain above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dmarc: Option<Dmarc>,

    /// Where reports about TLS go (RFC 8460), such as `mailto:tls@example.com` or an `https:` address.
    /// Default: no such record is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 320)))]
    #[x_kube(
        validation = Rule::new("self.all(uri, uri.matches('^(mailto:[^@,;! ]+@[^@,;! ]+|https://[^,;! ]+)$'))")
            .message("each entry must be a mailto: or https: address without white space, such as mailto:tls@example.com")
    )]
    pub tls_reports: Vec<String>,

    /// Where the logo of the domain lies (BIMI), such as `https://example.com/logo.svg`. Shown only with a
    /// DMARC policy of quarantine or reject. Default: no such record is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^https://[^,; ]+$')")
            .message("must be an https: address, such as https://example.com/logo.svg")
    )]
    pub bimi_logo: Option<String>,
}

/// What a domain's DMARC record should say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dmarc {
    /// What receivers are to do with mail that is not proven to be the domain's: at least this. `None`:
    /// nothing but report it. Default: whatever is published; `None` where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<DmarcPolicy>,

    /// Addresses that get aggregate reports, such as `dmarc@example.com`. Where one lies in a domain of
    /// others, these have to publish a record that says so, which stands in `status.dnsRecords` too.
    /// Default: those of the published record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 254)))]
    #[x_kube(
        validation = Rule::new("self.all(a, a.matches('^[A-Za-z0-9_+=.-]+@([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$'))")
            .message("each entry must be a plain address, such as dmarc@example.com")
    )]
    pub reports: Vec<String>,
}

/// What receivers are to do with mail that is not proven to be the domain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum DmarcPolicy {
    /// Nothing.
    None,
    /// Treat it as suspicious.
    Quarantine,
    /// Refuse it.
    Reject,
}

/// How long a recipient is suppressed: the relay refuses mail of the domain to it at RCPT, on all of
/// its shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suppression {
    /// After a server said that it has no such mailbox, such as `720h`. Default `720h`, 30 days;
    /// `0s` is not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub hard_bounces: Option<Duration>,

    /// After the recipient called a message spam, such as `8760h`. Default `8760h`, a year; `0s` is
    /// not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub complaints: Option<Duration>,
}

/// What becomes of a message whose header From its sender may not use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.policy) && self.policy == 'Rewrite') == has(self.localPart)")
        .message("localPart belongs to policy: Rewrite and only there; set both, or remove localPart")
)]
pub struct UnauthorizedFrom {
    /// `Reject`: the message is refused (default). `Rewrite`: for applications that cannot be told
    /// their address, From becomes `<localPart>@<domain>` and the original goes into Reply-To if
    /// there is none. The sender of the envelope (MAIL FROM) must be of this domain and granted in
    /// any case.
    #[serde(default)]
    pub policy: UnauthorizedFromPolicy,

    /// Local part of the address that is put in place, such as `noreply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9_+=-]+([.][A-Za-z0-9_+=-]+)*$')")
            .message("must hold only letters, digits and any of . _ + = -, such as noreply")
    )]
    pub local_part: Option<String>,
}

/// What becomes of a message whose header From its sender may not use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnauthorizedFromPolicy {
    /// It is refused.
    #[default]
    Reject,
    /// It goes out with another author.
    Rewrite,
}

/// DKIM keys and signatures (RFC 6376).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.keys) || !has(self.revokedSelectors) || !self.keys.exists(k, k.selector in self.revokedSelectors)")
        .message("a selector of revokedSelectors cannot be that of a key in keys; give the key another selector")
)]
pub struct Dkim {
    /// One key and one signature per algorithm. `RsaSha256`: RSA with 2048 bits, understood by
    /// every receiver. `Ed25519Sha256`: short keys (RFC 8463), understood by some. Default both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub algorithms: Option<Vec<DkimAlgorithm>>,

    /// Keys of your own, in place of those that the operator makes: at most one RSA and one Ed25519 key. They
    /// are not rotated. A key under a new selector signs once its record has spread, as in a rotation; a key
    /// that takes the place of another under the same selector signs at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["selector".into()]))]
    pub keys: Vec<OwnDkimKey>,

    /// Start of the selectors, such as `mail` for `mail-r1._domainkey.example.com`. Lower-case
    /// letters, digits and hyphens, at most 32. Default `mr` and six characters made of the
    /// object's identity. A change makes new keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("must hold only a-z, 0-9 and inner hyphens, such as mail")
    )]
    pub selector_prefix: Option<String>,

    /// When keys get successors. A successor signs once all name servers of the zone have shown its
    /// record for a full time to live; the key before it is kept until no message that it signed can be
    /// on its way. At once, and once for each value: annotation `mailrelay.dev/rotate-now`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<DkimRotation>,

    /// Selectors of keys that others may have. Such a key is destroyed and signs no more, a new one
    /// signs at once, and its record is to be replaced by the one in `status.dnsRecords`, which revokes
    /// it (RFC 6376 section 3.6.1), for as long as the selector stands here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(s, s.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))")
            .message("must be selectors of status.keys, such as mail-r1")
    )]
    pub revoked_selectors: Vec<String>,
}

/// A DKIM key of the domain's owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnDkimKey {
    /// Its selector, such as `mail2026`: the record is at `mail2026._domainkey.example.com`. Lower-case letters,
    /// digits and inner hyphens.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("must hold only a-z, 0-9 and inner hyphens, such as mail2026")
    )]
    pub selector: String,

    /// Where it lies.
    pub secret_ref: OwnDkimKeyReference,
}

/// An entry of a Secret in the namespace of the SendingDomain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnDkimKeyReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Entry with the key in PEM, unencrypted: RSA with 2048 to 4096 bits (PKCS#8 or PKCS#1) or Ed25519
    /// (PKCS#8). Default `private.pem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// When DKIM keys get successors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DkimRotation {
    /// Age at which a key gets a successor, such as `4320h` (180 days); at least `24h`. Default: never,
    /// since somebody has to publish the record of each new key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('24h')")
            .message("must be at least 24h, such as 4320h (180 days)")
    )]
    pub every: Option<Duration>,
}

/// DKIM algorithms.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum DkimAlgorithm {
    /// `rsa-sha256`, 2048 bits.
    RsaSha256,
    /// `ed25519-sha256`.
    Ed25519Sha256,
}

/// Who may send: one of `namespace` and `oidc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
// `namespace` is a reserved word of CEL and must be written with underscores there.
#[x_kube(
    validation = Rule::new("has(self.__namespace__) != has(self.oidc)")
        .message("give namespace for ServiceAccounts and SmtpCredentials, or oidc for others, and not both"),
    validation = Rule::new("has(self.__namespace__) || !(has(self.credential) || has(self.serviceAccount))")
        .message("credential and serviceAccount are names in a namespace; give namespace too"),
    validation = Rule::new("!(has(self.credential) && has(self.serviceAccount))")
        .message("credential and serviceAccount are two senders; make two entries"),
    validation = Rule::new("!has(self.__namespace__) || self.__namespace__ != '*' || !(has(self.credential) || has(self.serviceAccount))")
        .message("namespace * means everybody; remove credential and serviceAccount, or name a namespace")
)]
pub struct Sender {
    /// Namespace of the ServiceAccounts and SmtpCredentials, or `*`: everybody whom the relay lets
    /// in, including clients that send without authentication from `spec.clients.cidrs` of the
    /// relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,

    /// Name of one SmtpCredential, or `*` for all of the namespace and none of its ServiceAccounts.
    /// Default, without `serviceAccount`: all of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub credential: Option<String>,

    /// Name of one ServiceAccount, or `*` for all of the namespace and none of its SmtpCredentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account: Option<String>,

    /// Owners of tokens of an issuer that the relay names in `spec.authentication.oidc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcSender>,

    /// Local parts that they may use, such as `orders` for `orders@example.com`, in any case of
    /// letters. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub local_parts: Vec<String>,
}

/// Owners of tokens of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcSender {
    /// Name of the issuer in the relay's `spec.authentication.oidc`.
    #[schemars(length(min = 1, max = 63))]
    pub issuer: String,

    /// Value of the issuer's `identityClaim`. Default: everybody with a token of the issuer for
    /// the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 320))]
    pub identity: Option<String>,
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
