use super::*;

/// Answers by `name KIND value`, one record a line; what is not there does not exist, and `FAIL` fails.
fn zone(text: &str) -> Answers {
    let mut answers = Answers::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(3, ' ');
        let (name, kind, value) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let kind = match kind {
            "A" => Kind::A,
            "AAAA" => Kind::Aaaa,
            "MX" => Kind::Mx,
            "PTR" => Kind::Ptr,
            "TXT" => Kind::Txt,
            other => panic!("{other}"),
        };
        let question = Question::new(name, kind);
        if value == "FAIL" {
            answers.insert(question, Answer::Failed("no answer".into()));
            continue;
        }
        match answers
            .entry(question)
            .or_insert(Answer::Records(Vec::new()))
        {
            Answer::Records(records) => records.push(value.to_owned()),
            _ => panic!("{line}"),
        }
    }
    answers
}

/// Evaluates as somebody who asks what is needed; what `zone` lacks is absent.
fn run(ip: &str, domain: &str, zone: &Answers) -> (Outcome, usize) {
    let mut answers = Answers::new();
    loop {
        match evaluate(ip.parse().unwrap(), domain, "mx.shop.example", &answers) {
            Outcome::Needs(question) => {
                let answer = zone.get(&question).cloned().unwrap_or(Answer::None);
                assert!(answers.insert(question, answer).is_none(), "asked twice");
                assert!(answers.len() < 500);
            }
            outcome => return (outcome, answers.len()),
        }
    }
}

fn one(record: &str, ip: &str) -> Outcome {
    let zone = zone(&format!(
        "shop.example TXT {record}
         shop.example A 192.0.2.1
         shop.example AAAA 2001:db8::1
         shop.example MX 10 Mx.shop.example
         mx.shop.example A 192.0.2.2
         partner.example TXT v=spf1 ip4:198.51.100.0/24 -all
         soft.example TXT v=spf1 ~all
         two.example TXT v=spf1 a
         two.example TXT v=spf1 mx
         broken.example TXT FAIL
         3.2.0.192.in-addr.arpa PTR mail.shop.example
         4.2.0.192.in-addr.arpa PTR mail.shop.example
         mail.shop.example A 192.0.2.3
         3.2.0.192.list.example A 127.0.0.2
         mail.shop.example.names.example A 127.0.0.2"
    ));
    run(ip, "shop.example", &zone).0
}

#[test]
fn each_mechanism_matches_what_it_names() {
    use Outcome::{Fail, Neutral, Pass, SoftFail};
    let rows = [
        ("v=spf1 ip4:192.0.2.0/29 -all", "192.0.2.7", Pass),
        ("v=spf1 ip4:192.0.2.0/29 -all", "192.0.2.8", Fail),
        ("v=spf1 ip4:0.0.0.0/0 -all", "203.0.113.9", Pass),
        ("v=spf1 ip4:192.0.2.7 ~all", "::ffff:192.0.2.7", Pass),
        ("v=spf1 ip6:2001:db8::/32 ~all", "2001:db8:ffff::1", Pass),
        ("v=spf1 ip6:2001:db8::/32 ~all", "2001:db9::1", SoftFail),
        ("v=spf1 ip6:::/0 ~all", "192.0.2.1", SoftFail),
        ("V=SPF1 A -ALL", "192.0.2.1", Pass),
        ("v=spf1 a/24 -all", "192.0.2.200", Pass),
        ("v=spf1 a/24//64 -all", "2001:db8::ffff", Pass),
        ("v=spf1 a//64 -all", "192.0.2.200", Fail),
        ("v=spf1 mx -all", "192.0.2.2", Pass),
        ("v=spf1 mx:other.example -all", "192.0.2.2", Fail),
        ("v=spf1 include:partner.example -all", "198.51.100.3", Pass),
        ("v=spf1 include:partner.example -all", "192.0.2.1", Fail),
        ("v=spf1 include:soft.example -all", "192.0.2.1", Fail),
        ("v=spf1 redirect=partner.example", "198.51.100.3", Pass),
        ("v=spf1 redirect=partner.example", "192.0.2.1", Fail),
        (
            "v=spf1 redirect=partner.example ~all",
            "192.0.2.1",
            SoftFail,
        ),
        ("v=spf1 ptr -all", "192.0.2.3", Pass),
        ("v=spf1 ptr -all", "192.0.2.4", Fail),
        ("v=spf1 ptr:partner.example -all", "192.0.2.3", Fail),
        ("v=spf1 exists:%{ir}.list.example -all", "192.0.2.3", Pass),
        ("v=spf1 exists:%{ir}.list.example -all", "192.0.2.5", Fail),
        ("v=spf1 exists:%{p}.names.example -all", "192.0.2.3", Pass),
        ("v=spf1 exists:%{p}.names.example -all", "192.0.2.4", Fail),
        ("v=spf1 ?ip4:192.0.2.7 -all", "192.0.2.7", Neutral),
        ("v=spf1 -ip4:192.0.2.7 +all", "192.0.2.7", Fail),
        ("v=spf1 x-other=y", "192.0.2.7", Neutral),
        ("v=spf1", "192.0.2.7", Neutral),
    ];
    for (record, ip, expected) in rows {
        assert_eq!(one(record, ip), expected, "{record} for {ip}");
    }
    assert_eq!(one("other=text", "192.0.2.7"), Outcome::None);
    assert_eq!(one("v=spf10 +all", "192.0.2.7"), Outcome::None);
}

