//! What comes back of a domain's mail: bounces and complaints.

use serde::{Deserialize, Serialize};

use crate::{Duration, Secret};

/// The relay's own reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Reports {
    /// Address that takes the place of the null sender towards smarthosts, for those that refuse it
    /// (Amazon SES does). It should be a mailbox that somebody looks at: what comes to it are answers
    /// to reports. Default: none; a report that a smarthost refuses for good is dropped and logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_path: Option<String>,
    /// Daily reports to the domains that ask for them of how TLS with their servers went (RFC 8460).
    /// Default: none are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsReports>,
}

/// Daily TLS reports (RFC 8460).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsReports {
    /// Author of the reports, at a sending domain of the relay, which signs them.
    pub from: String,
    /// Name of the organisation. Default: the domain of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Whom to ask about a report. Default: `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

impl Reports {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How long a recipient is suppressed: mail of the domain to it is refused at `RCPT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Suppression {
    /// After a server said that it has no such mailbox. Default 720h (30 days); 0s is not at all.
    pub hard_bounces: Duration,
    /// After the recipient called a message spam. Default 8760h (a year); 0s is not at all.
    pub complaints: Duration,
}

impl Default for Suppression {
    fn default() -> Self {
        Self {
            hard_bounces: Duration::from_secs(30 * 24 * 3600),
            complaints: Duration::from_secs(365 * 24 * 3600),
        }
    }
}

impl Suppression {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where bounces of a domain's mail go: every message leaves with a return path of its own for each
/// recipient, so that a bounce tells whom it is about. Exactly one of `domain` and `address`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Bounces {
    /// Domain whose mail is nothing but reports: the sending domain or one below it, so that SPF stays
    /// aligned (RFC 7489 section 3.1.2). Its MX leads to a listener with `role: Bounces`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// A mailbox of the sending domain, or of one below it, that takes subaddresses
    /// (`bounces+…@example.com`); at most nine characters before the `@`. The relay does not see what
    /// comes to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Secrets of 32 or more octets in base 64. The first makes return paths, all check them.
    pub keys: Vec<Secret>,
    /// How long a return path is good. Default 720h (30 days).
    pub valid_for: Duration,
}

impl Default for Bounces {
    fn default() -> Self {
        Self {
            domain: None,
            address: None,
            keys: Vec::new(),
            valid_for: Duration::from_secs(30 * 24 * 3600),
        }
    }
}
