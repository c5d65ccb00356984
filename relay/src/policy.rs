//! Who may send as whom: one pure decision over the configuration in force.
//!
//! A message goes out only if the domain of its envelope sender and the domains of its header
//! `From` are domains of this relay that list the client's identity. So no client can send in
//! another team's name, and every signature is aligned with `From` (RFC 7489 section 3.1.1).
//!
//! Refuses to know passwords, sockets and headers beyond the addresses in `From`.

use std::collections::HashMap;
use std::sync::Arc;

use relay_smtp::Address;
use relay_smtp::server::Answer;

use crate::snapshot::SendingDomain;

/// Why something is refused: a name for metrics and logs, and the reply, which says what would
/// make it work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// From a small fixed set.
    pub(crate) reason: &'static str,
    /// For the client.
    pub(crate) answer: Answer,
}

/// What a decision is made of.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Who the client proved to be; `None` without a login.
    pub(crate) identity: Option<&'a str>,
    /// Envelope sender; `None` is the null sender of a bounce or automatic reply.
    pub(crate) sender: Option<&'a Address>,
    /// Addresses of the header `From`.
    pub(crate) from: &'a [Address],
}

type Domains = HashMap<String, Arc<SendingDomain>>;

/// Decides over a whole message; the domain is the one whose keys sign it.
pub(crate) fn decide(
    domains: &Domains,
    request: Request<'_>,
) -> Result<Arc<SendingDomain>, Denial> {
    decide_sender(domains, request.identity, request.sender)?;
    let mut signing = None;
    for author in request.from {
        let domain = permitted(domains, request.identity, author, "header From")?;
        signing.get_or_insert(domain);
    }
    signing.map(Arc::clone).ok_or_else(|| Denial {
        reason: "from_missing",
        answer: Answer::fixed(
            554,
            "5.6.0",
            "the message names no author; add a From header with an address of a domain you may use",
        ),
    })
}

/// Decides over the envelope sender alone, as early as it is known. The null sender passes: it
/// stands for no domain, and the header `From` is judged later all the same (case R30).
pub(crate) fn decide_sender(
    domains: &Domains,
    identity: Option<&str>,
    sender: Option<&Address>,
) -> Result<(), Denial> {
    match sender {
        Some(sender) => permitted(domains, identity, sender, "MAIL FROM").map(|_| ()),
        None => Ok(()),
    }
}

fn permitted<'a>(
    domains: &'a Domains,
    identity: Option<&str>,
    address: &Address,
    place: &'static str,
) -> Result<&'a Arc<SendingDomain>, Denial> {
    let name = address.domain();
    let Some(domain) = domains.get(name) else {
        return Err(Denial {
            reason: "domain_unknown",
            answer: Answer::new(
                550,
                "5.7.1",
                format!(
                    "{place}: {name} is not a sending domain of this relay; add it (a SendingDomain, or domains in the configuration file), or send from one that is"
                ),
            ),
        });
    };
    if domain.senders.iter().any(|grant| grants(grant, identity)) {
        return Ok(domain);
    }
    let who = match identity {
        Some(identity) => format!("{identity} may not send as {name}; add {identity:?}"),
        None => format!("clients without a login may not send as {name}; log in, or add \"*\""),
    };
    Err(Denial {
        reason: "domain_not_granted",
        answer: Answer::new(
            550,
            "5.7.1",
            format!("{place}: {who} to the senders of that domain"),
        ),
    })
}

