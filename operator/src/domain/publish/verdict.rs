//! `RecordsPublished`. Pure.

use operator_api::SendingDomain;
use operator_api::conditions::{RECORDS_PUBLISHED, reason};

use super::server::Fault;
use super::{Outcome, Published, setting};
use crate::conditions::Verdict;

/// The condition; none where nothing is to be published.
pub(in crate::domain) fn verdict(domain: &SendingDomain, published: &Published) -> Option<Verdict> {
    setting(domain)?;
    let no = |reason, message: String| Verdict::no(RECORDS_PUBLISHED, reason, message);
    let field = "spec.dns.publish.rfc2136";
    Some(match &published.outcome {
        None => no(
            reason::PENDING,
            "waits until the domain is Accepted and has keys, or for name servers of other domains"
                .to_owned(),
        ),
        Some(Outcome::Done) => Verdict::yes(
            RECORDS_PUBLISHED,
            reason::RECORDS_PUBLISHED,
            "the zone's primary name server has the records",
        ),
        Some(Outcome::Foreign(what)) => no(reason::FOREIGN_RECORD, what.clone()),
        Some(Outcome::NoSecret(name)) => no(
            reason::SECRET_NOT_FOUND,
            format!("{field}.tsigSecretRef: there is no Secret {name}; create it"),
        ),
        Some(Outcome::NoKey(what)) => no(
            reason::TSIG_KEY_INVALID,
            format!("{field}.tsigSecretRef: {what}"),
        ),
        Some(Outcome::Failed(fault)) => {
            let reason = match fault {
                Fault::Unreachable(_) => reason::SERVER_UNREACHABLE,
                Fault::Key(_) => reason::TSIG_KEY_INVALID,
                Fault::Refused(_) => reason::UPDATE_REFUSED,
            };
            no(reason, format!("{field}: {fault}"))
        }
        Some(Outcome::Handed { name, observed }) => Verdict::yes(
            RECORDS_PUBLISHED,
            reason::RECORDS_PUBLISHED,
            if *observed {
                format!("external-dns has seen DNSEndpoint {name}")
            } else {
                format!(
                    "the records are in DNSEndpoint {name}, which external-dns has not looked at; it needs --source=crd"
                )
            },
        ),
        Some(Outcome::Unavailable(why)) => no(reason::EXTERNAL_DNS_UNAVAILABLE, why.clone()),
    })
}
