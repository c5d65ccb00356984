//! The records of a bounce domain, and what DNS must show of them. Pure.
//!
//! Its MX leads to the relay by the relay's public name, and its SPF record says what that of the sending
//! domain says. Both are judged by what they do: a second MX host or an SPF record of the owner's own is
//! no fault.

use operator_api::{
    DnsRecordPurpose, DnsRecordRequirement, DnsRecordState, SendingDomain, SmtpRelay,
};

use super::records::{Answer, Finding, Kind, Question, WantedRecord};
use super::spf::{self, Answers};

/// Preference of the MX record.
const PREFERENCE: u16 = 10;

/// The bounce domain, if the relay takes its mail.
fn bounce_domain(domain: &SendingDomain) -> Option<&str> {
    domain.spec.bounces.as_ref()?.domain.as_deref()
}

/// The records to publish. There is no MX record as long as nobody knows the relay's public name, and no
/// SPF record of its own where the bounce domain is the sending domain.
pub(super) fn wanted(domain: &SendingDomain, relay: Option<&SmtpRelay>) -> Vec<WantedRecord> {
    let Some(bounces) = bounce_domain(domain) else {
        return Vec::new();
    };
    let record = |kind, purpose, value| WantedRecord {
        question: Question {
            name: bounces.to_owned(),
            kind,
        },
        value,
        purpose,
        requirement: DnsRecordRequirement::Required,
    };
    let host = relay.and_then(|relay| relay.spec.hostname.as_deref());
    let mx = host.map(|host| {
        let value = format!("{PREFERENCE} {host}");
        record(Kind::Mx, DnsRecordPurpose::ReturnPathMx, value)
    });
    let spf = (bounces != domain.spec.domain).then(|| {
        // As the sending domain's, whatever that is and becomes (RFC 7208 section 6.1).
        let value = format!("v=spf1 redirect={}", domain.spec.domain);
        record(Kind::Txt, DnsRecordPurpose::ReturnPathSpf, value)
    });
    mx.into_iter().chain(spf).collect()
}

/// Why records are as they should be, and yet bounces do not come or return paths are no good: what the relay
/// lacks. `answers` is what is known of DNS.
pub(super) fn obstacle(
    domain: &SendingDomain,
    relay: Option<&SmtpRelay>,
    answers: &Answers,
) -> Option<String> {
    let bounces = bounce_domain(domain)?;
    let relay_name = &domain.spec.relay_ref.name;
    if relay?.spec.hostname.is_none() {
        return Some(format!(
            "the MX record of {bounces} has to lead to the relay, whose public name is not known; set \
             spec.hostname of SmtpRelay {relay_name}"
        ));
    }
    // As long as nobody says from where mail leaves, the sending domain may do without an SPF record; but one
    // that leads there is an error then (RFC 7208 sections 5.2 and 6.1).
    let sending = &domain.spec.domain;
    let lacks_record = match answers.get(&Question::new(sending, Kind::Txt))? {
        Answer::None => true,
        Answer::Records(texts) => !texts.iter().any(|text| spf::is_spf(text)),
        Answer::Failed(_) => false,
    };
    let fault = spf::fault(bounces, answers).filter(|_| lacks_record)?;
    Some(format!(
        "the SPF record of {bounces} cannot be evaluated, {fault}; set spec.egress of SmtpRelay {relay_name}, and \
         status.dnsRecords has the SPF record of {sending} to publish"
    ))
}

/// One of the hosts is the relay, whatever its preference.
pub(super) fn judge_mx(records: &[String], expected: &str) -> Finding {
    let host = |record: &str| {
        let host = record.split_whitespace().next_back().unwrap_or_default();
        host.trim_end_matches('.').to_ascii_lowercase()
    };
    if records.iter().any(|record| host(record) == host(expected)) {
        return Finding::verified();
    }
    Finding::fault(
        DnsRecordState::Mismatch,
        "does not lead to the relay; publish the value in status.dnsRecords",
    )
}

/// There is one SPF record (RFC 7208 section 4.5), and it lets somebody send: all that can be said while
/// nobody knows from where the relay's mail leaves.
pub(super) fn judge_spf(texts: &[String]) -> Finding {
    let mut policies = texts.iter().filter(|text| spf::is_spf(text));
    let Some(policy) = policies.next() else {
        return Finding::fault(
            DnsRecordState::Missing,
            "holds no SPF record; publish the value in status.dnsRecords",
        );
    };
    if policies.next().is_some() {
        return Finding::fault(
            DnsRecordState::Conflict,
            "holds several SPF records, which is an error to receivers; leave one",
        );
    }
    let mut terms = policy.split_whitespace().skip(1);
    // `all` lets somebody send unless it is for refusing, and so does every other mechanism.
    let lets = |term: &str| !term.starts_with(['-', '~', '?']) && !term.starts_with("exp=");
    if terms.any(lets) {
        return Finding::verified();
    }
    Finding::fault(
        DnsRecordState::Mismatch,
        "lets nobody send with return paths there; publish the value in status.dnsRecords",
    )
}

#[cfg(test)]
mod tests;
