use super::*;

fn zone(records: &[(&str, &str)]) -> Answers {
    let mut answers = Answers::new();
    for (name, text) in records {
        let question = Question::new(&format!("_dmarc.{name}"), Kind::Txt);
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

/// Asks what is needed; what the zone lacks is absent.
fn run<T>(zone: &Answers, question: impl Fn(&Answers) -> Result<T, Stop>) -> (T, usize) {
    let mut answers = Answers::new();
    loop {
        match question(&answers) {
            Ok(found) => return (found, answers.len()),
            Err(Stop::Needs(needed)) => {
                let answer = zone.get(&needed).cloned().unwrap_or(Answer::None);
                assert!(answers.insert(needed, answer).is_none());
            }
            Err(Stop::Unknown) => panic!("unknown"),
        }
    }
}

/// `domain: policy` of the record that applies.
fn applying(domain: &str, records: &[(&str, &str)]) -> String {
    let (found, _) = run(&zone(records), |answers| applies(domain, answers));
    found.map_or_else(
        || "nothing".to_owned(),
        |applies| {
            let policy = policy(&applies, domain);
            let policy = policy.map_or_else(|what| what, |it| it.policy.word().to_owned());
            is(&applies.at, &policy)
        },
    )
}

fn is(at: &str, policy: &str) -> String {
    format!("{at}: {policy}")
}

#[test]
fn the_own_record_applies_before_that_of_the_organisation_and_that_of_the_suffix() {
    let own = ("mail.shop.example", "v=DMARC1; p=reject");
    let above = ("shop.example", "v=DMARC1; p=quarantine; sp=none");
    let top = ("example", "v=DMARC1; p=reject; sp=quarantine; psd=y");
    let name = "mail.shop.example";
    assert_eq!(applying(name, &[own, above, top]), is(name, "reject"));
    assert_eq!(applying(name, &[above, top]), is("shop.example", "none"));
    assert_eq!(
        applying("shop.example", &[above, top]),
        is("shop.example", "quarantine")
    );
    assert_eq!(applying(name, &[top]), is("example", "quarantine"));
    assert_eq!(applying(name, &[]), "nothing");
    // Of organisations, the one with the fewest labels, unless a record says where to stop.
    let deep = "a.mail.shop.example";
    let middle = ("mail.shop.example", "v=DMARC1; p=reject");
    assert_eq!(applying(deep, &[middle, above]), is("shop.example", "none"));
    let middle = ("mail.shop.example", "v=DMARC1; p=reject; psd=n");
    assert_eq!(
        applying(deep, &[middle, above]),
        is("mail.shop.example", "reject")
    );
}

#[test]
fn a_record_counts_only_when_it_is_the_only_one_and_begins_with_its_version() {
    for texts in [
        &["v=DMARC1; p=none", "v=DMARC1; p=reject"][..],
        &["p=none; v=DMARC1"],
        &["v=dmarc1; p=none"],
        &["v=DMARC10; p=none"],
        &["v=spf1 -all"],
    ] {
        let records: Vec<_> = texts.iter().map(|text| ("shop.example", *text)).collect();
        assert_eq!(applying("shop.example", &records), "nothing", "{texts:?}");
    }
    for (text, policy) in [
        (" v = DMARC1 ;p=Reject", "reject"),
        ("v=DMARC1", "none"),
        (
            "v=DMARC1; p=block",
            "has p=block; p is none, quarantine or reject",
        ),
        ("v=DMARC1; p=none; p=none", "has a tag twice"),
        // Errors in what follows are passed over.
        ("v=DMARC1; p=reject; foo", "reject"),
    ] {
        assert_eq!(
            applying("shop.example", &[("shop.example", text)]),
            is("shop.example", policy)
        );
    }
}

/// RFC 9989 section 4.10.
#[test]
fn long_names_cost_no_more_than_eight_questions() {
    let long = "a.b.c.d.e.f.g.h.i.j.shop.example";
    let ((), asked) = run(&zone(&[]), |answers| applies(long, answers).map(|_| ()));
    assert_eq!(asked, 8);
}

#[test]
fn reports_to_others_need_their_consent_and_reports_within_an_organisation_none() {
    let text = "v=DMARC1; p=none; rua=mailto:a@shop.example, mailto:b@reports.other.example!10m;\
                ruf=MAILTO:c@Sub.shop.example,https://x.example/y,mailto:nobody";
    let zone = zone(&[("shop.example", text)]);
    let applies = Applies {
        at: "shop.example".into(),
        text: text.into(),
    };
    let (found, _) = run(&zone, |answers| strangers(&applies, answers));
    assert_eq!(found, ["reports.other.example"]);
    assert_eq!(
        report_name("shop.example", "reports.other.example"),
        "shop.example._report._dmarc.reports.other.example"
    );
}

#[test]
fn the_record_to_publish_keeps_what_stands_there() {
    let reports = ["d@shop.example".to_owned()];
    let rows = [
        (None, Policy::None, &[][..], "v=DMARC1; p=none"),
        (
            None,
            Policy::Reject,
            &reports,
            "v=DMARC1; p=reject; rua=mailto:d@shop.example",
        ),
        (
            Some("v=DMARC1;p=none;adkim=s;rua=mailto:x@y.example"),
            Policy::Reject,
            &reports,
            "v=DMARC1; p=reject; adkim=s; rua=mailto:x@y.example,mailto:d@shop.example",
        ),
        // Another address may begin with the same characters.
        (
            Some("v=DMARC1; rua=mailto:d@shop.example.net!5m"),
            Policy::None,
            &reports,
            "v=DMARC1; p=none; rua=mailto:d@shop.example.net!5m,mailto:d@shop.example",
        ),
        (
            Some("v=DMARC1; rua=MAILTO:D@shop.example!5m"),
            Policy::None,
            &reports,
            "v=DMARC1; p=none; rua=MAILTO:D@shop.example!5m",
        ),
    ];
    for (existing, policy, reports, expected) in rows {
        let text = record_with(existing, None, Some(policy), reports);
        assert_eq!(text, expected);
        assert_eq!(lacks(&text, reports), None);
    }
    assert_eq!(
        lacks("v=DMARC1; rua=mailto:D@shop.example!5m", &reports),
        None
    );
    assert_eq!(lacks("v=DMARC1; p=none", &reports), Some(&reports[0]));
}
