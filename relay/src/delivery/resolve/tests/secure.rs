//! What DNSSEC proves, against a signed zone on loopback.

use std::collections::HashSet;

use super::*;
use crate::delivery::testing::signed::SignedDns;

const RECORDS: &[(&str, &str, &str)] = &[
    ("a.test", "MX", "10 mx.test"),
    ("mx.test", "A", "127.0.0.1"),
    ("_25._tcp.mx.test", "TLSA", "3 1 1 aabb"),
    ("bare.test", "A", "127.0.0.1"),
    ("alias.test", "CNAME", "mx.test"),
    ("outward.test", "CNAME", "mx.plain"),
    ("stripped.test", "MX", "10 mx.test"),
    ("mx.forged.test", "A", "127.0.0.1"),
    ("_25._tcp.forged.test", "TLSA", "3 1 1 aabb"),
    ("_25._tcp.stripped.test", "TLSA", "3 1 1 aabb"),
    ("a.plain", "MX", "10 mx.plain"),
    ("mx.plain", "A", "127.0.0.1"),
    ("_25._tcp.mx.plain", "TLSA", "3 1 1 aabb"),
    ("inward.plain", "CNAME", "mx.test"),
];

fn resolver_of(server: &SignedDns, dnssec: Dnssec) -> Arc<Resolver> {
    let settings = Dns {
        servers: vec![server.address],
        timeout: relay_config::Duration::from_millis(300),
        dnssec,
        trust_anchors: vec![server.anchor.clone()],
    };
    let resolvers = Resolvers::new(Tls::new().unwrap(), Metrics::unread(), Arc::new(|| ()));
    resolvers.get(&settings).unwrap()
}

async fn resolver(dnssec: Dnssec) -> (Arc<Resolver>, SignedDns) {
    let server = SignedDns::start(RECORDS).await;
    if dnssec == Dnssec::TrustResolver {
        server.validate();
    }
    (resolver_of(&server, dnssec), server)
}

const PROVING: [Dnssec; 3] = [Dnssec::Auto, Dnssec::Validate, Dnssec::TrustResolver];

fn is_temporary<T>(result: &Result<T, ResolveError>) -> bool {
    matches!(result, Err(ResolveError::Temporary { .. }))
}

#[tokio::test]
async fn answers_of_a_signed_zone_are_proven_and_those_of_another_are_not() {
    for dnssec in PROVING {
        let (resolver, _server) = resolver(dnssec).await;
        let proves = async |domain| resolver.proves_exchangers(domain).await.unwrap();
        assert!(proves("a.test").await, "{dnssec:?}");
        assert!(!proves("a.plain").await, "{dnssec:?}");
        // Without exchangers there is only its address to prove.
        assert!(proves("bare.test").await, "{dnssec:?}");
        let found = resolver.exchangers("a.plain").await.unwrap();
        assert_eq!(found, [exchanger(10, "mx.plain")]);
    }
}

#[tokio::test]
async fn without_dnssec_nothing_is_proven() {
    let (resolver, _server) = resolver(Dnssec::Disabled).await;
    assert!(!resolver.proves_exchangers("a.test").await.unwrap());
    assert!(
        resolver
            .tlsa_bases("mx.test")
            .await
            .unwrap()
            .answer
            .is_empty()
    );
}

#[tokio::test]
async fn an_answer_that_should_be_signed_and_is_not_is_no_answer() {
    for dnssec in PROVING {
        let (resolver, _server) = resolver(dnssec).await;
        assert!(is_temporary(&resolver.exchangers("stripped.test").await));
        assert!(is_temporary(
            &resolver.proves_exchangers("stripped.test").await
        ));
        assert!(is_temporary(&resolver.addresses("mx.forged.test").await));
    }
}

#[tokio::test]
async fn m6_records_lie_where_proven_aliases_lead_to_and_then_at_the_host() {
    let rows: [(&str, &[&str]); 6] = [
        ("mx.test", &["mx.test"]),
        ("alias.test", &["mx.test", "alias.test"]),
        // The alias is proven, what it leads to is not (RFC 7672 section 2.2.2).
        ("outward.test", &["outward.test"]),
        ("inward.plain", &[]),
        ("mx.plain", &[]),
        ("missing.test", &[]),
    ];
    for dnssec in PROVING {
        let (resolver, _server) = resolver(dnssec).await;
        for (host, expected) in rows {
            let bases = resolver.tlsa_bases(host).await.unwrap().answer;
            assert_eq!(bases, expected, "{host} {dnssec:?}");
        }
    }
}

