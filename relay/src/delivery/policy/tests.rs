use super::*;

fn records() -> Dane {
    Dane::Records(Arc::new(Tlsa::for_test(&["mx.test"])))
}

fn failed() -> Dane {
    Dane::Failed("no answer".into())
}

const NOTHING: Findings<'static> = Findings {
    setting: Security::Opportunistic,
    smarthost: false,
    exception: None,
    dane: &Dane::None,
    sts: Verdict::None,
    require_tls: false,
    tls_optional: false,
};

fn decided(findings: &Findings<'_>) -> (Security, Source) {
    let policy = decide(findings).unwrap();
    assert_eq!(policy.security == Security::Dane, policy.tlsa.is_some());
    (policy.security, policy.source)
}

#[test]
fn without_findings_the_setting_holds() {
    for setting in [
        Security::Opportunistic,
        Security::Required,
        Security::Verified,
    ] {
        let findings = Findings { setting, ..NOTHING };
        assert_eq!(decided(&findings), (setting, Source::Setting));
    }
}

#[test]
fn t17_dane_wins_for_a_host_with_records_and_mta_sts_for_one_without() {
    let dane = records();
    for sts in [
        Verdict::None,
        Verdict::Enforced,
        Verdict::Excluded,
        Verdict::Testing,
    ] {
        let findings = Findings {
            dane: &dane,
            sts,
            ..NOTHING
        };
        assert_eq!(
            decided(&findings),
            (Security::Dane, Source::Dane),
            "{sts:?}"
        );
    }
    let enforced = Findings {
        sts: Verdict::Enforced,
        ..NOTHING
    };
    assert_eq!(decided(&enforced), (Security::Verified, Source::Sts));
    let excluded = Findings {
        sts: Verdict::Excluded,
        ..NOTHING
    };
    assert_eq!(decide(&excluded), Err(Refusal::NotInPolicy));
}

#[test]
fn t15_a_host_whose_records_cannot_be_told_is_not_used_whatever_else_is_known() {
    let dane = failed();
    for sts in [Verdict::None, Verdict::Enforced, Verdict::Testing] {
        for setting in [Security::Opportunistic, Security::Verified] {
            let findings = Findings {
                dane: &dane,
                sts,
                setting,
                ..NOTHING
            };
            assert_eq!(
                decide(&findings),
                Err(Refusal::DaneUnknown("no answer".into()))
            );
        }
    }
}

#[test]
fn unusable_records_demand_tls_and_weaken_nothing() {
    let rows = [
        (
            Security::Opportunistic,
            Verdict::None,
            Security::Required,
            Source::DaneUnusable,
        ),
        (
            Security::Opportunistic,
            Verdict::Enforced,
            Security::Verified,
            Source::Sts,
        ),
        (
            Security::Opportunistic,
            Verdict::Testing,
            Security::Required,
            Source::DaneUnusable,
        ),
        (
            Security::Required,
            Verdict::None,
            Security::Required,
            Source::Setting,
        ),
        (
            Security::Verified,
            Verdict::None,
            Security::Verified,
            Source::Setting,
        ),
    ];
    for (setting, sts, security, source) in rows {
        let findings = Findings {
            dane: &Dane::Unusable,
            sts,
            setting,
            ..NOTHING
        };
        assert_eq!(
            decided(&findings),
            (security, source),
            "{setting:?} {sts:?}"
        );
    }
}

#[test]
fn testing_changes_nothing_but_is_watched() {
    let testing = |setting| Findings {
        sts: Verdict::Testing,
        setting,
        ..NOTHING
    };
    let policy = decide(&testing(Security::Opportunistic)).unwrap();
    assert_eq!(policy.security, Security::Opportunistic);
    assert_eq!(policy.source, Source::StsTesting);
    assert!(policy.observe);
    let policy = decide(&testing(Security::Verified)).unwrap();
    assert!(!policy.observe && policy.security == Security::Verified);
}

#[test]
fn an_override_takes_the_place_of_everything_but_the_message() {
    let (usable, failed) = (records(), failed());
    let rows = [
        (OverridePolicy::None, Security::Clear),
        (OverridePolicy::Opportunistic, Security::Opportunistic),
        (OverridePolicy::Required, Security::Required),
        (OverridePolicy::Verified, Security::Verified),
    ];
    for (exception, expected) in rows {
        for dane in [&usable, &failed, &Dane::Unusable] {
            let findings = Findings {
                exception: Some(exception),
                dane,
                sts: Verdict::Excluded,
                setting: Security::Verified,
                ..NOTHING
            };
            assert_eq!(decided(&findings), (expected, Source::Override));
            let demanded = Findings {
                require_tls: true,
                ..findings
            };
            assert_eq!(decided(&demanded).0, Security::Verified);
        }
    }
}

#[test]
fn a_message_that_requires_tls_takes_dane_mta_sts_and_the_webs_roots_for_proof() {
    let dane = records();
    let rows = [
        (&dane, Verdict::None, Security::Dane, Source::Dane),
        (
            &Dane::None,
            Verdict::Enforced,
            Security::Verified,
            Source::Sts,
        ),
        (
            &Dane::None,
            Verdict::None,
            Security::Verified,
            Source::RequireTls,
        ),
        (
            &Dane::Unusable,
            Verdict::None,
            Security::Verified,
            Source::RequireTls,
        ),
    ];
    for (dane, sts, security, source) in rows {
        let findings = Findings {
            dane,
            sts,
            require_tls: true,
            ..NOTHING
        };
        assert_eq!(decided(&findings), (security, source));
    }
}

#[test]
fn a_smarthost_is_spoken_to_as_it_is_configured() {
    let dane = records();
    for (setting, required) in [
        (Security::Clear, Security::Verified),
        (Security::Opportunistic, Security::Verified),
        (Security::Verified, Security::Verified),
        (Security::Implicit, Security::Implicit),
    ] {
        let findings = Findings {
            setting,
            smarthost: true,
            exception: Some(OverridePolicy::None),
            dane: &dane,
            sts: Verdict::Excluded,
            ..NOTHING
        };
        assert_eq!(decided(&findings), (setting, Source::Smarthost));
        let demanded = Findings {
            require_tls: true,
            ..findings
        };
        assert_eq!(decided(&demanded).0, required);
    }
}

#[test]
fn m17_a_connection_is_reused_only_where_its_policy_is_strong_enough() {
    let dane = |names: &[&str]| TlsPolicy {
        tlsa: Some(Arc::new(Tlsa::for_test(names))),
        ..plain(Security::Dane, Source::Dane)
    };
    let all = [
        plain(Security::Clear, Source::Override),
        plain(Security::Opportunistic, Source::Setting),
        plain(Security::Required, Source::DaneUnusable),
        plain(Security::Verified, Source::Sts),
        dane(&["mx.test", "a.test"]),
        dane(&["mx.test", "b.test"]),
    ];
    let expected = [
        [true, true, false, false, false, false],
        [true, true, false, false, false, false],
        [true, true, true, false, false, false],
        [true, true, true, true, false, false],
        [true, true, true, false, true, false],
        [true, true, true, false, false, true],
    ];
    for (policy, row) in all.iter().zip(expected) {
        for (wanted, expected) in all.iter().zip(row) {
            assert_eq!(policy.covers(wanted), expected, "{policy:?} for {wanted:?}");
        }
    }
}
