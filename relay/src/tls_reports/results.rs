//! What became of TLS with the servers of each domain, per day (RFC 8460 section 4). Pure, and bounded
//! whatever the servers do: domains per day, policies per domain, kinds of failure per policy, octets of
//! each text.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use relay_queue::Timestamp;
use serde::{Deserialize, Serialize};

/// Domains of which is known something, over all days.
const DOMAINS: usize = 20_000;
/// Policies of one domain and day: one for MTA-STS, one per MX host for DANE.
const POLICIES: usize = 16;
/// Kinds of failure that are told apart under one policy; more are only counted.
const FAILURES: usize = 50;
/// Octets of a text that comes from elsewhere.
const LONGEST: usize = 256;
/// Lines of a policy.
const LINES: usize = 80;
/// How long counts are kept: the days in which a report is tried, and a day for a shard that was away.
const MEMORY: std::time::Duration = std::time::Duration::from_hours(3 * 24);
/// Milliseconds.
const DAY: u64 = 24 * 3600 * 1000;

/// A day in UTC, counted from 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Day(u64);

impl Day {
    /// The day of a moment.
    pub(crate) const fn of(at: Timestamp) -> Self {
        Self(at.0 / DAY)
    }

    /// Its first millisecond.
    pub(crate) const fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(DAY))
    }

    /// The first millisecond of the next day.
    pub(crate) const fn end(self) -> Timestamp {
        Timestamp(self.0.saturating_add(1).saturating_mul(DAY))
    }
}

/// What a policy is (section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PolicyType {
    /// DANE.
    Tlsa,
    /// MTA-STS.
    Sts,
    /// None of both.
    NoPolicyFound,
}

/// The policy that a session was held against.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::struct_field_names, reason = "the names of RFC 8460")]
pub(crate) struct Policy {
    pub(crate) policy_type: PolicyType,
    /// Lines of the MTA-STS policy, or TLSA records; empty when it could not be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) policy_string: Vec<String>,
    /// Recipient domain, or TLSA base domain.
    pub(crate) policy_domain: String,
    /// Patterns of the MTA-STS policy, or the host of the TLSA records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mx_host: Vec<String>,
}

/// What went wrong (section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ResultType {
    StarttlsNotSupported,
    CertificateHostMismatch,
    CertificateExpired,
    CertificateNotTrusted,
    ValidationFailure,
    TlsaInvalid,
    DnssecInvalid,
    StsPolicyFetchError,
    StsPolicyInvalid,
    StsWebpkiInvalid,
}

/// One kind of failure. What is not known, or nobody's business, is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::struct_field_names, reason = "the names of RFC 8460")]
pub(crate) struct Failure {
    pub(crate) result_type: ResultType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sending_mta_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) receiving_mx_hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) receiving_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure_reason_code: Option<String>,
}

/// What is counted under one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) successful: u64,
    pub(crate) failed: u64,
    /// Not all of those that failed, when they failed in too many ways.
    pub(crate) failures: BTreeMap<Failure, u64>,
}

/// A policy and its count, as it is written and handed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counted {
    pub(crate) day: Day,
    /// The recipients' domain.
    pub(crate) domain: String,
    pub(crate) policy: Policy,
    pub(crate) successful: u64,
    pub(crate) failed: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) failures: Vec<(Failure, u64)>,
}

/// Counts by policy.
pub(crate) type Policies = BTreeMap<Policy, Tally>;

/// Everything that was counted.
#[derive(Debug, Default)]
pub(crate) struct Results(HashMap<(Day, String), Policies>);

impl Results {
    /// Counts one session: `None` is one that the policy was kept to in.
    pub(crate) fn note(
        &mut self,
        day: Day,
        domain: &str,
        policy: &Policy,
        failure: Option<Failure>,
    ) {
        let Some(tally) = self.tally(day, domain, policy) else {
            return;
        };
        match failure {
            None => tally.successful = tally.successful.saturating_add(1),
            Some(failure) => tally.fail(failure, 1, 1),
        }
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn merge(&mut self, counted: Counted) {
        let Some(tally) = self.tally(counted.day, &counted.domain, &counted.policy) else {
            return;
        };
        tally.successful = tally.successful.saturating_add(counted.successful);
        tally.failed = tally.failed.saturating_add(counted.failed);
        for (failure, count) in counted.failures {
            tally.fail(failure, count, 0);
        }
    }

    fn tally(&mut self, day: Day, domain: &str, policy: &Policy) -> Option<&mut Tally> {
        let full = self.0.len() >= DOMAINS;
        let key = (day, clipped(domain));
        if full && !self.0.contains_key(&key) {
            return None;
        }
        let policies = self.0.entry(key).or_default();
        let policy = policy.bounded();
        let known = policies.len() < POLICIES || policies.contains_key(&policy);
        known.then(|| policies.entry(policy).or_default())
    }

    /// Domains and days of which something is known.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (Day, &str)> {
        self.0.keys().map(|(day, domain)| (*day, domain.as_str()))
    }

