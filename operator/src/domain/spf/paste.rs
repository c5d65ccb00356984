//! The SPF record to publish: what stands there, with what is missing (RFC 7208).
//!
//! What is added comes first: addresses cost receivers no lookup and match before any limit is reached, and
//! what else stands in the record means what it meant.

use std::net::IpAddr;

use super::parse::{self, is_all, is_spf, modifier};

/// One record out of those that `texts` holds, which lets `addresses` send and includes `includes`.
/// Terms that no receiver can read are left out; other space than a blank parts terms, too, since their
/// author meant it so. Without a record, others than the relay are `~all`:
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
    let mut explanation = None;
    let mut others: Vec<&str> = Vec::new();
    let mut found = false;
    for text in texts.iter().filter(|text| is_spf(text)) {
        found = true;
        let valid = text
            .split(char::is_whitespace)
            .skip(1)
            .filter(|term| parse::is_valid(term));
        // Modifiers count wherever they stand (section 6).
        let (modifiers, mechanisms): (Vec<&str>, Vec<&str>) =
            valid.partition(|term| modifier(term).is_some());
        let named = |name: &str| {
            let is_it = |term: &&&str| {
                modifier(term).is_some_and(|(one, _)| one.eq_ignore_ascii_case(name))
            };
            modifiers.iter().find(is_it).copied()
        };
        // What comes after `all` means nothing, and a redirect beside it neither.
        let all = mechanisms.iter().position(|term| is_all(term));
        let before = &mechanisms[..all.unwrap_or(mechanisms.len())];
        // Of several records, the first says how the rest is treated.
        last = last.or(all.map(|at| mechanisms[at]).or_else(|| named("redirect")));
        for term in before {
            if !joined.iter().any(|one| one.eq_ignore_ascii_case(term)) {
                joined.push((*term).to_owned());
            }
        }
        // Two explanations are an error.
        explanation = explanation.or_else(|| named("exp"));
        let unknown = modifiers.iter().filter(|term| !is_known(term));
        for term in unknown {
            if !others.contains(term) {
                others.push(term);
            }
        }
    }
    if !found {
        last = Some("~all");
    }
    let terms = joined.iter().map(String::as_str).chain(last);
    let terms = terms.chain(explanation).chain(others);
    let terms: Vec<&str> = std::iter::once("v=spf1").chain(terms).collect();
    terms.join(" ")
}

/// Whether a term is a modifier that may stand only once.
fn is_known(term: &str) -> bool {
    let is_one = |name: &str| {
        ["redirect", "exp"]
            .iter()
            .any(|one| name.eq_ignore_ascii_case(one))
    };
    modifier(term).is_some_and(|(name, _)| is_one(name))
}