/// Whether a grant, `namespace/name`, `namespace/*` or `*`, holds for an identity. A client without
/// one has only what everybody has.
fn grants(grant: &str, identity: Option<&str>) -> bool {
    if grant == "*" {
        return true;
    }
    let Some(identity) = identity else {
        return false;
    };
    match grant.strip_suffix("/*") {
        Some(namespace) => identity
            .split_once('/')
            .is_some_and(|(of, name)| of == namespace && !name.is_empty()),
        None => grant == identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains() -> Domains {
        [
            ("shop.example", vec!["shop/checkout", "ops/*"]),
            ("news.example", vec!["*"]),
            ("idle.example", vec![]),
        ]
        .into_iter()
        .map(|(name, senders)| {
            let domain = SendingDomain::for_test(name, &senders);
            (name.into(), Arc::new(domain))
        })
        .collect()
    }

    fn verdict(
        identity: Option<&str>,
        sender: Option<&str>,
        from: &[&str],
    ) -> Result<String, (&'static str, String)> {
        let sender = sender.map(|sender| Address::parse(sender).unwrap());
        let from: Vec<_> = from
            .iter()
            .map(|from| Address::parse(from).unwrap())
            .collect();
        let request = Request {
            identity,
            sender: sender.as_ref(),
            from: &from,
        };
        decide(&domains(), request)
            .map(|domain| domain.name.clone())
            .map_err(|denial| (denial.reason, denial.answer.to_string()))
    }

    #[test]
    fn an_identity_sends_as_the_domains_that_list_it() {
        for (identity, sender, from, signing) in [
            (
                Some("shop/checkout"),
                Some("a@shop.example"),
                vec!["b@shop.example"],
                "shop.example",
            ),
            (
                Some("shop/checkout"),
                Some("a@SHOP.example"),
                vec!["b@Shop.Example"],
                "shop.example",
            ),
            (
                Some("ops/cron"),
                Some("a@shop.example"),
                vec!["b@shop.example"],
                "shop.example",
            ),
            (
                Some("ops/cron"),
                Some("a@news.example"),
                vec!["b@shop.example"],
                "shop.example",
            ),
            (
                Some("any/body"),
                Some("a@news.example"),
                vec!["b@news.example"],
                "news.example",
            ),
            (
                None,
                Some("a@news.example"),
                vec!["b@news.example"],
                "news.example",
            ),
            (
                Some("ops/cron"),
                Some("a@shop.example"),
                vec!["b@news.example", "c@shop.example"],
                "news.example",
            ),
        ] {
            assert_eq!(
                verdict(identity, sender, &from).as_deref(),
                Ok(signing),
                "{identity:?}"
            );
        }
    }

    #[test]
    fn whatever_no_grant_covers_is_refused() {
        let not_granted = "domain_not_granted";
        for (identity, sender, from, reason) in [
            (
                Some("shop/refunds"),
                "a@shop.example",
                "b@shop.example",
                not_granted,
            ),
            (
                Some("shop/checkout"),
                "a@shop.example",
                "b@idle.example",
                not_granted,
            ),
            (
                Some("shop/checkout"),
                "a@idle.example",
                "b@shop.example",
                not_granted,
            ),
            (Some("ops"), "a@shop.example", "b@shop.example", not_granted),
            (
                Some("ops/"),
                "a@shop.example",
                "b@shop.example",
                not_granted,
            ),
            (
                Some("devops/cron"),
                "a@shop.example",
                "b@shop.example",
                not_granted,
            ),
            (
                Some("shop/*"),
                "a@shop.example",
                "b@shop.example",
                not_granted,
            ),
            (Some("*"), "a@shop.example", "b@shop.example", not_granted),
            (None, "a@shop.example", "b@shop.example", not_granted),
            (None, "a@news.example", "b@shop.example", not_granted),
            (
                Some("ops/cron"),
                "a@mail.shop.example",
                "b@shop.example",
                "domain_unknown",
            ),
            (
                Some("ops/cron"),
                "a@shop.example",
                "b@[192.0.2.1]",
                "domain_unknown",
            ),
            (
                Some("ops/cron"),
                "a@shop.example",
                "b@evil-shop.example",
                "domain_unknown",
            ),
        ] {
            let (found, reply) = verdict(identity, Some(sender), &[from]).unwrap_err();
            assert_eq!(found, reason, "{identity:?} {sender} {from}");
            assert!(reply.starts_with("550 5.7.1 "));
        }
    }

    #[test]
    fn every_author_counts_and_there_must_be_one() {
        let two = ["b@shop.example", "c@bank.example"];
        let (reason, _) = verdict(Some("ops/cron"), Some("a@shop.example"), &two).unwrap_err();
        assert_eq!(reason, "domain_unknown");
        let (reason, reply) = verdict(Some("ops/cron"), Some("a@shop.example"), &[]).unwrap_err();
        assert_eq!((reason, &reply[..9]), ("from_missing", "554 5.6.0"));
    }

    #[test]
    fn r30_the_null_sender_is_judged_by_the_header_alone() {
        assert!(verdict(Some("shop/checkout"), None, &["b@shop.example"]).is_ok());
        assert!(verdict(Some("shop/checkout"), None, &["b@idle.example"]).is_err());
        assert!(verdict(None, None, &["b@shop.example"]).is_err());
    }

    #[test]
    fn a_refusal_says_what_would_make_it_work() {
        let (_, reply) = verdict(Some("shop/refunds"), Some("a@shop.example"), &[]).unwrap_err();
        assert_eq!(
            reply,
            "550 5.7.1 MAIL FROM: shop/refunds may not send as shop.example; add \"shop/refunds\" to \
             the senders of that domain"
        );
        let (_, reply) = verdict(Some("shop/checkout"), None, &["b@bank.example"]).unwrap_err();
        assert!(reply.contains("header From: bank.example is not a sending domain of this relay"));
    }
}
