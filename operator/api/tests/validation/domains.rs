//! SendingDomains.

use super::*;

#[test]
fn domains_are_lower_case_names_that_stay() {
    let spec = |domain: &str| json!({"domain": domain, "relayRef": {"name": "outbox"}});
    let domain = |spec: &Value| faults::<SendingDomain>("SendingDomain", "shop", spec);
    for good in ["shop.example", "a-b.xn--bcher-kva.example", "x.y.z.example"] {
        assert_eq!(domain(&spec(good)), "", "{good}");
    }
    for bad in [
        "example",
        "Shop.example",
        "shop.example.",
        "-a.example",
        "shop..example",
        "sho p.example",
    ] {
        refused(
            &domain(&spec(bad)),
            "must be a lower-case domain name",
            &json!(bad),
        );
    }
    let (old, new) = (spec("shop.example"), spec("bank.example"));
    let found = change_faults::<SendingDomain>("SendingDomain", &old, &new);
    refused(&found, "domain cannot be changed", &new);
    let moved = json!({"domain": "shop.example", "relayRef": {"name": "bulk"}});
    let found = change_faults::<SendingDomain>("SendingDomain", &old, &moved);
    refused(&found, "relayRef cannot be changed", &moved);
}

#[test]
fn senders_name_one_kind_of_identity_each() {
    let domain = |extra: Value| {
        let mut spec = json!({"domain": "shop.example", "relayRef": {"name": "outbox"}});
        spec.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        faults::<SendingDomain>("SendingDomain", "shop", &spec)
    };
    let sender = |sender: &Value| domain(json!({"senders": [sender]}));
    for good in [
        json!({"namespace": "*"}),
        json!({"namespace": "shop"}),
        json!({"namespace": "shop", "credential": "orders"}),
        json!({"namespace": "shop", "serviceAccount": "*", "localParts": ["orders"]}),
        json!({"oidc": {"issuer": "corp"}}),
        json!({"oidc": {"issuer": "corp", "identity": "a@b.example"}}),
    ] {
        assert_eq!(sender(&good), "", "{good}");
    }
    for (bad, expected) in [
        (json!({}), "give namespace"),
        (json!({"credential": "orders"}), "give namespace too"),
        (
            json!({"namespace": "shop", "oidc": {"issuer": "corp"}}),
            "and not both",
        ),
        (
            json!({"namespace": "shop", "credential": "a", "serviceAccount": "b"}),
            "make two entries",
        ),
        (
            json!({"namespace": "*", "serviceAccount": "b"}),
            "namespace * means everybody",
        ),
    ] {
        refused(&sender(&bad), expected, &bad);
    }
    let unauthorized = |value: &Value| domain(json!({"unauthorizedFrom": value}));
    for good in [
        json!({}),
        json!({"policy": "Reject"}),
        json!({"policy": "Rewrite", "localPart": "no-reply.web"}),
    ] {
        assert_eq!(unauthorized(&good), "", "{good}");
    }
    for (bad, expected) in [
        (
            json!({"policy": "Rewrite"}),
            "set both, or remove localPart",
        ),
        (
            json!({"localPart": "noreply"}),
            "set both, or remove localPart",
        ),
        (
            json!({"policy": "Rewrite", "localPart": "a@b"}),
            "such as noreply",
        ),
        (
            json!({"policy": "Rewrite", "localPart": ".a"}),
            "such as noreply",
        ),
    ] {
        refused(&unauthorized(&bad), expected, &bad);
    }
}

#[test]
fn bounces_lie_in_the_domain_or_below_it_and_go_one_way() {
    let bounces = |value: &Value| {
        let spec = json!({
            "domain": "example.com", "relayRef": {"name": "outbox"}, "bounces": value,
        });
        faults::<SendingDomain>("SendingDomain", "shop", &spec)
    };
    for good in [
        json!({"domain": "example.com"}),
        json!({"domain": "bounces.example.com"}),
        json!({"address": "bounces@example.com"}),
        json!({"address": "b@mail.example.com"}),
        json!({"domain": "b.example.com", "validFor": "840h"}),
    ] {
        assert_eq!(bounces(&good), "", "{good}");
    }
    for (bad, expected) in [
        (json!({}), "give domain for reports"),
        (
            json!({"domain": "b.example.com", "address": "b@example.com"}),
            "give domain for reports",
        ),
        (
            json!({"domain": "bounces.example.net"}),
            "must lie in the domain itself",
        ),
        (
            json!({"domain": "badexample.com"}),
            "must lie in the domain itself",
        ),
        (
            json!({"address": "b@example.net"}),
            "must lie in the domain itself",
        ),
        (
            json!({"domain": "Bounces.example.com"}),
            "must be a lower-case domain name",
        ),
        (
            json!({"address": "longer-name@example.com"}),
            "must be a plain address",
        ),
        (
            json!({"address": "b+x@example.com"}),
            "must be a plain address",
        ),
        (
            json!({"domain": "b.example.com", "validFor": "59m"}),
            "must be from 1h to 840h",
        ),
        (
            json!({"domain": "b.example.com", "validFor": "841h"}),
            "must be from 1h to 840h",
        ),
    ] {
        refused(&bounces(&bad), expected, &bad);
    }
}
