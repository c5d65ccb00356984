//! How accepted messages leave.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::transport::{Dnssec, MtaSts, TlsOverride};
use super::{Route, Smarthost};
use crate::{Duration, SecretKeyReference};

/// How accepted messages leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Ways for some of the mail, by domain of the recipient or the sender, by MX hosts or by tag. The
    /// first that matches a recipient is taken; what none matches goes to `smarthosts`, or else to
    /// the MX hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new("self.all(a, self.exists_one(b, b.name == a.name))")
            .message("each route needs a name of its own")
    )]
    pub routes: Vec<Route>,

    /// Servers that take all mail that no route matches, in place of the recipients' MX hosts; tried
    /// in order unless they have priorities. Default none: mail goes to the MX hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub smarthosts: Vec<Smarthost>,

    /// Mail for an address in place of a domain (`user@[192.0.2.1]`) that does not go to smarthosts.
    /// `Deliver`: it goes there, unless the address is one that no MX host may have either
    /// (default). `Refuse`: it fails for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_literals: Option<AddressLiterals>,

    /// The relay's own reports about mail that failed or is late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<Reports>,

    /// When to try again and when to give up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,

    /// Encryption towards MX hosts. `Opportunistic`: TLS when offered and working, clear text
    /// otherwise (default). `Required`: TLS or no delivery, the certificate is not judged.
    /// `Verified`: TLS with a certificate that is valid for the MX host name, or no delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DeliveryTls>,

    /// Whether DNS answers are validated, which DANE (RFC 7672) rests on: MX hosts with TLSA records
    /// in a signed zone get mail only under TLS with a certificate that the records name. `Auto`:
    /// validated while the name servers pass signatures on (default). `Validate`: always; mail waits
    /// where signatures are missing that should be there. `TrustResolver`: the name servers in
    /// `dns.servers` validate and are believed; only for a path that nobody can change.
    /// `Disabled`: no DANE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dnssec: Option<Dnssec>,

    /// Policies that recipient domains publish by MTA-STS (RFC 8461), which are fetched over HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mta_sts: Option<MtaSts>,

    /// Exceptions from every other TLS policy, per recipient domain and until a date: for a receiver
    /// whose TLSA records or certificate are wrong, or who should get no mail in clear text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["domain".into()]))]
    pub tls_overrides: Vec<TlsOverride>,

    /// Secret in the relay's namespace with a PEM bundle of the authorities that MX hosts and
    /// hosts of MTA-STS policies are verified against, in place of the public web roots built into
    /// the relay; for test networks and closed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyReference>,

    /// Connections of one shard to one destination at a time. Default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub connections_per_destination: Option<i32>,

    /// TCP port of MX hosts. Default 25; another one is for test networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub mx_port: Option<i32>,

    /// Networks in CIDR notation in which MX hosts may lie although they are loopback, link-local
    /// or the relay's own. Default none; for test networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 43)))]
    #[x_kube(
        validation = Rule::new("self.all(network, isCIDR(network))")
            .message("each entry must be a network in CIDR notation, such as 10.0.0.0/8")
    )]
    pub permitted_networks: Vec<String>,
}

impl Delivery {
    /// All smarthosts, those of routes last; each with the field that it stands in.
    pub fn all_smarthosts(&self) -> impl Iterator<Item = (String, &Smarthost)> {
        let field = |list: String, place: usize| format!("{list}.smarthosts[{place}]");
        let own = self.smarthosts.iter().enumerate();
        let own = own.map(move |(place, host)| (field("spec.delivery".into(), place), host));
        let routes = self.routes.iter().enumerate();
        own.chain(routes.flat_map(move |(number, route)| {
            let list = format!("spec.delivery.routes[{number}]");
            let hosts = route.smarthosts.iter().enumerate();
            hosts.map(move |(place, host)| (field(list.clone(), place), host))
        }))
    }
}

