//! What is known of how a host has to be spoken to: the settings, the override, DANE and MTA-STS.

mod report;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relay_config::{Dnssec, OverridePolicy};
use relay_smtp::EnhancedCode;

use super::Attempt;
use super::fault::of_host_lookup;
use crate::context::now;
use crate::delivery::connection::Connection;
use crate::delivery::dane::Dane;
use crate::delivery::outcome::{Fate, Kind};
use crate::delivery::policy::{self, Candidate, Findings, Refusal, Source, TlsPolicy};
use crate::delivery::resolve::ResolveError;
use crate::delivery::sts::{self, Verdict};
use crate::tls_reports::Basis;

/// How long a connection is used before it is asked again whether it fits its destination's policy.
const JUDGED: Duration = Duration::from_secs(10);
/// How long DNS may take to tell about TLSA records, in its own time for one query (case T18).
const QUERIES: u32 = 4;

/// How a host is spoken to.
pub(super) struct Protection {
    pub(super) policy: TlsPolicy,
    /// What its domain is told of the session by a TLS report; `None` when it is not told.
    pub(super) basis: Option<Arc<Basis>>,
}

impl Attempt<'_, '_> {
    /// How a host is spoken to, or why it is not.
    pub(super) async fn protection(&self, host: &Candidate) -> Result<Protection, Fate> {
        let exception = self.exception(host);
        let optional = self.work.envelope.options.tls_optional && !self.requires_tls();
        let (dane, entry) = match &host.domain {
            // An address proves itself by nothing, and an exception needs no questions.
            Some(domain)
                if exception.is_none() && !optional && host.name.parse::<IpAddr>().is_err() =>
            {
                let dane = self.dane(domain, host).await;
                let dane = dane.map_err(|error| of_host_lookup(&error))?;
                let entry = match dane {
                    Dane::Records(_) | Dane::Failed(_) => None,
                    Dane::None | Dane::Unusable => self.sts(domain).await,
                };
                (dane, entry)
            }
            _ => (Dane::None, None),
        };
        let sts = entry.as_deref().map(|entry| &entry.policy);
        let basis = match &host.domain {
            Some(domain) if exception.is_none() && !optional && self.is_reported() => {
                let fault = self.engine.sts.fault(domain);
                let fault = fault.filter(|_| self.engine.policy_way(self.snapshot).is_some());
                Some(Arc::new(report::basis(
                    domain, &host.name, &dane, sts, fault,
                )))
            }
            _ => None,
        };
        let sts = self.verdict(sts, host);
        let decision = policy::decide(&Findings {
            setting: host.setting,
            smarthost: host.domain.is_none(),
            exception,
            dane: &dane,
            sts,
            require_tls: self.requires_tls(),
            tls_optional: optional,
        });
        match decision {
            Ok(policy) => Ok(Protection { policy, basis }),
            Err(refusal) => {
                if let Some(basis) = basis {
                    let failure = report::of_refusal(&refusal, host);
                    self.engine
                        .context
                        .tls_reports
                        .note(&basis, Some(failure), now());
                }
                Err(self.refuse(host, &refusal))
            }
        }
    }

    /// Whether the next server's domain may be told how TLS went. Of the way of a report it is not, or
    /// reports would go to and fro for ever (case L13).
    fn is_reported(&self) -> bool {
        let reports = &self.snapshot.config.delivery.reports;
        reports.tls.is_some() && !self.work.envelope.options.tls_report
    }

    /// The override that is in force for the recipient's domain.
    fn exception(&self, host: &Candidate) -> Option<OverridePolicy> {
        let now = i64::try_from(now().0).unwrap_or(i64::MAX);
        let now = Timestamp::from_millisecond(now).ok()?;
        let delivery = &self.snapshot.config.delivery;
        let entry = delivery.tls_override(host.domain.as_deref()?, now)?;
        Some(entry.policy)
    }

    /// Tells of a host that is not used.
    fn refuse(&self, host: &Candidate, refusal: &Refusal) -> Fate {
        let source = refusal.source().label();
        let metrics = &self.engine.context.metrics;
        metrics.tls_policy("none", source, "refused");
        tracing::info!(
            message_id = %self.work.id, host = %host.name, domain = host.domain.as_deref(),
            tls_source = source, reason = %refusal,
            "a host is not used"
        );
        refused(&host.name, refusal)
    }

    async fn dane(&self, domain: &str, host: &Candidate) -> Result<Dane, ResolveError> {
        let dns = &self.snapshot.config.dns;
        if dns.dnssec == Dnssec::Disabled {
            return Ok(Dane::None);
        }
        let resolver = self.engine.resolvers.get(dns)?;
        if !resolver.proves_exchangers(domain).await? {
            return Ok(Dane::None);
        }
        let limit = dns.timeout.get() * QUERIES;
        let found = resolver.dane(&host.name, host.port, domain, limit).await;
        Ok(found)
    }

    /// The MTA-STS policy of a domain.
    async fn sts(&self, domain: &str) -> Option<Arc<sts::Entry>> {
        let way = self.engine.policy_way(self.snapshot)?;
        self.engine.sts.policy(&way, domain).await
    }

    fn verdict(&self, policy: Option<&sts::Policy>, host: &Candidate) -> Verdict {
        let verdict = sts::verdict(policy, &host.name);
        if verdict == Verdict::Testing && policy.is_some_and(|policy| !policy.admits(&host.name)) {
            self.engine.context.metrics.sts_testing("excluded");
            tracing::info!(
                domain = host.domain.as_deref(),
                host = %host.name,
                "the MTA-STS policy is in testing; enforced, it would exclude this host"
            );
        }
        verdict
    }

    /// A connection that was made for other messages, unless this one must not go over it: because of
    /// what it demands, or because the destination's policy is another by now (case M17).
    pub(super) async fn usable(&self, mut connection: Connection) -> Option<Connection> {
        let same_way = *connection.destination() == self.destination;
        let fits = same_way
            && (!self.requires_tls() || connection.is_verified())
            && self.still_fits(&mut connection).await;
        if fits {
            return Some(connection);
        }
        connection.close().await;
        None
    }

    async fn still_fits(&self, connection: &mut Connection) -> bool {
        // What let a message through that nothing holds up says nothing for any other.
        let was_optional = connection.policy().source == Source::TlsOptional;
        if !was_optional && connection.is_judged_within(JUDGED) {
            return true;
        }
        let candidate = connection.candidate().clone();
        match self.protection(&candidate).await {
            Ok(wanted) => {
                if wanted.policy.source != Source::TlsOptional {
                    connection.judged();
                }
                connection.policy().covers(&wanted.policy)
            }
            Err(_) => false,
        }
    }
}

fn refused(host: &str, refusal: &Refusal) -> Fate {
    let status = match refusal {
        Refusal::DaneUnknown(_) => EnhancedCode::new(4, 4, 3),
        Refusal::NotInPolicy => EnhancedCode::new(4, 7, 5),
    };
    Fate::host(
        Kind::Deferred,
        status,
        None,
        format!("mail exchanger {host} was not tried: {refusal}"),
    )
}
