//! The SPF record to publish: what stands there, with what is missing (RFC 7208).
//!
//! What is added comes first: addresses cost receivers no lookup and match before any limit is reached, and
//! what else stands in the record means what it meant.

use std::net::IpAddr;

use super::parse::{self, is_all, is_spf, terms};

/// One record out of those that `texts` holds, which lets `addresses` send and includes `includes`.
/// Terms that no receiver can read are left out. Without a record, others than the relay are `~all`:
/// nobody here knows who else sends.
pub(in crate::domain) fn record_with(
    texts: &[String],
    addresses: &[IpAddr],
    includes: &[&str],
) -> String {
    let own = addresses
        .iter()
        .map(|address| match address.to_canonical() {
            IpAddr::V4(address) => format!("ip4:{address}"),
            IpAddr::V6(address) => format!("ip6:{address}"),
        });
    let included = includes.iter().map(|domain| format!("include:{domain}"));
    let mut joined: Vec<String> = own.chain(included).collect();
    let mut last = None;
    let mut found = false;
    for text in texts.iter().filter(|text| is_spf(text)) {
        found = true;
        let valid: Vec<&str> = terms(text).filter(|term| parse::is_valid(term)).collect();
        // What comes after `all` means nothing, and a redirect beside it neither.
        let all = valid.iter().position(|term| is_all(term));
        let (before, end) = match all {
            Some(at) => (&valid[..at], Some(valid[at])),
            None => (&valid[..], None),
        };
        let (redirects, before): (Vec<&str>, Vec<&str>) =
            before.iter().copied().partition(|term| is_redirect(term));
        // Of several records, the first says how the rest is treated.
        last = last.or(end.or(redirects.first().copied()));
        for term in before {
            if !joined.iter().any(|one| one.eq_ignore_ascii_case(term)) {
                joined.push(term.to_owned());
            }
        }
    }
    if !found {
        last = Some("~all");
    }
    let terms = joined.iter().map(String::as_str).chain(last);
    let terms: Vec<&str> = std::iter::once("v=spf1").chain(terms).collect();
    terms.join(" ")
}

fn is_redirect(term: &str) -> bool {
    let name = term.get(..9);
    name.is_some_and(|name| name.eq_ignore_ascii_case("redirect="))
}
