use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use operator_api::DnsRecordRequirement;
use operator_api::conditions::DNS_VERIFIED;

use crate::domain::dns::Check;
use crate::domain::keys;
use crate::domain::records::{Kind, Question};
use crate::domain::{keyring, records};
use crate::render::Violation;
use crate::render::fixtures::{domain, namespaces, open, relay};

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_795_564_800).unwrap()
}

pub(super) fn seen() -> Seen {
    Seen {
        relay: Some(Arc::new(relay(open()))),
        namespaces: namespaces().into(),
        rivals: Vec::new(),
        secret: None,
        own: BTreeMap::new(),
        terminating: false,
        lacks_room: false,
        check: Check::default(),
        spread: BTreeMap::new(),
    }
}

/// A domain with one Ed25519 key that signs, `mail-e1`.
pub(super) fn applied() -> Applied {
    let plan = keyring::Plan {
        active: ["mail-e1".to_owned()].into(),
        ..keyring::Plan::default()
    };
    let key = keys::parse(KEY.as_bytes()).unwrap();
    let made = BTreeMap::from([("mail-e1".to_owned(), key)]);
    Applied {
        data: Some(keyring::apply(&BTreeMap::new(), &plan, &made, now())),
        made: Vec::new(),
        switched: Vec::new(),
    }
}

/// RFC 8410 section 10.3, an example key.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";

pub(super) fn judged() -> Judged {
    Judged {
        accepted: Ok(()),
        keys: Ok(keyring::Plan::default()),
    }
}

fn txt(name: &str) -> Question {
    ask(Kind::Txt, name)
}

fn ask(kind: Kind, name: &str) -> Question {
    Question {
        name: name.to_owned(),
        kind,
    }
}

fn published() -> Check {
    let key = keys::parse(KEY.as_bytes()).unwrap();
    let answer = Answer::Records(vec![records::value(&key)]);
    Check {
        answers: BTreeMap::from([(txt("mail-e1._domainkey.shop.example"), answer)]),
        again: None,
    }
}

/// `type=status/reason` of each condition.
fn shown(seen: &Seen, judged: &Judged, applied: &Applied, programmed: bool) -> Vec<String> {
    let domain = domain("shop", "web", 1, "shop.example");
    let (status, _) = build(&domain, seen, judged, applied, programmed, now());
    let text = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        assert_eq!(condition.observed_generation, Some(3));
        format!(
            "{}={}/{}",
            condition.type_, condition.status, condition.reason
        )
    };
    status.conditions.iter().map(text).collect()
}

#[test]
fn a_domain_is_ready_when_all_is_in_place() {
    let seen = Seen {
        check: published(),
        ..seen()
    };
    assert_eq!(
        shown(&seen, &judged(), &applied(), true),
        [
            "Accepted=True/Accepted",
            "KeysReady=True/KeysReady",
            "DnsVerified=True/RecordsVerified",
            "Programmed=True/Programmed",
            "Ready=True/Ready",
        ]
    );
}

#[test]
fn ready_follows_the_first_condition_that_does_not_hold() {
    let nothing = || Applied {
        data: None,
        made: Vec::new(),
        switched: Vec::new(),
    };
    let refused = |reason| Judged {
        accepted: Err(Violation::new(reason, "x")),
        keys: Err(Violation::new("KeysPending", "x")),
    };
    let failed = Check {
        answers: BTreeMap::from([(
            txt("mail-e1._domainkey.shop.example"),
            Answer::Failed("no name server can be reached".into()),
        )]),
        again: None,
    };
    let rows = [
        (
            seen(),
            refused("RelayNotFound"),
            nothing(),
            false,
            "Ready=False/RelayNotFound",
        ),
        (
            seen(),
            judged(),
            nothing(),
            false,
            "Ready=False/KeysPending",
        ),
        (
            Seen {
                check: failed,
                ..seen()
            },
            judged(),
            applied(),
            true,
            "Ready=Unknown/LookupFailed",
        ),
        (
            Seen {
                check: published(),
                ..seen()
            },
            judged(),
            applied(),
            false,
            "Ready=False/Pending",
        ),
    ];
    for (seen, judged, applied, programmed, expected) in rows {
        assert_eq!(
            shown(&seen, &judged, &applied, programmed).last().unwrap(),
            expected
        );
    }
}

#[test]
fn a_damaged_key_is_named_with_what_to_do() {
    let mut applied = applied();
    applied
        .data
        .as_mut()
        .unwrap()
        .insert("mail-e1.pem".into(), b"hunter2".to_vec());
    let domain = domain("shop", "web", 1, "shop.example");
    let (status, _) = build(&domain, &seen(), &judged(), &applied, false, now());
    let ready = conditions::find(&status.conditions, "KeysReady").unwrap();
    assert_eq!(ready.reason, "KeysInvalid");
    assert!(
        ready
            .message
            .starts_with("entry mail-e1.pem of Secret web-dkim is no private key in PEM")
    );
    assert!(!ready.message.contains("hunter2"));
    assert_eq!(status.keys[0].selector, "mail-e1");
}

