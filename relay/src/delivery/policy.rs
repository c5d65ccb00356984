//! How a host is spoken to, and why. Pure: everything that was found out comes in, one decision goes
//! out, and no way leads from a stronger finding to a weaker connection.
//!
//! The order: what the administrator said of the domain for a while (an override) goes before all
//! that the domain says of itself; DANE, which is about the host, goes before MTA-STS (RFC 8461 section
//! 2: MTA-STS must not outdo a DANE that fails); where neither says anything the setting holds. The
//! setting is never weakened by the others, and what a message demands (REQUIRETLS, RFC 8689) is added
//! at the end.

use std::fmt;
use std::sync::Arc;

use relay_config::OverridePolicy;

use super::dane::{Dane, Tlsa};
use super::outcome::AppliedPolicy;
use super::plan::Security;
use super::sts::Verdict;

/// Everything that bears on how a host is spoken to.
pub(super) struct Findings<'a> {
    /// What the route, or else `delivery.tls`, asks for; or the smarthost's own setting.
    pub(super) setting: Security,
    /// The host is a smarthost: only its setting and the message count.
    pub(super) smarthost: bool,
    /// The override in force for the recipient's domain.
    pub(super) exception: Option<OverridePolicy>,
    /// About the host.
    pub(super) dane: &'a Dane,
    /// About the host, by the policy of the recipient's domain.
    pub(super) sts: Verdict,
    /// The message must not go otherwise than encrypted to a proven server.
    pub(super) require_tls: bool,
    /// The message is to go whatever the domain publishes. The setting still holds: it is the
    /// administrator's.
    pub(super) tls_optional: bool,
}

/// A host, and what is known of it without a question to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Recipient domain as A-labels; `None` for a smarthost.
    pub(super) domain: Option<Arc<str>>,
    /// Without a trailing dot, or an address in text form.
    pub(super) name: Arc<str>,
    pub(super) port: u16,
    /// What the route, or else `delivery.tls`, asks for; or the smarthost's own setting.
    pub(super) setting: Security,
}

/// How a host is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsPolicy {
    pub(super) security: Security,
    pub(super) source: Source,
    /// What the certificate is held against; there exactly when the security is [`Security::Dane`].
    pub(super) tlsa: Option<Arc<Tlsa>>,
    /// Judge the certificate by the web's roots and say what would have come of it, without effect
    /// (MTA-STS in the mode `testing`).
    pub(super) observe: bool,
}

impl TlsPolicy {
    /// In words, for logs.
    pub(super) const fn applied(&self) -> AppliedPolicy {
        AppliedPolicy {
            security: self.security.label(),
            source: self.source.label(),
        }
    }

    /// Whether a connection under this policy does for `wanted`, which is about the same host (case
    /// M17).
    pub(super) fn covers(&self, wanted: &Self) -> bool {
        match wanted.security {
            Security::Clear | Security::Opportunistic => true,
            Security::Required => self.security.is_encrypted(),
            Security::Verified | Security::Implicit => {
                matches!(self.security, Security::Verified | Security::Implicit)
            }
            Security::Dane => self.tlsa == wanted.tlsa,
        }
    }
}

/// What a policy comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The route or `delivery.tls`.
    Setting,
    Smarthost,
    Override,
    Dane,
    /// There are TLSA records, none of them usable.
    DaneUnusable,
    Sts,
    StsTesting,
    /// The message.
    RequireTls,
    /// The message, which is to go whatever DANE and MTA-STS say.
    TlsOptional,
}

impl Source {
    /// For logs and metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Smarthost => "smarthost",
            Self::Override => "override",
            Self::Dane => "dane",
            Self::DaneUnusable => "dane_unusable",
            Self::Sts => "mta_sts",
            Self::StsTesting => "mta_sts_testing",
            Self::RequireTls => "requiretls",
            Self::TlsOptional => "tls_required_no",
        }
    }
}

/// Why a host must not be used now. Another one may be; without another the mail waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nobody knows what its TLSA records say.
    DaneUnknown(Arc<str>),
    /// The domain's MTA-STS policy does not name it.
    NotInPolicy,
}

impl Refusal {
    pub(super) const fn source(&self) -> Source {
        match self {
            Self::DaneUnknown(_) => Source::Dane,
            Self::NotInPolicy => Source::Sts,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DaneUnknown(why) => {
                write!(formatter, "the host's TLSA records cannot be told: {why}")
            }
            Self::NotInPolicy => {
                formatter.write_str("the MTA-STS policy of the domain does not name the host")
            }
        }
    }
}

/// The decision.
pub(super) fn decide(findings: &Findings<'_>) -> Result<TlsPolicy, Refusal> {
    let mut policy = if findings.smarthost {
        plain(findings.setting, Source::Smarthost)
    } else if let Some(exception) = findings.exception {
        plain(of_override(exception), Source::Override)
    } else if findings.tls_optional && !findings.require_tls {
        plain(findings.setting, Source::TlsOptional)
    } else {
        published(findings)?
    };
    if findings.require_tls && !policy.security.is_verified() {
        policy.security = policy.security.or_verified();
        policy.source = Source::RequireTls;
    }
    Ok(policy)
}

/// What the domain and the host publish, and the setting.
fn published(findings: &Findings<'_>) -> Result<TlsPolicy, Refusal> {
    let mut policy = plain(findings.setting, Source::Setting);
    match findings.dane {
        Dane::Failed(why) => return Err(Refusal::DaneUnknown(Arc::clone(why))),
        Dane::Records(tlsa) => {
            return Ok(TlsPolicy {
                security: Security::Dane,
                source: Source::Dane,
                tlsa: Some(Arc::clone(tlsa)),
                observe: false,
            });
        }
        Dane::Unusable if !findings.setting.is_encrypted() => {
            policy = plain(Security::Required, Source::DaneUnusable);
        }
        Dane::Unusable | Dane::None => {}
    }
    match findings.sts {
        Verdict::None => {}
        Verdict::Enforced => {
            if !policy.security.is_verified() {
                policy = plain(Security::Verified, Source::Sts);
            }
        }
        Verdict::Excluded => return Err(Refusal::NotInPolicy),
        Verdict::Testing => {
            policy.observe = !policy.security.is_verified();
            if policy.source == Source::Setting && policy.observe {
                policy.source = Source::StsTesting;
            }
        }
    }
    Ok(policy)
}

/// A policy that holds certificates against no TLSA records.
pub(super) const fn plain(security: Security, source: Source) -> TlsPolicy {
    TlsPolicy {
        security,
        source,
        tlsa: None,
        observe: false,
    }
}

const fn of_override(policy: OverridePolicy) -> Security {
    match policy {
        OverridePolicy::None => Security::Clear,
        OverridePolicy::Opportunistic => Security::Opportunistic,
        OverridePolicy::Required => Security::Required,
        OverridePolicy::Verified => Security::Verified,
    }
}

#[cfg(test)]
mod tests;
