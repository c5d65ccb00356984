use operator_api::SmtpRelay;
use serde_json::{Value, json};

use super::*;
use crate::render::fixtures;

fn domain(dns: Value, bounces: Value) -> SendingDomain {
    let mut domain = fixtures::domain("shop", "web", 1, "shop.example");
    domain.spec.dns = serde_json::from_value(dns).unwrap();
    domain.spec.bounces = serde_json::from_value(bounces).unwrap();
    domain
}

fn relay(egress: Value) -> SmtpRelay {
    let mut relay = fixtures::relay(fixtures::open());
    relay.spec.egress = serde_json::from_value(egress).unwrap();
    relay
}

fn zone(records: &[(&str, &str)]) -> Answers {
    let mut answers = Answers::new();
    for (name, text) in records {
        let question = Question::new(name, Kind::Txt);
        match answers
            .entry(question)
            .or_insert(Answer::Records(Vec::new()))
        {
            Answer::Records(texts) => texts.push((*text).to_owned()),
            _ => panic!("{name}"),
        }
    }
    answers
}

/// `name state: message -> value` of each record that is shown.
fn shown(domain: &SendingDomain, relay: &SmtpRelay, zone: &Answers) -> Vec<String> {
    let facts = Facts::new(domain, Some(relay));
    let mut answers = Answers::new();
    loop {
        let wanted = facts.others(&answers);
        let first = wanted.iter().map(|one| one.question.clone());
        let needs: Vec<Question> = first
            .chain(facts.needs(&wanted, &answers))
            .filter(|question| !answers.contains_key(question))
            .collect();
        if needs.is_empty() {
            break;
        }
        for question in needs {
            let answer = zone.get(&question).cloned().unwrap_or(Answer::None);
            answers.insert(question, answer);
        }
        assert!(answers.len() < 200);
    }
    let wanted = facts.others(&answers);
    let lines = wanted
        .iter()
        .filter_map(|wanted| match facts.judge(wanted, &answers) {
            Judgement::Unwanted => None,
            Judgement::Found(finding) => {
                let message = finding.message.unwrap_or_default();
                let value = finding.value.unwrap_or_else(|| wanted.value.clone());
                Some(format!(
                    "{} {:?}: {message} -> {value}",
                    wanted.question.name, finding.state
                ))
            }
            other => Some(format!("{} {other:?}", wanted.question.name)),
        });
    lines.collect()
}

const PUBLISH: &str = "publish the value in status.dnsRecords";

#[test]
fn without_knowing_the_egress_spf_is_told_of_only_when_it_is_wrong_in_itself() {
    let (domain, relay) = (domain(json!(null), json!(null)), relay(json!(null)));
    let dmarc = ("_dmarc.shop.example", "v=DMARC1; p=reject");
    let line = "_dmarc.shop.example Verified:  -> v=DMARC1; p=reject";
    for spf in ["v=spf1 -all", "v=spf1 include:other.example ~all", "no spf"] {
        let zone = zone(&[dmarc, ("shop.example", spf)]);
        assert_eq!(shown(&domain, &relay, &zone), [line], "{spf}");
    }
    let two = zone(&[
        dmarc,
        ("shop.example", "v=spf1 a ~all"),
        ("shop.example", "v=spf1 mx -all"),
    ]);
    assert_eq!(
        shown(&domain, &relay, &two)[0],
        "shop.example Conflict: is there several times, which receivers take for an error; leave one, the \
         value in status.dnsRecords -> v=spf1 a mx ~all"
    );
    let broken = zone(&[dmarc, ("shop.example", "v=spf1 ipv4:192.0.2.1 ~all")]);
    assert!(
        shown(&domain, &relay, &broken)[0]
            .starts_with("shop.example Mismatch: cannot be evaluated")
    );
}

#[test]
fn spf_is_judged_by_whether_it_lets_the_relay_send() {
    let domain = domain(json!(null), json!(null));
    let relay = relay(
        json!({"addresses": ["192.0.2.25", "2001:db8::25"], "spfIncludes": ["amazonses.com"]}),
    );
    let ses = ("amazonses.com", "v=spf1 ip4:198.51.100.0/24 -all");
    let other = (
        "other.example",
        "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:amazonses.com -all",
    );
    let rows = [
        (
            None,
            format!(
                "Missing: is missing; {PUBLISH} -> v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 include:amazonses.com ~all"
            ),
        ),
        (
            Some("v=spf1 include:other.example -all"),
            "Verified:  -> v=spf1 include:other.example -all".to_owned(),
        ),
        (
            Some("v=spf1 ip4:192.0.2.25 include:amazonses.com ~all"),
            format!(
                "Mismatch: does not let 2001:db8::25 send (~); {PUBLISH} -> v=spf1 ip6:2001:db8::25 \
                 ip4:192.0.2.25 include:amazonses.com ~all"
            ),
        ),
        (
            Some("v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 -all"),
            format!(
                "Mismatch: does not include amazonses.com; {PUBLISH} -> v=spf1 include:amazonses.com \
                 ip4:192.0.2.25 ip6:2001:db8::25 -all"
            ),
        ),
        (
            Some("v=spf1 include:nothing.example include:amazonses.com -all"),
            format!(
                "Mismatch: cannot be evaluated, include:nothing.example leads to no SPF record; {PUBLISH} -> \
                 v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 include:nothing.example include:amazonses.com -all"
            ),
        ),
    ];
    for (spf, expected) in rows {
        let spf = spf.map(|text| ("shop.example", text));
        let records: Vec<_> = [ses, other].into_iter().chain(spf).collect();
        let lines = shown(&domain, &relay, &zone(&records));
        assert_eq!(lines[0], format!("shop.example {expected}"));
    }
}

