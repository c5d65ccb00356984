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
    /// Address of the header `Sender`.
    pub(crate) author: Option<&'a Address>,
    /// Addresses of `Resent-From` and `Resent-Sender`.
    pub(crate) resent: &'a [Address],
}

/// A message that may go out.
#[derive(Clone)]
pub(crate) struct Permit {
    /// The domain whose keys sign it.
    pub(crate) domain: Arc<SendingDomain>,
    /// What must take the place of the header `From`, with the original in `Reply-To` if there is
    /// none; `None`: nothing.
    pub(crate) rewrite_from: Option<Address>,
}

type Domains = HashMap<String, Arc<SendingDomain>>;

/// Decides over a whole message.
///
/// Every address of `From`, `Sender` and the `Resent-` fields counts, since any of them may be what
/// a reader is shown. Where the domain of the envelope sender has an address to write
/// in place of a `From` or `Sender` that is not granted, the message passes with that; the envelope sender
/// itself must be granted in any case.
pub(crate) fn decide(domains: &Domains, request: Request<'_>) -> Result<Permit, Denial> {
    decide_sender(domains, request.identity, request.sender)?;
    for address in request.resent {
        permitted(domains, request.identity, address, "header Resent-From")?;
    }
    match decide_authors(domains, request) {
        Ok(domain) => Ok(Permit {
            domain: Arc::clone(domain),
            rewrite_from: None,
        }),
        Err(denial) => rewritten(domains, request).ok_or(denial),
    }
}

fn decide_authors<'a>(
    domains: &'a Domains,
    request: Request<'_>,
) -> Result<&'a Arc<SendingDomain>, Denial> {
    let mut signing = None;
    for author in request.from {
        let domain = permitted(domains, request.identity, author, "header From")?;
        signing.get_or_insert(domain);
    }
    if let Some(author) = request.author {
        permitted(domains, request.identity, author, "header Sender")?;
    }
    signing.ok_or_else(|| Denial {
        reason: "from_missing",
        answer: Answer::fixed(
            554,
            "5.6.0",
            "the message names no author; add a From header with an address of a domain you may use",
        ),
    })
}

