mod hostile;
mod secure;

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::delivery::testing::dns::Dns as Server;

async fn resolver(records: &[(&str, &str, &str)]) -> (Arc<Resolver>, Server) {
    let server = Server::start(records).await;
    let settings = Dns {
        servers: vec![server.address],
        timeout: relay_config::Duration::from_millis(300),
        dnssec: Dnssec::Disabled,
        ..Dns::default()
    };
    let resolvers = Resolvers::new(Tls::new().unwrap(), Metrics::unread(), Arc::new(|| ()));
    (resolvers.get(&settings).unwrap(), server)
}

fn exchanger(preference: u16, host: &str) -> Exchanger {
    Exchanger {
        preference,
        host: host.into(),
    }
}

#[tokio::test]
async fn exchangers_come_by_preference_without_trailing_dots_m16() {
    let (resolver, _server) = resolver(&[
        ("a.test", "MX", "20 Second.test"),
        ("a.test", "MX", "10 first.test"),
    ])
    .await;
    let found = resolver.exchangers("a.test").await.unwrap();
    assert_eq!(
        found,
        [exchanger(10, "first.test"), exchanger(20, "second.test")]
    );
}

#[tokio::test]
async fn m1_without_mx_records_the_domain_is_its_own_exchanger() {
    let (resolver, _server) = resolver(&[
        ("four.test", "A", "192.0.2.1"),
        ("six.test", "AAAA", "2001:db8::1"),
    ])
    .await;
    for (domain, address) in [("four.test", "192.0.2.1"), ("six.test", "2001:db8::1")] {
        assert_eq!(
            resolver.exchangers(domain).await.unwrap(),
            [exchanger(0, domain)]
        );
        let expected: IpAddr = address.parse().unwrap();
        assert_eq!(resolver.addresses(domain).await.unwrap(), [expected]);
    }
}

#[tokio::test]
async fn m2_m7_no_answer_is_no_reason_to_fall_back_to_addresses() {
    let (resolver, _server) = resolver(&[
        ("silent.test", "A", "192.0.2.1"),
        ("servfail.test", "A", "192.0.2.1"),
    ])
    .await;
    for domain in ["silent.test", "servfail.test", "elsewhere.example"] {
        let error = resolver.exchangers(domain).await.unwrap_err();
        assert!(
            matches!(error, ResolveError::Temporary { .. }),
            "{domain}: {error}"
        );
        let error = resolver.addresses(domain).await.unwrap_err();
        assert!(
            matches!(error, ResolveError::Temporary { .. }),
            "{domain}: {error}"
        );
    }
}

#[tokio::test]
async fn m5_m6_aliases_are_followed() {
    let (resolver, _server) = resolver(&[
        ("alias.test", "CNAME", "real.test"),
        ("real.test", "MX", "10 mx.test"),
        ("mx.test", "CNAME", "host.test"),
        ("host.test", "A", "192.0.2.7"),
        ("lonely.test", "CNAME", "host.test"),
    ])
    .await;
    assert_eq!(
        resolver.exchangers("alias.test").await.unwrap(),
        [exchanger(10, "mx.test")]
    );
    let expected: IpAddr = "192.0.2.7".parse().unwrap();
    assert_eq!(resolver.addresses("mx.test").await.unwrap(), [expected]);
    assert_eq!(
        resolver.exchangers("lonely.test").await.unwrap(),
        [exchanger(0, "lonely.test")]
    );
}

#[tokio::test]
async fn null_exchangers_and_missing_names_are_told_apart() {
    let (resolver, _server) = resolver(&[
        ("null.test", "MX", "0 ."),
        ("mixed.test", "MX", "0 ."),
        ("mixed.test", "MX", "10 mx.test"),
        ("empty.test", "MX", "10 nothing.test"),
    ])
    .await;
    let null = resolver.exchangers("null.test").await.unwrap_err();
    assert_eq!(null, ResolveError::NullExchanger("null.test".into()));
    assert_eq!(
        resolver.exchangers("mixed.test").await.unwrap(),
        [exchanger(10, "mx.test")]
    );
    let missing = resolver.exchangers("missing.test").await.unwrap_err();
    assert_eq!(missing, ResolveError::NoSuchName("missing.test".into()));
    let missing = resolver.addresses("nothing.test").await.unwrap_err();
    assert_eq!(missing, ResolveError::NoSuchName("nothing.test".into()));
    let none = resolver.addresses("empty.test").await.unwrap_err();
    assert_eq!(none, ResolveError::NoRecords("empty.test".into()));
}