/// What happens to mail for an address literal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum AddressLiterals {
    /// It goes to that address.
    #[default]
    Deliver,
    /// It fails for good.
    Refuse,
}

/// The relay's own reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reports {
    /// Address that takes the place of the null sender towards smarthosts, for those that refuse it
    /// (Amazon SES does), such as `postmaster@example.com`; a mailbox that somebody looks at. Default:
    /// none; a report that a smarthost refuses for good is dropped and logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9_+=-]+([.][A-Za-z0-9_+=-]+)*@([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')")
            .message("must be a plain address with a lower-case domain, such as postmaster@example.com")
    )]
    pub return_path: Option<String>,

    /// Send TLS reports (RFC 8460): once a day each recipient domain that asks for it is told how many
    /// sessions with its servers went as its DANE records or MTA-STS policy ask, and what went wrong in
    /// the others. One report per domain over all shards. Default: none are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsReports>,
}

/// Who sends TLS reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsReports {
    /// Author of the reports, such as `tls-reports@example.com`: at the domain of a SendingDomain of
    /// this relay, whose DKIM keys sign them; without that domain none are sent.
    #[schemars(length(min = 3, max = 254))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z0-9_+=-]+([.][A-Za-z0-9_+=-]+)*@([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')")
            .message("must be a plain address with a lower-case domain, such as tls-reports@example.com")
    )]
    pub from: String,

    /// Name of your organisation in the reports. Default: the domain of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f]*$"))]
    pub organization: Option<String>,

    /// Whom receivers ask about a report, such as `postmaster@example.com`. Default: `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f]*$"))]
    pub contact: Option<String>,
}

/// The n-th wait is `initial` doubled n times, at most `maximum`, plus or minus a fifth at random.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.initial) ? duration(self.initial) : duration('1m')) <= (has(self.maximum) ? duration(self.maximum) : duration('1h'))")
        .message("initial (default 1m) must be at most maximum (default 1h)")
        .field_path(".initial")
)]
pub struct Retry {
    /// First wait after a temporary failure, such as `30s`. Default `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) > duration('0s')")
            .message("must be above 0, such as 30s")
    )]
    pub initial: Option<Duration>,

    /// Longest wait between two attempts, such as `2h`. Default `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub maximum: Option<Duration>,

    /// Age at which a message is given up and its sender told, such as `48h`. Default `120h`; RFC
    /// 5321 section 4.5.4.1 asks for at least 4 to 5 days. Twice that while outgoing port 25 is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub expire_after: Option<Duration>,

    /// Age at which the sender of a message that still waits is told so, once, such as `1h`. Default
    /// `4h`; `0s` is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub delay_after: Option<Duration>,
}

/// Encryption towards MX hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum DeliveryTls {
    /// TLS when offered and working, clear text otherwise (RFC 7435).
    #[default]
    Opportunistic,
    /// TLS or no delivery; the certificate is not judged.
    Required,
    /// TLS with a certificate that is valid for the MX host name, or no delivery.
    Verified,
}

/// Name servers of the relay pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// IP addresses, with or without port, such as `10.96.0.10`, `192.0.2.1:5353` or
    /// `[2001:db8::1]:53`. Default: the cluster's own name service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 53)))]
    #[x_kube(
        validation = Rule::new(r"self.all(server, isIP(server) || (server.matches('^[0-9.]+:[0-9]{1,5}$') && isIP(server.split(':')[0])) || (server.matches('^\\[[0-9A-Fa-f:.]+\\]:[0-9]{1,5}$') && isIP(server.substring(1, server.lastIndexOf(']')))))")
            .message("each entry must be an IP address, or address:port such as 192.0.2.1:5353 or [2001:db8::1]:53")
    )]
    pub servers: Vec<String>,

    /// DNSKEY records, as in a zone file, that are trusted besides the root's keys built into the
    /// relay, such as `corp.example. IN DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0d...`: for a
    /// signed zone that the root does not know. All keys of such a zone have to be named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 2048)))]
    pub trust_anchors: Vec<String>,
}