fn rewritten(domains: &Domains, request: Request<'_>) -> Option<Permit> {
    let domain = domains.get(request.sender?.domain())?;
    let address = domain.rewrite_from.as_ref()?;
    // A grant for some local parts is none for another.
    permitted(domains, request.identity, address, "header From").ok()?;
    Some(Permit {
        domain: Arc::clone(domain),
        rewrite_from: Some(address.clone()),
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
    let mut named = domain
        .senders
        .iter()
        .filter(|grant| grant.names(identity))
        .peekable();
    let is_named = named.peek().is_some();
    if named.any(|grant| grant.covers(address.local_part())) {
        return Ok(domain);
    }
    let (reason, text) = match identity {
        _ if is_named => (
            "local_part_not_granted",
            format!(
                "the grant for {name} does not hold for {}; use a local part that it names, or add this one",
                address.as_str()
            ),
        ),
        Some(identity) => (
            "domain_not_granted",
            format!(
                "{identity} may not send as {name}; add {identity:?} to the senders of that domain"
            ),
        ),
        None => (
            "domain_not_granted",
            format!(
                "clients without a login may not send as {name}; log in, or add \"*\" to the senders of that domain"
            ),
        ),
    };
    Err(Denial {
        reason,
        answer: Answer::new(550, "5.7.1", format!("{place}: {text}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains() -> Domains {
        [
            (
                "shop.example",
                vec!["credential:shop/checkout", "credential:ops/*"],
            ),
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
            author: None,
            resent: &[],
        };
        decide(&domains(), request)
            .map(|permit| permit.domain.name.clone())
            .map_err(|denial| (denial.reason, denial.answer.to_string()))
    }

    #[test]
    fn an_identity_sends_as_the_domains_that_list_it() {
        for (identity, sender, from, signing) in [
            (
                Some("credential:shop/checkout"),
                Some("a@shop.example"),
                vec!["b@shop.example"],
                "shop.example",
            ),
            (
                Some("credential:shop/checkout"),
                Some("a@SHOP.example"),
                vec!["b@Shop.Example"],
                "shop.example",
            ),
            (
                Some("credential:ops/cron"),
                Some("a@shop.example"),
                vec!["b@shop.example"],
                "shop.example",
            ),
            (
                Some("credential:ops/cron"),
                Some("a@news.example"),
                vec!["b@shop.example"],
                "shop.example",
            ),
            (
                Some("sa:any/body"),
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
                Some("credential:ops/cron"),
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
                Some("credential:shop/refunds"),
                "a@shop.example",
                "b@shop.example",
                not_granted,
            ),
            (
                Some("credential:shop/checkout"),
                "a@shop.example",
                "b@idle.example",
                not_granted,
            ),
            (
                Some("credential:shop/checkout"),
                "a@idle.example",
                "b@shop.example",
                not_granted,
            ),
            (
                Some("credential:ops"),
                "a@shop.example",
                "b@shop.example",
                not_granted,
            ),
            (
                Some("credential:ops/"),
                "a@shop.example",
                "b@shop.example",
                not_granted,
            ),
            (
                Some("credential:devops/cron"),
                "a@shop.example",
                "b@shop.example",
                not_granted,
            ),
            // A ServiceAccount of the same name is somebody else.
            (
                Some("sa:shop/checkout"),
                "a@shop.example",
                "b@shop.example",
                not_granted,
            ),
            (
                Some("credential:shop/*"),
                "a@shop.example",
                "b@shop.example",
                not_granted,
            ),
            (Some("*"), "a@shop.example", "b@shop.example", not_granted),
            (None, "a@shop.example", "b@shop.example", not_granted),
            (None, "a@news.example", "b@shop.example", not_granted),
            (
                Some("credential:ops/cron"),
                "a@mail.shop.example",
                "b@shop.example",
                "domain_unknown",
            ),
            (
                Some("credential:ops/cron"),
                "a@shop.example",
                "b@[192.0.2.1]",
                "domain_unknown",
            ),
            (
                Some("credential:ops/cron"),
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
        let (reason, _) =
            verdict(Some("credential:ops/cron"), Some("a@shop.example"), &two).unwrap_err();
        assert_eq!(reason, "domain_unknown");
        let (reason, reply) =
            verdict(Some("credential:ops/cron"), Some("a@shop.example"), &[]).unwrap_err();
        assert_eq!((reason, &reply[..9]), ("from_missing", "554 5.6.0"));
    }

    #[test]
    fn r30_the_null_sender_is_judged_by_the_header_alone() {
        assert!(verdict(Some("credential:shop/checkout"), None, &["b@shop.example"]).is_ok());
        assert!(verdict(Some("credential:shop/checkout"), None, &["b@idle.example"]).is_err());
        assert!(verdict(None, None, &["b@shop.example"]).is_err());
    }

    #[test]
    fn a_refusal_says_what_would_make_it_work() {
        let (_, reply) =
            verdict(Some("credential:shop/refunds"), Some("a@shop.example"), &[]).unwrap_err();
        assert_eq!(
            reply,
            "550 5.7.1 MAIL FROM: credential:shop/refunds may not send as shop.example; add \
             \"credential:shop/refunds\" to the senders of that domain"
        );
        let (_, reply) =
            verdict(Some("credential:shop/checkout"), None, &["b@bank.example"]).unwrap_err();
        assert!(reply.contains("header From: bank.example is not a sending domain of this relay"));
    }

    #[test]
    fn a_grant_for_local_parts_holds_for_them_alone() {
        let mut domain = SendingDomain::for_test("shop.example", &["credential:ops/*"]);
        domain.senders.push(relay_config::Grant {
            identity: "sa:shop/checkout".into(),
            local_parts: vec!["orders".into()],
        });
        let domains: Domains = [("shop.example".into(), Arc::new(domain))].into();
        let verdict = |identity, sender: &str| {
            let sender = Address::parse(sender).unwrap();
            decide_sender(&domains, Some(identity), Some(&sender)).map_err(|denial| denial.reason)
        };
        assert_eq!(verdict("sa:shop/checkout", "Orders@shop.example"), Ok(()));
        assert_eq!(verdict("credential:ops/cron", "any@shop.example"), Ok(()));
        assert_eq!(
            verdict("sa:shop/checkout", "ceo@shop.example"),
            Err("local_part_not_granted")
        );
        assert_eq!(
            verdict("sa:shop/refunds", "orders@shop.example"),
            Err("domain_not_granted")
        );
    }

    #[test]
    fn an_author_who_is_not_granted_is_replaced_only_where_the_domain_says_so() {
        let mut domain = SendingDomain::for_test("shop.example", &["sa:shop/*"]);
        domain.rewrite_from = Some(Address::parse("noreply@shop.example").unwrap());
        let mut domains = domains();
        domains.insert("shop.example".into(), Arc::new(domain));
        let verdict = |identity, sender: Option<&str>, from: &str| {
            let sender = sender.map(|sender| Address::parse(sender).unwrap());
            let from = [Address::parse(from).unwrap()];
            let request = Request {
                identity: Some(identity),
                sender: sender.as_ref(),
                from: &from,
                author: None,
                resent: &[],
            };
            let permit = decide(&domains, request).map_err(|denial| denial.reason)?;
            Ok(permit.rewrite_from.map(|address| address.to_string()))
        };
        let shop = "sa:shop/checkout";
        let sender = Some("a@shop.example");
        assert_eq!(verdict(shop, sender, "a@shop.example"), Ok(None));
        assert_eq!(
            verdict(shop, sender, "root@localhost.example"),
            Ok(Some("noreply@shop.example".into()))
        );
        assert_eq!(
            verdict(shop, Some("a@news.example"), "a@bank.example"),
            Err("domain_unknown")
        );
        assert_eq!(verdict(shop, None, "a@bank.example"), Err("domain_unknown"));
        assert_eq!(
            verdict("sa:ops/cron", sender, "a@shop.example"),
            Err("domain_not_granted")
        );
    }

    #[test]
    fn who_sends_and_who_sends_again_must_be_granted_too() {
        let address = |text: &str| Address::parse(text).unwrap();
        let (ours, theirs) = (address("a@shop.example"), address("b@bank.example"));
        let verdict = |author: &Address, resent: &Address| {
            let request = Request {
                identity: Some("credential:shop/checkout"),
                sender: Some(&ours),
                from: std::slice::from_ref(&ours),
                author: Some(author),
                resent: std::slice::from_ref(resent),
            };
            decide(&domains(), request)
                .map(|_| ())
                .map_err(|denial| denial.answer.to_string())
        };
        assert_eq!(verdict(&ours, &ours), Ok(()));
        let refused = verdict(&theirs, &ours).unwrap_err();
        assert!(refused.contains("header Sender: bank.example"), "{refused}");
        let refused = verdict(&ours, &theirs).unwrap_err();
        assert!(
            refused.contains("header Resent-From: bank.example"),
            "{refused}"
        );
    }
}