#[tokio::test]
async fn t15_t18_records_are_found_or_denied_or_unknown() {
    for dnssec in PROVING {
        let (resolver, _server) = resolver(dnssec).await;
        let found = resolver.tlsa("mx.test", 25).await.unwrap().answer;
        assert_eq!(found[0].cert_data, [0xaa, 0xbb], "{dnssec:?}");
        for absent in ["bare.test", "mx.plain"] {
            let found = resolver.tlsa(absent, 25).await.unwrap().answer;
            assert!(found.is_empty(), "{absent} {dnssec:?}");
        }
        for unknown in [
            "forged.test",
            "stripped.test",
            "servfail.test",
            "silent.test",
        ] {
            let found = resolver.tlsa(unknown, 25).await;
            assert!(is_temporary(&found), "{unknown} {dnssec:?}");
        }
    }
}

#[tokio::test]
async fn name_servers_that_strip_signatures_end_dane_and_not_delivery_unless_it_was_demanded() {
    let server = SignedDns::start(RECORDS).await;
    server.strip(true);
    let resolver = resolver_of(&server, Dnssec::Auto);
    let found = resolver.exchangers("a.test").await.unwrap();
    assert_eq!(found, [exchanger(10, "mx.test")]);
    assert!(!resolver.proves_exchangers("a.test").await.unwrap());
    let strict = resolver_of(&server, Dnssec::Validate);
    assert!(is_temporary(&strict.exchangers("a.test").await));
}

#[tokio::test]
async fn denials_are_kept_while_answers_are_validated() {
    let (resolver, server) = resolver(Dnssec::Validate).await;
    let mut counts = HashSet::new();
    for _ in 0..3 {
        assert!(
            resolver
                .tlsa("bare.test", 25)
                .await
                .unwrap()
                .answer
                .is_empty()
        );
        resolver.addresses("mx.test").await.unwrap();
        resolver.exchangers("bare.test").await.unwrap();
        counts.insert(server.queries());
    }
    assert_eq!(counts.len(), 1);
}

#[tokio::test]
async fn names_below_a_top_level_domain_that_the_root_denies_are_nobodys_to_sign() {
    // The zone is served, and the signed root above it does not know it.
    let server = SignedDns::start(&[("mx.stripped.cluster", "A", "127.0.0.1")]).await;
    let resolver = resolver_of(&server, Dnssec::Validate);
    assert!(is_temporary(
        &resolver.addresses("mx.stripped.cluster").await
    ));
    let text = "missing.stripped.nowhere";
    let missing = resolver.addresses(text).await;
    assert_eq!(missing, Err(ResolveError::NoSuchName(text.into())));
}

#[tokio::test]
async fn texts_are_whole() {
    let records: &[(&str, &str, &str)] = &[
        ("_mta-sts.a.test", "TXT", "v=STSv1; id=1"),
        ("b.test", "TXT", "v=spf1 -all"),
    ];
    let server = SignedDns::start(records).await;
    let resolver = resolver_of(&server, Dnssec::Auto);
    let texts = resolver.texts("_mta-sts.a.test").await.unwrap();
    assert_eq!(texts, ["v=STSv1; id=1"]);
    assert!(resolver.texts("_mta-sts.b.test").await.unwrap().is_empty());
}

#[tokio::test]
async fn trust_anchors_that_are_none_are_named() {
    assert!(check_anchors(&[". IN DNSKEY 257 3 13 AAAA".into()]).is_ok());
    let error = check_anchors(&["nonsense".into()]).unwrap_err();
    assert!(error.contains("dns.trustAnchors[0]: "), "{error}");
}

#[tokio::test]
async fn what_proves_answers_is_asked_for_once() {
    let (resolver, server) = resolver(Dnssec::Validate).await;
    assert!(resolver.proves_exchangers("a.test").await.unwrap());
    // The answer, and the key of the zone.
    let before = server.queries();
    for name in ["mx.test", "bare.test"] {
        resolver.addresses(name).await.unwrap();
    }
    // Two addresses of each.
    assert_eq!(server.queries() - before, 4, "{before} before");
}
