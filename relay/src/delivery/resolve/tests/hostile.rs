//! Name servers that mean no good: each of their answers costs bounded time and few queries, is no
//! answer, and says why.

use super::*;
use crate::delivery::testing::dns::data;
use crate::delivery::testing::lies::{LIES, cut, octets};
use crate::delivery::testing::raw::{Asked, RawDns, Said};

/// For one query.
const LIMIT: relay_config::Duration = relay_config::Duration::from_millis(300);
/// No lookup takes longer: eight times that, for the exchangers, and twice for addresses, whose aliases
/// are looked at when there are none; and as much again for a machine that does much else.
const BOUND: std::time::Duration = std::time::Duration::from_secs(15);

async fn resolver_of(
    tcp: bool,
    dnssec: Dnssec,
    rule: impl Fn(&Asked) -> Said + Send + Sync + 'static,
) -> (Arc<Resolver>, RawDns) {
    let server = RawDns::start(tcp, rule).await;
    let settings = Dns {
        servers: vec![server.address],
        timeout: LIMIT,
        dnssec,
        ..Dns::default()
    };
    let resolvers = Resolvers::new(Tls::new().unwrap(), Metrics::unread(), Arc::new(|| ()));
    (resolvers.get(&settings).unwrap(), server)
}

#[tokio::test]
async fn what_is_no_answer_is_none_in_bounded_time_and_says_why() {
    let mut running = tokio::task::JoinSet::new();
    for (row, tcp, lie, reason) in LIES {
        for dnssec in [Dnssec::Disabled, Dnssec::TrustResolver, Dnssec::Validate] {
            running.spawn(async move {
                let (resolver, server) = resolver_of(*tcp, dnssec, lie).await;
                let begun = tokio::time::Instant::now();
                let exchangers = resolver.exchangers("bad.test").await;
                // No exchangers means to try the domain itself, whose addresses are then asked for.
                let error = match exchangers {
                    Err(error) => error,
                    Ok(found) => {
                        assert_eq!(found, [exchanger(0, "bad.test")], "{row} {dnssec:?}");
                        resolver.addresses("bad.test").await.unwrap_err()
                    }
                };
                assert!(!error.is_definite(), "{row} {dnssec:?}: {error}");
                let why = error.to_string();
                if dnssec == Dnssec::Disabled {
                    assert!(why.contains(reason), "{row}: {why}");
                }
                assert!(
                    begun.elapsed() < BOUND,
                    "{row} {dnssec:?}: {:?}",
                    begun.elapsed()
                );
                assert!(
                    server.queries() < 60,
                    "{row} {dnssec:?}: {}",
                    server.queries()
                );
            });
        }
    }
    let mut wrong = Vec::new();
    while let Some(ended) = running.join_next().await {
        wrong.extend(ended.err());
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn of_thousands_of_exchangers_the_first_count() {
    let (resolver, server) = resolver_of(true, Dnssec::Disabled, |asked| {
        let hosts = (0..2900_u16).map(|number| {
            let label = format!("m{number}");
            let mut data = number.to_be_bytes().to_vec();
            data.push(u8::try_from(label.len()).unwrap());
            data.extend(label.as_bytes());
            data.extend([0xc0, 0x0c]);
            data
        });
        cut(asked, || asked.with_many(hosts))
    })
    .await;
    let found = resolver.exchangers("bad.test").await.unwrap();
    let expected: Vec<_> = (0..50)
        .map(|number| exchanger(number, &format!("m{number}.bad.test")))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(server.queries(), 2);
}

#[tokio::test]
async fn a_text_of_64_kilobytes_is_cut_and_thousands_of_texts_are_not_read() {
    let (resolver, _server) = resolver_of(true, Dnssec::Disabled, |asked| {
        let string = |text: &str| {
            let length = u8::try_from(text.len()).unwrap();
            [&[length], text.as_bytes()].concat()
        };
        let texts = match asked.name().as_str() {
            "_mta-sts.long.test" => vec![string(&"x".repeat(255)).repeat(254)],
            _ => vec![string("v=STSv1; id=1;"); 2000],
        };
        cut(asked, || asked.with_many(texts))
    })
    .await;
    let long = resolver.texts("_mta-sts.long.test").await.unwrap();
    assert_eq!(long.len(), 1);
    assert_eq!(long[0].len(), 1024);
    let many = resolver.texts("_mta-sts.many.test").await.unwrap();
    assert_eq!(many.len(), 32);
}

#[tokio::test]
async fn what_stands_beside_the_answer_is_left_out() {
    let (resolver, _server) = resolver_of(true, Dnssec::Disabled, |asked| {
        let mut records = vec![("other.test".to_owned(), data("MX", "1 evil.test"))];
        records.extend([
            (asked.name(), data("CNAME", "real.test")),
            ("real.test".into(), data("MX", "10 mx.test")),
            ("real.test".into(), data("A", "127.0.0.66")),
        ]);
        octets(&asked.with(records))
    })
    .await;
    let found = resolver.exchangers("alias.test").await.unwrap();
    assert_eq!(found, [exchanger(10, "mx.test")]);
}