#[test]
fn a_record_with_one_wrong_term_is_an_error_wherever_the_term_stands() {
    for term in [
        "ipv4:192.0.2.1",
        "ip4:192.0.2",
        "ip4:192.0.2.0/33",
        "ip4:192.0.2.0/024",
        "ip4:",
        "ip4",
        "ip6:192.0.2.1",
        "ip6:2001:db8::/129",
        "all:x",
        "all/8",
        "include",
        "include:",
        "include:com",
        "a:",
        "a/33",
        "a/8/8",
        "a//129",
        "mx:%{q}.example",
        "exists:%{i",
        "exists:%(i).example",
        "exists:%{i0}.example",
        "ptr/8",
        "redirect=",
        "redirect=shop",
        "-",
        "a:x.-",
        "ä",
        "a:ä.example",
        "exp=",
        "exp=why.example exp=why.example",
        "redirect=a.example redirect=b.example",
    ] {
        let record = format!("v=spf1 +all {term}");
        let outcome = one(&record, "192.0.2.1");
        assert!(
            matches!(outcome, Outcome::Permanent(_)),
            "{term}: {outcome:?}"
        );
    }
    let Outcome::Permanent(what) = one("v=spf1 +all ipv4:192.0.2.1", "192.0.2.1") else {
        panic!()
    };
    assert_eq!(
        what,
        "the record of shop.example has the term ipv4:192.0.2.1, which is not valid"
    );
}

#[test]
fn errors_that_last_and_errors_that_pass_are_told_apart() {
    let rows = [
        (
            "v=spf1 include:nothing.example -all",
            "include:nothing.example leads to no SPF record",
        ),
        (
            "v=spf1 redirect=nothing.example",
            "redirect=nothing.example leads to no SPF record",
        ),
        (
            "v=spf1 include:two.example -all",
            "two.example has several SPF records",
        ),
    ];
    for (record, expected) in rows {
        let outcome = one(record, "192.0.2.9");
        assert_eq!(outcome, Outcome::Permanent(expected.into()), "{record}");
    }
    for record in [
        "v=spf1 include:broken.example -all",
        "v=spf1 redirect=broken.example",
    ] {
        let outcome = one(record, "192.0.2.9");
        assert!(
            matches!(outcome, Outcome::Temporary(_)),
            "{record}: {outcome:?}"
        );
    }
    // What matches first decides.
    assert_eq!(
        one("v=spf1 a include:broken.example -all", "192.0.2.1"),
        Outcome::Pass
    );
}

