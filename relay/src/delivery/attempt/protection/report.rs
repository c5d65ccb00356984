//! What a session is held against in the report to its domain (RFC 8460 section 4.2). Pure.

use std::sync::Arc;

use crate::delivery::dane::Dane;
use crate::delivery::policy::{Candidate, Refusal};
use crate::delivery::sts;
use crate::tls_reports::{Basis, Failure, Policy, PolicyType, ResultType};

/// `unavailable`: why the MTA-STS policy of the domain cannot be had.
pub(super) fn basis(
    domain: &Arc<str>,
    host: &str,
    dane: &Dane,
    policy: Option<&sts::Policy>,
    unavailable: Option<ResultType>,
) -> Basis {
    let tlsa = |base: &str, records| Policy {
        policy_type: PolicyType::Tlsa,
        policy_string: records,
        policy_domain: base.to_owned(),
        mx_host: vec![host.to_owned()],
    };
    let sts = |policy_string, mx_host| Policy {
        policy_type: PolicyType::Sts,
        policy_string,
        policy_domain: domain.to_string(),
        mx_host,
    };
    let (policy, fault) = match (dane, policy) {
        (Dane::Records(records), _) => {
            let base = records.server_name().map_or(host, |base| &**base);
            (tlsa(base, records.texts()), None)
        }
        (Dane::Failed(_), _) => (tlsa(host, Vec::new()), None),
        (_, Some(policy)) if policy.mode != sts::Mode::None => {
            let (lines, patterns) = (policy.lines().to_vec(), policy.patterns().to_vec());
            (sts(lines, patterns), None)
        }
        (Dane::Unusable, _) => (tlsa(host, Vec::new()), Some(ResultType::TlsaInvalid)),
        (Dane::None, None) if unavailable.is_some() => (sts(Vec::new(), Vec::new()), unavailable),
        (Dane::None, _) => (Policy::none(domain), None),
    };
    Basis {
        domain: Arc::clone(domain),
        policy,
        fault,
    }
}

/// A host that was not used for what its policy says.
pub(super) fn of_refusal(refusal: &Refusal, host: &Candidate) -> Failure {
    let kind = match refusal {
        Refusal::DaneUnknown(_) => ResultType::DnssecInvalid,
        Refusal::NotInPolicy => ResultType::ValidationFailure,
    };
    Failure {
        receiving_mx_hostname: Some(host.name.to_string()),
        failure_reason_code: Some(refusal.to_string()),
        ..Failure::of(kind)
    }
}

#[cfg(test)]
mod tests;
