//! What is known of how a host has to be spoken to: the settings, the override, DANE and MTA-STS.

use std::net::IpAddr;
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
use crate::delivery::policy::{self, Candidate, Findings, Refusal, TlsPolicy};
use crate::delivery::resolve::ResolveError;
use crate::delivery::sts::{self, Verdict};

/// How long a connection is used before it is asked again whether it fits its destination's policy.
const JUDGED: Duration = Duration::from_secs(10);
/// How long DNS may take to tell about TLSA records, in its own time for one query (case T18).
const QUERIES: u32 = 4;

impl Attempt<'_, '_> {
    /// How a host is spoken to, or why it is not.
    pub(super) async fn policy(&self, host: &Candidate) -> Result<TlsPolicy, Fate> {
        let exception = self.exception(host);
        let (dane, sts) = match &host.domain {
            // An address proves itself by nothing, and an exception needs no questions.
            Some(domain) if exception.is_none() && host.name.parse::<IpAddr>().is_err() => {
                let dane = self.dane(domain, host).await;
                let dane = dane.map_err(|error| of_host_lookup(&error))?;
                let sts = match dane {
                    Dane::Records(_) | Dane::Failed(_) => Verdict::None,
                    Dane::None | Dane::Unusable => self.sts(domain, &host.name).await,
                };
                (dane, sts)
            }
            _ => (Dane::None, Verdict::None),
        };
        let decision = policy::decide(&Findings {
            setting: host.setting,
            smarthost: host.domain.is_none(),
            exception,
            dane: &dane,
            sts,
            require_tls: self.requires_tls(),
        });
        decision.map_err(|refusal| self.refuse(host, &refusal))
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

    async fn sts(&self, domain: &str, host: &str) -> Verdict {
        let engine = self.engine;
        let Some(way) = engine.policy_way(self.snapshot) else {
            return Verdict::None;
        };
        let entry = engine.sts.policy(&way, domain).await;
        let policy = entry.as_deref().map(|entry| &entry.policy);
        let verdict = sts::verdict(policy, host);
        if verdict == Verdict::Testing && policy.is_some_and(|policy| !policy.admits(host)) {
            engine.context.metrics.sts_testing("excluded");
            tracing::info!(
                domain,
                host,
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
        if connection.is_judged_within(JUDGED) {
            return true;
        }
        let candidate = connection.candidate().clone();
        match self.policy(&candidate).await {
            Ok(wanted) => {
                connection.judged();
                connection.policy().covers(&wanted)
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