#[tokio::test]
async fn m14_both_families_come() {
    let (resolver, _server) = resolver(&[
        ("both.test", "AAAA", "2001:db8::1"),
        ("both.test", "A", "192.0.2.1"),
    ])
    .await;
    let found = resolver.addresses("both.test").await.unwrap();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["192.0.2.1", "2001:db8::1"]);
}

#[tokio::test]
async fn m11_localhost_is_an_address_of_this_machine() {
    let (resolver, _server) = resolver(&[("loop.test", "MX", "10 localhost")]).await;
    assert_eq!(
        resolver.exchangers("loop.test").await.unwrap(),
        [exchanger(10, "localhost")]
    );
    let addresses = resolver.addresses("localhost").await.unwrap();
    assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
}

#[tokio::test]
async fn answers_are_kept_and_names_are_absolute() {
    let (resolver, server) = resolver(&[("a.test", "MX", "10 mx.test")]).await;
    for _ in 0..3 {
        resolver.exchangers("a.test").await.unwrap();
        resolver.exchangers("missing.test").await.unwrap_err();
    }
    assert_eq!(server.queries(), 2);
}

#[tokio::test]
async fn resolvers_are_kept_until_their_settings_change() {
    let resolvers = Resolvers::new(Tls::new().unwrap(), Metrics::unread(), Arc::new(|| ()));
    let settings = |port: u16| Dns {
        servers: vec![([127, 0, 0, 1], port).into()],
        timeout: relay_config::Duration::from_secs(1),
        ..Dns::default()
    };
    let first = resolvers.get(&settings(1)).unwrap();
    assert!(Arc::ptr_eq(&first, &resolvers.get(&settings(1)).unwrap()));
    assert!(!Arc::ptr_eq(&first, &resolvers.get(&settings(2)).unwrap()));
}

#[tokio::test]
async fn m5_aliases_that_lead_round_end_in_bounded_time_and_the_mail_waits() {
    let (resolver, server) = resolver(&[
        ("round.test", "CNAME", "about.test"),
        ("about.test", "CNAME", "round.test"),
        ("self.test", "CNAME", "self.test"),
    ])
    .await;
    for name in ["round.test", "self.test"] {
        let before = server.queries();
        let found = resolver.exchangers(name).await;
        assert!(
            !matches!(&found, Err(error) if error.is_definite()),
            "{found:?}"
        );
        let found = resolver.addresses(name).await;
        assert!(found.is_err(), "{found:?}");
        assert!(
            server.queries() - before < 40,
            "{} queries",
            server.queries()
        );
    }
}

#[tokio::test]
async fn what_comes_from_the_cache_or_is_a_failure_is_no_answer_of_a_name_server() {
    let server = Server::start(&[("a.test", "MX", "10 mx.test")]).await;
    let settings = Dns {
        servers: vec![server.address],
        timeout: relay_config::Duration::from_millis(300),
        dnssec: Dnssec::Disabled,
        ..Dns::default()
    };
    let heard = Arc::<AtomicUsize>::default();
    let count = heard.clone();
    let tell: Heard = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let resolvers = Resolvers::new(Tls::new().unwrap(), Metrics::unread(), tell);
    let resolver = resolvers.get(&settings).unwrap();
    for _ in 0..3 {
        resolver.exchangers("a.test").await.unwrap();
        resolver.exchangers("missing.test").await.unwrap_err();
        resolver.exchangers("servfail.test").await.unwrap_err();
        resolver.exchangers("silent.test").await.unwrap_err();
    }
    assert_eq!(heard.load(Ordering::SeqCst), 2);
}