#[test]
fn an_outage_leaves_a_record_unknown() {
    let domain = domain(json!(null), json!(null));
    let relay = relay(json!({"addresses": ["192.0.2.25"]}));
    let mut answers = zone(&[("shop.example", "v=spf1 include:other.example -all")]);
    let failed = Answer::Failed("the name server answered Server Failure".into());
    for name in ["other.example", "_dmarc.shop.example"] {
        answers.insert(Question::new(name, Kind::Txt), failed.clone());
    }
    let lines = shown(&domain, &relay, &answers);
    assert_eq!(
        lines,
        ["shop.example Unknown", "_dmarc.shop.example Unknown"]
    );
}

#[test]
fn dmarc_is_at_least_as_strict_as_asked_and_may_come_from_above() {
    let relay = relay(json!(null));
    let of = |dns: Value, bounces: Value, records: &[(&str, &str)]| {
        shown(&domain(dns, bounces), &relay, &zone(records)).remove(0)
    };
    let line = |rest: &str| format!("_dmarc.shop.example {rest}");
    let own = "_dmarc.shop.example";
    assert_eq!(
        of(json!(null), json!(null), &[]),
        line(&format!(
            "Missing: is missing; {PUBLISH} -> v=DMARC1; p=none"
        ))
    );
    assert_eq!(
        of(
            json!(null),
            json!(null),
            &[("_dmarc.example", "v=DMARC1; p=reject")]
        ),
        line("Verified: is not needed: that of example applies, with p=reject -> v=DMARC1; p=none")
    );
    let asked = json!({"dmarc": {"policy": "Quarantine", "reports": ["d@shop.example"]}});
    assert_eq!(
        of(
            asked.clone(),
            json!(null),
            &[(own, "v=DMARC1; p=none; adkim=s")]
        ),
        line(&format!(
            "Mismatch: says p=none, and spec.dns.dmarc.policy asks for quarantine; {PUBLISH} -> v=DMARC1; \
             p=quarantine; rua=mailto:d@shop.example; adkim=s"
        ))
    );
    assert_eq!(
        of(
            asked,
            json!(null),
            &[(own, "v=DMARC1; p=reject; rua=mailto:d@shop.example")]
        ),
        line("Verified:  -> v=DMARC1; p=reject; rua=mailto:d@shop.example")
    );
    assert_eq!(
        of(
            json!(null),
            json!({"domain": "b.shop.example"}),
            &[(own, "v=DMARC1; p=reject; aspf=s")]
        ),
        line(
            "Verified: has aspf=s, with which SPF does not count for return paths at b.shop.example; DKIM does \
             -> v=DMARC1; p=reject; aspf=s"
        )
    );
    let two = [(own, "v=DMARC1; p=none"), (own, "v=DMARC1; p=reject")];
    assert!(
        of(json!(null), json!(null), &two).starts_with(&line("Conflict: is there several times"))
    );
}

#[test]
fn receivers_of_reports_at_other_domains_have_to_say_that_they_want_them() {
    let (domain, relay) = (domain(json!(null), json!(null)), relay(json!(null)));
    let dmarc = (
        "_dmarc.shop.example",
        "v=DMARC1; p=reject; rua=mailto:r@reports.test",
    );
    let name = "shop.example._report._dmarc.reports.test";
    let lines = shown(&domain, &relay, &zone(&[dmarc]));
    assert_eq!(
        lines[1],
        format!("{name} Missing: is missing; {PUBLISH} -> v=DMARC1")
    );
    let lines = shown(&domain, &relay, &zone(&[dmarc, (name, "v=DMARC1;")]));
    assert_eq!(lines[1], format!("{name} Verified:  -> v=DMARC1"));
}

#[test]
fn optional_records_are_shown_where_they_are_published_or_asked_for() {
    let relay = relay(json!(null));
    let published = [
        (
            "_dmarc.shop.example",
            "v=DMARC1; p=none; rua=mailto:r@shop.example",
        ),
        ("_mta-sts.shop.example", "v=STSv1; id=a-b"),
        (
            "_smtp._tls.shop.example",
            "v=TLSRPTv1; rua=mailto:t@shop.example",
        ),
        (
            "default._bimi.shop.example",
            "v=BIMI1; l=https://shop.example/l.svg",
        ),
    ];
    let nothing = domain(json!(null), json!(null));
    let states = |domain: &SendingDomain, records: &[(&str, &str)]| -> Vec<String> {
        let lines = shown(domain, &relay, &zone(records));
        lines
            .iter()
            .map(|line| line.split(':').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        states(&nothing, &published),
        [
            "_dmarc.shop.example Verified",
            "_mta-sts.shop.example Mismatch",
            "_smtp._tls.shop.example Verified",
        ]
    );
    let asked = domain(
        json!({"tlsReports": ["mailto:t@shop.example"], "bimiLogo": "https://shop.example/l.svg"}),
        json!(null),
    );
    assert_eq!(
        states(&asked, &[]),
        [
            "_dmarc.shop.example Missing",
            "_smtp._tls.shop.example Missing",
            "default._bimi.shop.example Missing",
        ]
    );
    let lines = shown(&asked, &relay, &zone(&published));
    assert!(lines[3].contains("Verified: has no effect"), "{}", lines[3]);
}