#[test]
fn o15_the_same_observations_give_the_same_status() {
    let mut domain = domain("shop", "web", 1, "shop.example");
    let seen = Seen {
        check: published(),
        ..seen()
    };
    let (first, _) = build(&domain, &seen, &judged(), &applied(), true, now());
    domain.status = Some(first.clone());
    let later = now() + jiff::SignedDuration::from_hours(5);
    let (second, verdicts) = build(&domain, &seen, &judged(), &applied(), true, later);
    assert_eq!(second, first);
    assert_eq!(
        conditions::transitions(&first.conditions, &verdicts).count(),
        0
    );
    // Neither does a lookup that failed.
    let failed = Answer::Failed("the name servers did not answer in time".into());
    let outage = Seen {
        check: Check {
            answers: BTreeMap::from([(txt("mail-e1._domainkey.shop.example"), failed)]),
            again: None,
        },
        ..self::seen()
    };
    assert_eq!(
        build(&domain, &outage, &judged(), &applied(), true, later).0,
        first
    );
}

#[test]
fn the_status_reads_like_a_page_to_copy_from() {
    let domain = domain("shop", "web", 1, "shop.example");
    let (status, _) = build(&domain, &seen(), &judged(), &applied(), false, now());
    insta::assert_yaml_snapshot!(status);
}

/// What `DnsVerified` says of a domain with a bounce domain, and the records with their states.
fn bounce_records(hostname: Option<&str>, answers: &[(Kind, Answer)]) -> (String, Vec<String>) {
    let mut domain = domain("shop", "web", 1, "shop.example");
    let bounces = serde_json::json!({"domain": "bounces.shop.example"});
    domain.spec.bounces = serde_json::from_value(bounces).unwrap();
    let mut relay = relay(open());
    relay.spec.hostname = hostname.map(str::to_owned);
    let mut check = published();
    let asked = answers.iter().cloned();
    check
        .answers
        .extend(asked.map(|(kind, answer)| (ask(kind, "bounces.shop.example"), answer)));
    let seen = Seen {
        relay: Some(Arc::new(relay)),
        check,
        ..seen()
    };
    let (status, _) = build(&domain, &seen, &judged(), &applied(), true, now());
    let condition = conditions::find(&status.conditions, "DnsVerified").unwrap();
    let required = DnsRecordRequirement::Required;
    let records = status.dns_records.iter().skip(1);
    let records = records.filter(|record| record.requirement == required);
    let records = records.map(|record| {
        format!(
            "{} {} {} {:?}",
            record.name, record.r#type, record.value, record.state
        )
    });
    let text = format!("{} {}", condition.reason, condition.message);
    (text, records.collect())
}

#[test]
fn a_bounce_domain_has_its_way_to_the_relay_and_its_spf_record_to_publish() {
    let host = Some("mx.shop.example");
    let mx = "bounces.shop.example MX 10 mx.shop.example";
    let spf = "bounces.shop.example TXT v=spf1 redirect=shop.example";
    let good = |text: &str| Answer::Records(vec![text.into()]);
    let (text, records) = bounce_records(
        host,
        &[
            (Kind::Mx, good("20 MX.shop.example.")),
            (Kind::Txt, good("v=spf1 redirect=shop.example")),
        ],
    );
    assert_eq!(
        text,
        "RecordsVerified all records are published; SPF is not checked, since spec.egress of SmtpRelay outbox does \
         not say from where mail leaves"
    );
    assert_eq!(
        records,
        [format!("{mx} Verified"), format!("{spf} Verified")]
    );
    let (text, records) =
        bounce_records(host, &[(Kind::Mx, Answer::None), (Kind::Txt, Answer::None)]);
    assert_eq!(
        text,
        "RecordsMissing publish MX bounces.shop.example and TXT bounces.shop.example with the values in \
         status.dnsRecords"
    );
    assert_eq!(records, [format!("{mx} Missing"), format!("{spf} Missing")]);
    let (text, records) = bounce_records(
        host,
        &[
            (Kind::Mx, good("10 mx.other.example")),
            (Kind::Txt, good("v=spf1 include:bulk.example -all")),
        ],
    );
    assert_eq!(
        text,
        "RecordsMismatch MX bounces.shop.example does not lead to the relay; publish the value in \
         status.dnsRecords"
    );
    assert_eq!(
        records,
        [format!("{mx} Mismatch"), format!("{spf} Verified")]
    );
}

