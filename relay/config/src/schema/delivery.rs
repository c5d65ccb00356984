//! How accepted messages leave.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Reports;
use super::transport::{MtaSts, TlsOverride};
use crate::{Cidr, Duration, Route, Smarthost};

/// How messages leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Delivery {
    /// Ways for some of the mail; the first that matches a recipient is taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Servers that take all mail that no route matches, in place of the recipients' MX hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub smarthosts: Vec<Smarthost>,
    /// Recipients at an address in place of a domain (`user@[192.0.2.1]`). Default `Deliver`.
    pub address_literals: AddressLiterals,
    /// When to try again and when to give up.
    pub retry: Retry,
    /// Encryption towards MX hosts. Default `Opportunistic`.
    pub tls: DeliveryTls,
    /// Policies that domains publish by MTA-STS (RFC 8461).
    pub mta_sts: MtaSts,
    /// What takes the place of all other TLS policy for a while, per recipient domain. At most one
    /// entry per domain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_overrides: Vec<TlsOverride>,
    /// PEM bundle of the authorities that MX hosts and hosts of MTA-STS policies are verified
    /// against in place of the built-in web roots, relative to the main file's directory; for test
    /// networks and closed ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<PathBuf>,
    /// Connections to one destination at a time. Default 20.
    pub connections_per_destination: u32,
    /// Connections at one time over all destinations. Default 500.
    pub connections: u32,
    /// Messages sent over one connection before it is closed. Default 100.
    pub messages_per_connection: u32,
    /// How long an idle connection is kept for reuse. Default 5s.
    pub idle_timeout: Duration,
    /// Port of MX hosts. Default 25; another one is for test networks.
    pub mx_port: u16,
    /// Networks that MX hosts may lie in although they are loopback, unspecified, link-local,
    /// multicast or the relay's own. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permitted_networks: Vec<Cidr>,
    /// The relay's own reports.
    #[serde(skip_serializing_if = "Reports::is_default")]
    pub reports: Reports,
    /// How long to wait for the peer.
    pub timeouts: Timeouts,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            smarthosts: Vec::new(),
            address_literals: AddressLiterals::default(),
            retry: Retry::default(),
            tls: DeliveryTls::default(),
            mta_sts: MtaSts::default(),
            tls_overrides: Vec::new(),
            certificate_authorities: None,
            connections_per_destination: 20,
            connections: 500,
            messages_per_connection: 100,
            idle_timeout: Duration::from_secs(5),
            mx_port: 25,
            permitted_networks: Vec::new(),
            reports: Reports::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// What happens to mail for an address literal (RFC 5321 section 4.1.3) that no route with
/// smarthosts takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressLiterals {
    /// It goes to that address, unless the address is one that no MX host may have either.
    #[default]
    Deliver,
    /// It fails for good.
    Refuse,
}

/// Retries: the n-th wait is `initial * 2^n`, at most `maximum`, plus or minus a fifth at random.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// First wait. Default 1m.
    pub initial: Duration,
    /// Longest wait. Default 1h.
    pub maximum: Duration,
    /// Age at which a message is given up and bounced. Default 120h (RFC 5321 section 4.5.4.1
    /// asks for at least 4 to 5 days). Twice that while outgoing port 25 is blocked.
    pub expire_after: Duration,
    /// Age at which the sender of a message that still waits is told so, once. Default 4h; 0s is
    /// never. `NOTIFY` without `DELAY` and the null sender are not told in any case.
    pub delay_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(60),
            maximum: Duration::from_secs(3600),
            expire_after: Duration::from_secs(120 * 3600),
            delay_after: Duration::from_secs(4 * 3600),
        }
    }
}

/// Encryption towards MX hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryTls {
    /// TLS when offered and working, clear text otherwise (RFC 7435).
    #[default]
    Opportunistic,
    /// TLS or no delivery; the certificate is not judged.
    Required,
    /// TLS with a certificate that is valid for the MX host name, or no delivery.
    Verified,
}

/// Waits of RFC 5321 section 4.5.3.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP connection to one address. Default 30s.
    pub connect: Duration,
    /// Greeting. Default 5m.
    pub greeting: Duration,
    /// TLS handshake. Default 30s.
    pub tls: Duration,
    /// Reply to any command but `DATA`'s end. Default 5m.
    pub command: Duration,
    /// Each block of message data. Default 3m.
    pub data: Duration,
    /// Reply to the final dot. Default 10m; less makes duplicates.
    pub data_reply: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            greeting: Duration::from_secs(300),
            tls: Duration::from_secs(30),
            command: Duration::from_secs(300),
            data: Duration::from_secs(180),
            data_reply: Duration::from_secs(600),
        }
    }
}