#[test]
fn an_eleventh_lookup_and_a_third_void_one_are_errors() {
    let includes = |number: u8| {
        let next = number + 1;
        format!("i{number}.example TXT v=spf1 include:i{next}.example")
    };
    let last = "i12.example TXT v=spf1 +all".to_owned();
    let lines: Vec<String> = (0..12).map(includes).chain([last]).collect();
    let chain = zone(&lines.join("\n"));
    // From i2 there are ten includes to i12, from i1 eleven.
    assert_eq!(run("192.0.2.1", "i2.example", &chain).0, Outcome::Pass);
    let (outcome, asked) = run("192.0.2.1", "i1.example", &chain);
    assert!(
        matches!(&outcome, Outcome::Permanent(what) if what.contains("more than 10 terms")),
        "{outcome:?}"
    );
    assert_eq!(asked, 11);
    let looping = zone("loop.example TXT v=spf1 include:loop.example -all");
    assert!(matches!(
        run("192.0.2.1", "loop.example", &looping).0,
        Outcome::Permanent(_)
    ));

    assert_eq!(
        one(
            "v=spf1 a:a.example a:b.example ip4:192.0.2.9 -all",
            "192.0.2.9"
        ),
        Outcome::Pass
    );
    let outcome = one(
        "v=spf1 a:a.example mx:b.example exists:c.example ip4:192.0.2.9 -all",
        "192.0.2.9",
    );
    assert!(
        matches!(&outcome, Outcome::Permanent(what) if what.ends_with("c.example")),
        "{outcome:?}"
    );

    let record = "many.example TXT v=spf1 mx -all".to_owned();
    let hosts = (0..11).map(|number| format!("many.example MX 10 h{number}.example"));
    let lines: Vec<String> = hosts.chain([record]).collect();
    let hosts = zone(&lines.join("\n"));
    let (outcome, asked) = run("192.0.2.1", "many.example", &hosts);
    assert!(matches!(outcome, Outcome::Permanent(_)), "{outcome:?}");
    assert_eq!(asked, 2);
}

