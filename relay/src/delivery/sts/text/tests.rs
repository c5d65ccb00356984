use super::*;

#[test]
fn one_well_formed_record_names_the_policy() {
    let rows: [(&[&str], Option<&str>); 14] = [
        (&["v=STSv1; id=20160831085700Z;"], Some("20160831085700Z")),
        (&["v=STSv1;id=a"], Some("a")),
        (&["v=STSv1 ;\tid=a ; x=y"], Some("a")),
        (&["v=spf1 -all", "v=STSv1; id=a"], Some("a")),
        (&["v=STSv1; id=a", "v=STSv1; id=b"], None),
        (&["v=STSv1; id=a", "v=STSv1"], None),
        (&["v=STSv12; id=a"], None),
        (&["v=STSv1"], None),
        (&["v=STSv1; id="], None),
        (&["v=STSv1; id=a-b"], None),
        (&["v=STSv1; id=012345678901234567890123456789012"], None),
        (&["id=a; v=STSv1"], None),
        (&["V=STSv1; id=a"], None),
        (&[], None),
    ];
    for (records, expected) in rows {
        let found = record_id(records.iter().copied());
        assert_eq!(found, expected, "{records:?}");
    }
    let huge = format!("v=STSv1; {}", "x=y; ".repeat(20_000));
    assert_eq!(record_id([huge.as_str()]), None);
}

#[test]
fn a_policy_is_read_with_either_line_end_and_unknown_names_are_passed_over() {
    let lines = [
        "version: STSv1",
        "mode: enforce",
        "mx: mail.example.com",
        "mx:  *.Example.net ",
        "future: x: y",
        "max_age : 604800",
        "mode: none",
    ];
    for end in ["\n", "\r\n"] {
        let policy = Policy::parse(lines.join(end).as_bytes()).unwrap();
        assert_eq!(policy.mode, Mode::Enforce);
        assert_eq!(policy.max_age, Duration::from_hours(168));
        assert!(policy.admits("mail.example.com") && policy.admits("mx1.example.net"));
    }
}

#[test]
fn what_is_no_policy_says_why() {
    let whole = "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 86400\n";
    assert!(Policy::parse(whole.as_bytes()).is_ok());
    let many = "mx: a.example\n".repeat(65);
    let rows = [
        ("version: STSv1\n", "", PolicyError::Version),
        ("STSv1", "STSv2", PolicyError::Version),
        ("enforce", "Enforce", PolicyError::Mode),
        ("mode: enforce\n", "", PolicyError::Mode),
        ("86400", "31557601", PolicyError::MaxAge),
        ("86400", "-1", PolicyError::MaxAge),
        ("86400", "+1", PolicyError::MaxAge),
        ("86400", "99999999999999999999", PolicyError::MaxAge),
        ("max_age: 86400\n", "", PolicyError::MaxAge),
        ("mx: a.example\n", "", PolicyError::NoExchangers),
        ("mx: a.example\n", &many, PolicyError::TooManyExchangers),
        ("a.example", "*", PolicyError::Exchanger),
        ("a.example", "a.*.example", PolicyError::Exchanger),
        ("a.example", "a b", PolicyError::Exchanger),
        ("mx: a", "<html>\nmx: a", PolicyError::Line),
    ];
    for (from, to, expected) in rows {
        let text = whole.replacen(from, to, 1);
        assert_eq!(Policy::parse(text.as_bytes()), Err(expected), "{text}");
    }
    assert_eq!(Policy::parse(b"version: \xff"), Err(PolicyError::NotUtf8));
}

#[test]
fn mode_none_needs_no_exchangers() {
    let policy = Policy::parse(b"version: STSv1\nmode: none\nmax_age: 86400\n").unwrap();
    assert_eq!(policy.mode, Mode::None);
}

#[test]
fn a_wildcard_stands_for_exactly_one_label() {
    let text = b"version: STSv1\nmode: enforce\nmx: *.a.example\nmx: mx.b.example.\nmax_age: 1\n";
    let policy = Policy::parse(text).unwrap();
    let rows = [
        ("mx.a.example", true),
        ("a.example", false),
        (".a.example", false),
        ("x.mx.a.example", false),
        ("mxa.example", false),
        ("mx.b.example", true),
        ("b.example", false),
    ];
    for (host, expected) in rows {
        assert_eq!(policy.admits(host), expected, "{host}");
    }
}
