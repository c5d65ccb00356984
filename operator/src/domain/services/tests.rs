use super::*;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn an_mta_sts_record_needs_an_id() {
    assert_eq!(mta_sts(&texts(&[])), None);
    assert_eq!(mta_sts(&texts(&["v=spf1 -all"])), None);
    for good in ["v=STSv1; id=20260101T000000;", "v = STSv1;x=y;id=1"] {
        assert_eq!(mta_sts(&texts(&[good, "other"])), Some(Ok(())), "{good}");
    }
    let long = format!("v=STSv1; id={}", "1".repeat(33));
    for bad in ["v=STSv1", "v=STSv1; id=", "v=STSv1; id=a-b", &long] {
        assert!(matches!(mta_sts(&texts(&[bad])), Some(Err(_))), "{bad}");
    }
    let twice = texts(&["v=STSv1; id=1", "v=STSv1; id=2"]);
    assert!(matches!(mta_sts(&twice), Some(Err(_))));
}

#[test]
fn tls_reports_go_by_mail_or_https_and_where_they_are_asked_for() {
    let wanted = texts(&["mailto:tls@shop.example"]);
    let both = texts(&["v=TLSRPTv1; rua=https://x.example/r,mailto:tls@shop.example"]);
    assert_eq!(tls_reports(&both, &wanted), Some(Ok(())));
    assert_eq!(tls_reports(&texts(&[]), &wanted), None);
    for bad in [
        "v=TLSRPTv1",
        "v=TLSRPTv1; rua=tls@shop.example",
        "v=TLSRPTv1; rua=mailto:other@shop.example",
    ] {
        assert!(
            matches!(tls_reports(&texts(&[bad]), &wanted), Some(Err(_))),
            "{bad}"
        );
    }
}

#[test]
fn a_logo_lies_behind_https_and_is_the_one_that_is_asked_for() {
    let logo = "https://shop.example/l.svg";
    assert_eq!(
        bimi(
            &texts(&["v=BIMI1; l=https://shop.example/l.svg; a="]),
            Some(logo)
        ),
        Some(Ok(()))
    );
    assert_eq!(bimi(&texts(&["v=BIMI1; l=; a=;"]), None), Some(Ok(())));
    for bad in ["v=BIMI1; l=https://shop.example/old.svg", "v=BIMI1"] {
        assert!(
            matches!(bimi(&texts(&[bad]), Some(logo)), Some(Err(_))),
            "{bad}"
        );
    }
    assert!(matches!(
        bimi(&texts(&["v=BIMI1; l=http://shop.example/l.svg"]), None),
        Some(Err(_))
    ));
}
