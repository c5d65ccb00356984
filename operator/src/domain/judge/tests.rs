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

fn dmarc_line(domain: &SendingDomain, records: &[(&str, &str)]) -> String {
    let lines = shown(domain, &relay(json!(null)), &zone(records));
    let line = lines
        .into_iter()
        .find(|line| line.starts_with("_dmarc.mail.shop.example "));
    let line = line.unwrap_or_default();
    line.trim_start_matches("_dmarc.mail.shop.example ")
        .to_owned()
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
                 v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 include:amazonses.com include:nothing.example -all"
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
        line("Verified: is not needed: that of example applies, with p=reject -> ")
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

#[test]
fn a_policy_from_above_is_never_weakened_by_the_value_to_publish() {
    let mut below = domain(json!(null), json!(null));
    below.spec.domain = "mail.shop.example".into();
    let asking = |dmarc: Value| {
        let mut domain = below.clone();
        domain.spec.dns = serde_json::from_value(json!({"dmarc": dmarc})).unwrap();
        domain
    };
    let reports = "sends no reports to d@shop.example of spec.dns.dmarc.reports";
    let weaker = "says p=quarantine, and spec.dns.dmarc.policy asks for reject";
    let rows = [
        (
            below.clone(),
            "v=DMARC1; p=reject",
            "Verified: is not needed: that of shop.example applies, with p=reject -> ".to_owned(),
        ),
        (
            asking(json!({"reports": ["d@shop.example"]})),
            "v=DMARC1; p=reject",
            format!(
                "Missing: {reports}; {PUBLISH} -> v=DMARC1; p=reject; rua=mailto:d@shop.example"
            ),
        ),
        (
            asking(json!({"policy": "None", "reports": ["d@shop.example"]})),
            "v=DMARC1; p=reject; sp=quarantine; t=y",
            format!(
                "Missing: {reports}; {PUBLISH} -> v=DMARC1; p=quarantine; rua=mailto:d@shop.example; t=y"
            ),
        ),
        (
            asking(json!({"policy": "Reject"})),
            "v=DMARC1; p=quarantine",
            format!("Missing: {weaker}; {PUBLISH} -> v=DMARC1; p=reject"),
        ),
    ];
    for (domain, above, expected) in rows {
        let line = dmarc_line(&domain, &[("_dmarc.shop.example", above)]);
        assert_eq!(line, expected, "{above}");
    }
}

#[test]
fn a_dmarc_record_that_tests_counts_a_level_lower() {
    let mut testing = domain(json!({"dmarc": {"policy": "Reject"}}), json!(null));
    testing.spec.domain = "mail.shop.example".into();
    let own = "_dmarc.mail.shop.example";
    let says = "says p=reject and t=y, which counts as p=quarantine";
    assert_eq!(
        dmarc_line(&testing, &[(own, "v=DMARC1; p=reject; t=y; adkim=s")]),
        format!(
            "Mismatch: {says}, and spec.dns.dmarc.policy asks for reject; {PUBLISH} -> v=DMARC1; p=reject; \
             adkim=s"
        )
    );
    testing.spec.dns = serde_json::from_value(json!({"dmarc": {"policy": "Quarantine"}})).unwrap();
    assert_eq!(
        dmarc_line(&testing, &[(own, "v=DMARC1; p=reject; t=y")]),
        format!(
            "Verified: {says}; remove t=y once reports show that all mail of the domain is signed -> v=DMARC1; \
             p=reject; t=y"
        )
    );
}

#[test]
fn a_dmarc_record_that_cannot_be_shown_or_stands_twice_has_no_value_to_publish() {
    let mut odd = domain(json!({"dmarc": {"policy": "Reject"}}), json!(null));
    odd.spec.domain = "mail.shop.example".into();
    let own = "_dmarc.mail.shop.example";
    assert_eq!(
        dmarc_line(
            &odd,
            &[(own, "v=DMARC1; p=none;\trua=mailto:d@shop.example")]
        ),
        "Mismatch: says p=none, and spec.dns.dmarc.policy asks for reject; correct the record -> "
    );
    assert_eq!(
        dmarc_line(
            &odd,
            &[(own, "v=DMARC1; p=reject"), (own, "v=DMARC1; p=none")]
        ),
        "Conflict: is there several times, which counts as none; leave one -> "
    );
}

#[test]
fn an_spf_record_that_no_value_can_be_made_of_is_to_be_corrected() {
    let domain = domain(json!(null), json!(null));
    let relay = relay(json!({"addresses": ["192.0.2.25"], "spfIncludes": ["amazonses.com"]}));
    let line = |record: &str| {
        let records = [("shop.example", record), ("amazonses.com", "v=spf1 a -all")];
        shown(&domain, &relay, &zone(&records)).remove(0)
    };
    // No mechanism of the owner's is lost to an odd octet.
    for odd in ['\t', '\u{a0}'] {
        let text = line(&format!("v=spf1 mx{odd}ip4:198.51.100.1 -all"));
        assert!(
            text.ends_with(
                "-> v=spf1 ip4:192.0.2.25 include:amazonses.com mx ip4:198.51.100.1 -all"
            ),
            "{text}"
        );
    }
    let long: Vec<String> = (0..120)
        .map(|at| format!(" ip4:198.51.100.{at}/32"))
        .collect();
    let long = long.concat();
    let text = line(&format!("v=spf1{long} -all"));
    assert!(
        text.ends_with("correct the record, which is too long for a value to be made of it -> "),
        "{text}"
    );
    let long: Vec<String> = (0..120).map(|at| format!(" ip4:192.0.2.{at}/32")).collect();
    let long = long.concat();
    assert_eq!(
        line(&format!("v=spf1{long} include:amazonses.com -all")),
        "shop.example Verified:  -> "
    );
}

#[test]
fn the_terms_of_the_owner_are_not_pushed_past_the_tenth_lookup() {
    let domain = domain(json!(null), json!(null));
    let relay = relay(json!({"spfIncludes": ["amazonses.com"]}));
    let line = |hosts: usize| {
        let hosts: Vec<String> = (0..hosts).map(|at| format!(" a:h{at}.example")).collect();
        let hosts = hosts.concat();
        let record = format!("v=spf1{hosts} -all");
        let records = [
            ("shop.example", record.as_str()),
            ("amazonses.com", "v=spf1 a -all"),
        ];
        shown(&domain, &relay, &zone(&records)).remove(0)
    };
    assert!(
        line(8).starts_with(&format!(
            "shop.example Mismatch: does not include amazonses.com; {PUBLISH} -> v=spf1 include:amazonses.com a:h0"
        )),
        "{}",
        line(8)
    );
    assert_eq!(
        line(9),
        "shop.example Mismatch: does not include amazonses.com; a record with all that is \
         needed would ask DNS for more than 10 terms, which is an error to receivers; remove terms such as include -> "
    );
}

#[test]
fn a_dead_include_is_told_with_why_it_is_dead() {
    let domain = domain(json!(null), json!(null));
    let relay = relay(json!({"spfIncludes": ["amazonses.com"]}));
    let line = |record: &str| {
        let records = [("shop.example", record), ("amazonses.com", "v=spf1 a -all")];
        let line = shown(&domain, &relay, &zone(&records)).remove(0);
        line.trim_start_matches("shop.example ").to_owned()
    };
    for dead in [
        "v=spf1 -all include:amazonses.com",
        "v=spf1 ~all redirect=amazonses.com",
        "v=spf1 -include:amazonses.com ~all",
    ] {
        let text = line(dead);
        assert!(
            text.starts_with("Mismatch: does not include amazonses.com; "),
            "{text}"
        );
    }
    let text = line("v=spf1 include:amazonses.com ipv4:192.0.2.1 -all");
    assert!(
        text.starts_with(
            "Mismatch: cannot be evaluated, the record of shop.example has the term ipv4:192.0.2.1"
        ),
        "{text}"
    );
}