/// RFC 7208 section 7.4.
#[test]
fn macros_expand_as_the_examples_of_the_rfc() {
    let values = Values {
        ip: "192.0.2.3".parse().unwrap(),
        domain: "email.example.com",
        sender: "email.example.com",
        helo: "mx.example.org",
    };
    let rows = [
        ("%{o}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "postmaster"),
        ("%{S}", "postmaster%40email.example.com"),
        (
            "%{ir}.%{v}._spf.%{d2}",
            "3.2.0.192.in-addr._spf.example.com",
        ),
        ("%{lr-}.lp._spf.%{d2}", "postmaster.lp._spf.example.com"),
        ("a%%b%_c%-d.%{h}.", "a%b c%20d.mx.example.org"),
    ];
    for (text, expected) in rows {
        // Names are in lower case.
        assert_eq!(
            macros::expand(text, &values, ""),
            expected.to_lowercase(),
            "{text}"
        );
    }
    let six = Values {
        ip: "2001:db8::cb01".parse().unwrap(),
        ..values
    };
    assert_eq!(
        macros::expand("%{ir}.%{v}._spf.%{d2}", &six, ""),
        "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
    );
    let long = format!("%{{d}}.{}", "label.".repeat(60));
    assert!(macros::expand(&long, &values, "").len() <= 253);
}

#[test]
fn included_domains_are_found_wherever_they_stand() {
    let answers = zone(
        "shop.example TXT v=spf1 include:a.example -include:refused.example include:%{d}.macro.example ~all
         a.example TXT v=spf1 redirect=b.example
         b.example TXT v=spf1 include:Provider.example -all
         refused.example TXT v=spf1 ip4:198.51.100.0/24 -all
         provider.example TXT v=spf1 ip4:192.0.2.0/24 -all",
    );
    assert_eq!(
        includes("shop.example", "provider.example", &answers),
        Outcome::Pass
    );
    assert_eq!(
        includes("shop.example", "refused.example", &answers),
        Outcome::Fail
    );
    assert_eq!(
        includes("shop.example", "x.example", &Answers::new()),
        Outcome::Needs(Question::new("shop.example", Kind::Txt))
    );
}

#[test]
fn an_include_counts_only_where_receivers_come_to_it() {
    let of = |record: &str| {
        let mut zone = zone(&format!(
            "shop.example TXT {record}
             other.example TXT v=spf1 ip4:198.51.100.0/24 -all
             loop.example TXT v=spf1 include:loop.example -all
             ends.example TXT v=spf1 -all include:provider.example
             two.example TXT v=spf1 a
             two.example TXT v=spf1 mx
             provider.example TXT v=spf1 ip4:192.0.2.0/24 -all"
        ));
        zone.insert(Question::new("none.example", Kind::Txt), Answer::None);
        includes("shop.example", "provider.example", &zone)
    };
    let lookups = |count: usize| " a".repeat(count);
    let rows = [
        (
            "v=spf1 include:other.example include:Provider.example. -all".to_owned(),
            "Pass",
        ),
        ("v=spf1 redirect=provider.example".to_owned(), "Pass"),
        ("v=spf1 -all include:provider.example".to_owned(), "Fail"),
        (
            "v=spf1 ~all redirect=provider.example".to_owned(),
            "SoftFail",
        ),
        ("v=spf1 include:ends.example ?all".to_owned(), "Neutral"),
        (
            format!("v=spf1{} include:provider.example -all", lookups(9)),
            "Pass",
        ),
        (
            format!("v=spf1{} include:provider.example -all", lookups(10)),
            "Permanent",
        ),
        (
            "v=spf1 include:provider.example -all ipv4:1.2.3.4".to_owned(),
            "Permanent",
        ),
        (
            "v=spf1 include:none.example include:provider.example".to_owned(),
            "Permanent",
        ),
        (
            "v=spf1 include:two.example include:provider.example".to_owned(),
            "Permanent",
        ),
        (
            "v=spf1 include:loop.example include:provider.example".to_owned(),
            "Permanent",
        ),
    ];
    for (record, expected) in rows {
        let outcome = format!("{:?}", of(&record));
        assert!(outcome.starts_with(expected), "{record}: {outcome}");
    }
}

#[test]
fn what_is_added_to_a_record_comes_first_and_leaves_the_rest_as_it_was() {
    let addresses = [
        "192.0.2.25".parse().unwrap(),
        "2001:db8::25".parse().unwrap(),
    ];
    let rows = [
        (&[][..], "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all"),
        (
            &["v=spf1 include:_spf.other.example -all"],
            "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 include:_spf.other.example -all",
        ),
        (
            &["unrelated", "V=SPF1 MX redirect=other.example"],
            "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 MX redirect=other.example",
        ),
        // No receiver can read the first term; what comes after all means nothing.
        (
            &["v=spf1 ipv4:1.2.3.4 a ?all mx exp=why.example"],
            "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 a ?all exp=why.example",
        ),
        // Modifiers count wherever they stand, and two explanations are an error.
        (
            &[
                "v=spf1 exp=a.example -all x-other=1 redirect=b.example",
                "v=spf1 mx exp=c.example X=2 x-other=1",
            ],
            "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 mx -all exp=a.example x-other=1 X=2",
        ),
        (
            &["v=spf1 a -all", "v=spf1 mx A ~all"],
            "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 a mx -all",
        ),
        (&["v=spf1"], "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25"),
    ];
    for (texts, expected) in rows {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(record_with(&texts, &addresses, &[]), expected);
        // The result lets both send, whatever the record was.
        for address in &addresses {
            let zone = zone(&format!("shop.example TXT {expected}"));
            assert_eq!(
                run(&address.to_string(), "shop.example", &zone).0,
                Outcome::Pass
            );
        }
    }
    assert_eq!(
        record_with(&["v=spf1 a -all".to_owned()], &[], &["amazonses.com"]),
        "v=spf1 include:amazonses.com a -all"
    );
}