#[test]
fn a_relay_without_a_public_name_is_told_that_bounces_cannot_find_it() {
    let spf = Answer::Records(vec!["v=spf1 redirect=shop.example".into()]);
    let (text, records) = bounce_records(None, &[(Kind::Txt, spf)]);
    assert!(
        text.starts_with("RecordsMissing the MX record of bounces.shop.example has to lead"),
        "{text}"
    );
    assert!(text.contains("set spec.hostname of SmtpRelay "), "{text}");
    assert_eq!(records.len(), 1);
}

#[test]
fn a_retired_key_need_not_be_in_dns() {
    let mut applied = applied();
    let data = applied.data.as_mut().unwrap();
    data.insert("old-e1.pem".into(), KEY.as_bytes().to_vec());
    data.insert("old-e1.retired".into(), b"2026-11-24T00:00:00Z".to_vec());
    let mut check = published();
    check
        .answers
        .insert(txt("old-e1._domainkey.shop.example"), Answer::None);
    let seen = Seen { check, ..seen() };
    assert_eq!(
        shown(&seen, &judged(), &applied, true)[2],
        "DnsVerified=True/RecordsVerified"
    );
    let domain = domain("shop", "web", 1, "shop.example");
    let (status, _) = build(&domain, &seen, &judged(), &applied, true, now());
    let states: Vec<_> = status
        .keys
        .iter()
        .map(|key| (key.selector.as_str(), key.state))
        .collect();
    assert_eq!(
        states,
        [
            ("mail-e1", KeyState::Active),
            ("old-e1", KeyState::Retiring)
        ]
    );
}

/// A domain with a key that signs and a successor, `mail-e2`.
fn with_successor() -> Applied {
    let plan = keyring::Plan {
        active: ["mail-e1".to_owned()].into(),
        ..keyring::Plan::default()
    };
    let key = keys::parse(KEY.as_bytes()).unwrap();
    let made = ["mail-e1", "mail-e2"].map(|selector| (selector.to_owned(), key.clone()));
    Applied {
        data: Some(keyring::apply(&BTreeMap::new(), &plan, &made.into(), now())),
        made: Vec::new(),
        switched: Vec::new(),
    }
}

#[test]
fn a_successor_without_its_record_harms_nothing_and_is_told() {
    let domain = domain("shop", "web", 5, "shop.example");
    let told = |seen: &Seen| {
        let (_, verdicts) = build(&domain, seen, &judged(), &with_successor(), true, now());
        let dns = verdicts
            .iter()
            .find(|one| one.kind == DNS_VERIFIED)
            .unwrap();
        let ready = verdicts.last().unwrap();
        (dns.status, dns.reason, dns.message.clone(), ready.status)
    };
    let mut seen = Seen {
        check: published(),
        ..seen()
    };
    let next = txt("mail-e2._domainkey.shop.example");
    seen.check.answers.insert(next.clone(), Answer::None);
    let (status, reason, message, ready) = told(&seen);
    assert_eq!(
        (status, reason, ready),
        (Some(true), "RotationPending", Some(true))
    );
    assert!(
        message.starts_with("publish TXT mail-e2._domainkey.shop.example with"),
        "{message}"
    );
    let value = records::value(&keys::parse(KEY.as_bytes()).unwrap());
    seen.check
        .answers
        .insert(next, Answer::Records(vec![value]));
    seen.spread = [("mail-e2".to_owned(), Spread::NotAt("ns1.example".into()))].into();
    assert!(
        told(&seen).2.contains("name server ns1.example"),
        "{}",
        told(&seen).2
    );
    seen.spread = [(
        "mail-e2".to_owned(),
        Spread::Everywhere(jiff::SignedDuration::ZERO),
    )]
    .into();
    assert!(
        told(&seen).2.contains("full time to live"),
        "{}",
        told(&seen).2
    );
    // What is in use goes first.
    seen.check
        .answers
        .insert(txt("mail-e1._domainkey.shop.example"), Answer::None);
    assert_eq!(told(&seen).1, "RecordsMissing");
}

#[test]
fn a_revoked_key_is_shown_with_the_record_that_revokes_it() {
    let mut domain = domain("shop", "web", 5, "shop.example");
    let (status, _) = build(&domain, &seen(), &judged(), &with_successor(), true, now());
    domain.status = Some(status);
    let dkim = serde_json::json!({"revokedSelectors": ["mail-e2"]});
    domain.spec.dkim = serde_json::from_value(dkim).unwrap();
    let mut seen = Seen {
        check: published(),
        ..seen()
    };
    let key = records::value(&keys::parse(KEY.as_bytes()).unwrap());
    let name = txt("mail-e2._domainkey.shop.example");
    for (answer, reason) in [
        (Answer::Records(vec![key]), "RecordsMismatch"),
        (Answer::None, "RecordsMissing"),
        (
            Answer::Records(vec!["v=DKIM1; p=".into()]),
            "RecordsVerified",
        ),
    ] {
        seen.check.answers.insert(name.clone(), answer);
        let (status, verdicts) = build(&domain, &seen, &judged(), &applied(), true, now());
        let dns = verdicts
            .iter()
            .find(|one| one.kind == DNS_VERIFIED)
            .unwrap();
        assert_eq!(dns.reason, reason);
        let states = status
            .keys
            .iter()
            .map(|key| (key.selector.as_str(), key.state));
        let states: Vec<_> = states.collect();
        assert_eq!(
            states,
            [
                ("mail-e1", KeyState::Active),
                ("mail-e2", KeyState::Revoked)
            ]
        );
        assert_eq!(status.dns_records[1].value, "v=DKIM1; p=");
    }
}

