use super::*;

fn records(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn an_mx_record_is_judged_by_its_host_among_all() {
    let expected = "10 mx.shop.example";
    for good in [
        &["10 mx.shop.example"][..],
        &["0 MX.Shop.example."],
        &["10 other.example", "20 mx.shop.example"],
    ] {
        assert_eq!(
            judge_mx(&records(good), expected),
            Finding::verified(),
            "{good:?}"
        );
    }
    for bad in [
        &["0 ."][..],
        &["10 other.example"],
        &["10 x.mx.shop.example"],
        &[],
    ] {
        assert_ne!(
            judge_mx(&records(bad), expected),
            Finding::verified(),
            "{bad:?}"
        );
    }
}

#[test]
fn an_spf_record_is_judged_by_whether_it_lets_anybody_send() {
    for good in [
        &["v=spf1 redirect=shop.example"][..],
        &["V=SPF1 include:bulk.example ~all"],
        &["other=text", "v=spf1 ip4:192.0.2.7 -all"],
        &["v=spf1 a"],
    ] {
        assert_eq!(judge_spf(&records(good)), Finding::verified(), "{good:?}");
    }
    for (bad, text) in [
        (&["v=spf1 -all"][..], "lets nobody send"),
        (&["v=spf1"], "lets nobody send"),
        (&["v=spf1 ?all exp=why.example"], "lets nobody send"),
        (&["v=spf10 a"], "holds no SPF record"),
        (
            &["v=spf1 a", "v=spf1 redirect=shop.example"],
            "holds several SPF records",
        ),
    ] {
        let fault = judge_spf(&records(bad)).message.unwrap();
        assert!(fault.starts_with(text), "{bad:?}: {fault}");
    }
}

#[test]
fn a_bounce_domain_that_is_the_sending_domain_has_its_spf_record_already() {
    let domain = |bounces: serde_json::Value| {
        let mut domain = crate::render::fixtures::domain("shop", "web", 1, "shop.example");
        domain.spec.bounces = serde_json::from_value(bounces).unwrap();
        domain
    };
    let mut relay = crate::render::fixtures::relay(crate::render::fixtures::open());
    relay.spec.hostname = Some("mx.shop.example".into());
    let kinds = |bounces: serde_json::Value| {
        let wanted = wanted(&domain(bounces), Some(&relay));
        wanted
            .iter()
            .map(|one| one.question.kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(serde_json::json!({"domain": "shop.example"})),
        [Kind::Mx]
    );
    assert_eq!(
        kinds(serde_json::json!({"domain": "b.shop.example"})),
        [Kind::Mx, Kind::Txt]
    );
    assert!(kinds(serde_json::json!({"address": "bounces@shop.example"})).is_empty());
}