    /// What was counted of a domain.
    pub(crate) fn of(&self, day: Day, domain: &str) -> Option<&Policies> {
        self.0.get(&(day, domain.to_owned()))
    }

    /// Forgets a domain.
    pub(crate) fn forget(&mut self, day: Day, domain: &str) {
        self.0.remove(&(day, domain.to_owned()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All counts, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Counted> {
        let domains = self.0.iter();
        domains.flat_map(|((day, domain), policies)| counted(*day, domain, policies))
    }

    /// Takes one domain's counts out.
    pub(crate) fn take_one(&mut self) -> Option<Vec<Counted>> {
        let (day, domain) = self.0.keys().next()?.clone();
        let policies = self.0.remove(&(day, domain.clone()))?;
        Some(counted(day, &domain, &policies).collect())
    }

    /// Forgets what is so old that no report can be made of it any more.
    pub(crate) fn forget_before(&mut self, now: Timestamp) {
        self.0.retain(|(day, _), _| day.end().after(MEMORY) > now);
    }
}

fn counted(day: Day, domain: &str, policies: &Policies) -> impl Iterator<Item = Counted> {
    policies.iter().map(move |(policy, tally)| Counted {
        day,
        domain: domain.to_owned(),
        policy: policy.clone(),
        successful: tally.successful,
        failed: tally.failed,
        failures: tally.failures.clone().into_iter().collect(),
    })
}

impl Counted {
    /// Octets, roughly.
    pub(crate) fn footprint(&self) -> usize {
        let lines = self.policy.policy_string.iter().chain(&self.policy.mx_host);
        let failure = |failure: &Failure| {
            let texts = [&failure.receiving_mx_hostname, &failure.failure_reason_code];
            200 + texts.into_iter().flatten().map(String::len).sum::<usize>()
        };
        let failures = self.failures.iter().map(|(one, _)| failure(one));
        200 + self.domain.len() + lines.map(String::len).sum::<usize>() + failures.sum::<usize>()
    }
}

impl Tally {
    /// `count` under this kind, of which `new` are not in the sum yet.
    fn fail(&mut self, failure: Failure, count: u64, new: u64) {
        self.failed = self.failed.saturating_add(new);
        let failure = failure.bounded();
        if self.failures.len() < FAILURES || self.failures.contains_key(&failure) {
            let known = self.failures.entry(failure).or_default();
            *known = known.saturating_add(count);
        }
    }
}

impl Policy {
    /// None was found for a domain.
    pub(crate) fn none(domain: &str) -> Self {
        Self {
            policy_type: PolicyType::NoPolicyFound,
            policy_string: Vec::new(),
            policy_domain: domain.to_owned(),
            mx_host: Vec::new(),
        }
    }

    fn bounded(&self) -> Self {
        let lines = |lines: &[String]| lines.iter().take(LINES).map(|line| clipped(line)).collect();
        Self {
            policy_type: self.policy_type,
            policy_string: lines(&self.policy_string),
            policy_domain: clipped(&self.policy_domain),
            mx_host: lines(&self.mx_host),
        }
    }
}

impl Failure {
    /// One of which nothing more is known.
    pub(crate) const fn of(result_type: ResultType) -> Self {
        Self {
            result_type,
            sending_mta_ip: None,
            receiving_mx_hostname: None,
            receiving_ip: None,
            failure_reason_code: None,
        }
    }

    fn bounded(self) -> Self {
        let clip = |text: Option<String>| text.map(|text| clipped(&text));
        Self {
            receiving_mx_hostname: clip(self.receiving_mx_hostname),
            failure_reason_code: clip(self.failure_reason_code),
            ..self
        }
    }
}

fn clipped(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