#[test]
fn a_return_path_that_leads_to_no_spf_record_is_told_and_what_to_set() {
    let follows = |own: Answer| {
        let answer = Answer::Records(vec!["v=spf1 redirect=shop.example".into()]);
        let answers = [
            (Kind::Mx, Answer::Records(vec!["10 mx.shop.example".into()])),
            (Kind::Txt, answer),
        ];
        let mut domain = domain("shop", "web", 1, "shop.example");
        let bounces = serde_json::json!({"domain": "bounces.shop.example"});
        domain.spec.bounces = serde_json::from_value(bounces).unwrap();
        let mut relay = relay(open());
        relay.spec.hostname = Some("mx.shop.example".into());
        let mut check = published();
        let asked = answers.map(|(kind, answer)| (ask(kind, "bounces.shop.example"), answer));
        check.answers.extend(asked);
        check.answers.insert(txt("shop.example"), own);
        let seen = Seen {
            relay: Some(Arc::new(relay)),
            check,
            ..seen()
        };
        let (status, _) = build(&domain, &seen, &judged(), &applied(), true, now());
        let condition = conditions::find(&status.conditions, "DnsVerified").unwrap();
        format!("{} {}", condition.reason, condition.message)
    };
    for none in [
        Answer::None,
        Answer::Records(vec!["google-site-verification=x".into()]),
    ] {
        assert_eq!(
            follows(none),
            "RecordsMissing the SPF record of bounces.shop.example cannot be evaluated, redirect=shop.example leads \
             to no SPF record; set spec.egress of SmtpRelay outbox, and status.dnsRecords has the SPF record of \
             shop.example to publish"
        );
    }
    let good = Answer::Records(vec!["v=spf1 mx -all".into()]);
    assert!(follows(good).starts_with("RecordsVerified"));
}

#[test]
fn a_failed_lookup_is_told_in_the_words_of_the_record_that_it_was_for() {
    let failed = |cause: &str| Answer::Failed(cause.to_owned());
    let answers = BTreeMap::from([
        (txt("a.example"), failed("the name server answered REFUSED")),
        (
            txt("mail-e1._domainkey.shop.example"),
            failed("no name server can be reached"),
        ),
    ]);
    let seen = Seen {
        check: Check {
            answers,
            again: None,
        },
        ..seen()
    };
    let domain = domain("shop", "web", 1, "shop.example");
    let (status, _) = build(&domain, &seen, &judged(), &applied(), true, now());
    let condition = conditions::find(&status.conditions, "DnsVerified").unwrap();
    assert_eq!(
        condition.message,
        "TXT mail-e1._domainkey.shop.example cannot be looked up: no name server can be reached"
    );
}

#[test]
fn who_gets_reports_stays_in_the_status_through_an_outage() {
    let mut domain = domain("shop", "web", 1, "shop.example");
    let name = "shop.example._report._dmarc.reports.test";
    let mut check = published();
    let dmarc = "v=DMARC1; p=reject; rua=mailto:r@reports.test";
    let records = [("_dmarc.shop.example", dmarc), (name, "v=DMARC1")];
    check.answers.extend(records.map(|(name, text)| {
        let answer = Answer::Records(vec![text.to_owned()]);
        (txt(name), answer)
    }));
    for above in ["_dmarc.example", "_dmarc.reports.test", "_dmarc.test"] {
        check.answers.insert(txt(above), Answer::None);
    }
    let in_order = Seen {
        check: check.clone(),
        ..seen()
    };
    let (first, _) = build(&domain, &in_order, &judged(), &applied(), true, now());
    assert!(first.dns_records.iter().any(|record| record.name == name));
    domain.status = Some(first.clone());
    let failed = Answer::Failed("no answer".into());
    for question in ["_dmarc.shop.example", "_dmarc.reports.test"] {
        let mut check = check.clone();
        check.answers.insert(txt(question), failed.clone());
        let outage = Seen { check, ..seen() };
        let (second, _) = build(&domain, &outage, &judged(), &applied(), true, now());
        assert_eq!(second.dns_records, first.dns_records, "{question}");
    }
}
