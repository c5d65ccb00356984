//! Name servers that mean no good decide no message's fate, and hold up no other message.

use std::time::Duration;

use hickory_resolver::proto::rr::RecordType;

use super::*;
use crate::delivery::testing::dns::data;
use crate::delivery::testing::lies::{LIES, Lie, cut, octets};
use crate::delivery::testing::raw::{Asked, RawDns, Said};

/// What is asked in vain.
#[derive(Clone, Copy, Debug)]
enum About {
    Everything,
    Addresses,
}

/// A relay, a server for `bad.test` and one for `good.test`, and the name server.
async fn relay_and_servers(
    tcp: bool,
    rule: impl Fn(&Asked) -> Said + Send + Sync + 'static,
) -> (Relay, Peer, Peer, RawDns) {
    let dns = RawDns::start(tcp, rule).await;
    let (first, second) = two_peers(Behaviour::default(), Behaviour::default()).await;
    let text = configuration(first.port(), Some(dns.address), "");
    let relay = Relay::start(&text.replace("timeout: 1s", "timeout: 300ms"));
    (relay, first, second, dns)
}

/// The truth: `bad.test` has an exchanger at 127.0.0.2, and `good.test` is at 127.0.0.3.
fn truth(asked: &Asked) -> Said {
    let records = match (asked.name().as_str(), asked.kind()) {
        ("bad.test", RecordType::MX) => vec![data("MX", "10 mx.bad.test")],
        ("mx.bad.test", RecordType::A) => vec![data("A", "127.0.0.2")],
        ("good.test", RecordType::A) => vec![data("A", "127.0.0.3")],
        _ => vec![],
    };
    let records = records.into_iter().map(|data| (asked.name(), data));
    octets(&asked.with(records))
}

fn says(about: About, lie: Lie) -> impl Fn(&Asked) -> Said {
    move |asked| {
        let lies = match about {
            About::Everything => true,
            About::Addresses => matches!(
                asked.kind(),
                RecordType::A | RecordType::AAAA | RecordType::CNAME
            ),
        };
        if lies && asked.name().ends_with("bad.test") {
            lie(asked)
        } else {
            truth(asked)
        }
    }
}

/// For whom a message waits, and after how many attempts.
fn left(relay: &Relay) -> Option<(String, u32)> {
    let queue = &relay.context.queue;
    let work = queue.take(Timestamp(u64::MAX), &mut |_| true)?;
    let recipient = work.envelope.recipients.first()?;
    Some((recipient.domain().into(), work.attempts))
}

#[tokio::test]
async fn whatever_a_name_server_says_its_message_waits_and_the_others_go_on() {
    let mut running = tokio::task::JoinSet::new();
    for (row, tcp, lie, _) in LIES {
        for about in [About::Everything, About::Addresses] {
            running.spawn(async move {
                let begun = Instant::now();
                let (relay, bad, good, dns) = relay_and_servers(*tcp, says(about, *lie)).await;
                relay.submit(SENDER, &["to@bad.test"], TEXT).await;
                relay.submit(None, &["to@good.test"], TEXT).await;
                good.received(1).await;
                relay.queued(1).await;
                relay.settled().await;
                // One fate: it was put off, once, and nobody has it or was told that it failed.
                let expected = Some(("bad.test".to_owned(), 1));
                assert_eq!(left(&relay), expected, "{row} {about:?}");
                assert_eq!(bad.connections(), 0, "{row} {about:?}");
                assert!(begun.elapsed() < Duration::from_secs(30), "{row} {about:?}");
                assert!(dns.queries() < 100, "{row} {about:?}: {}", dns.queries());
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
async fn of_thousands_of_exchangers_and_addresses_a_few_are_tried() {
    // Nobody is there, or each name has thousands of addresses where nobody is.
    for addresses in [1_u16, 2900] {
        let (relay, _, good, dns) = relay_and_servers(true, move |asked| {
            match (asked.name().as_str(), asked.kind()) {
                ("bad.test", RecordType::MX) => {
                    let hosts = (0..2900_u16).map(|number| {
                        let label = format!("m{number}");
                        let length = u8::try_from(label.len()).unwrap();
                        let start: &[&[u8]] = &[&number.to_be_bytes(), &[length], label.as_bytes()];
                        [&start.concat()[..], &[0xc0, 0x0c]].concat()
                    });
                    cut(asked, || asked.with_many(hosts))
                }
                (name, RecordType::A) if name.ends_with(".bad.test") => {
                    let dead = |number: u16| {
                        let [high, low] = number.to_be_bytes();
                        vec![127, 1, high, low]
                    };
                    cut(asked, || asked.with_many((0..addresses).map(dead)))
                }
                _ => truth(asked),
            }
        })
        .await;
        let begun = Instant::now();
        relay.submit(SENDER, &["to@bad.test"], TEXT).await;
        relay.submit(None, &["to@good.test"], TEXT).await;
        good.received(1).await;
        relay.queued(1).await;
        relay.settled().await;
        assert_eq!(left(&relay), Some(("bad.test".to_owned(), 1)));
        assert!(begun.elapsed() < Duration::from_secs(30));
        // Twelve addresses at most, and thus hosts: two kinds of each, over UDP and TCP; and the rest.
        assert!(dns.queries() < 12 * 4 + 12, "{} queries", dns.queries());
    }
}

#[tokio::test]
async fn a_policy_record_of_64_kilobytes_is_no_policy_and_the_mail_goes() {
    let (relay, bad, _, dns) = relay_and_servers(true, |asked| {
        if asked.name() == "_mta-sts.bad.test" {
            let string = [&[255][..], &[b'x'; 255]].concat();
            cut(asked, || asked.with_many([string.repeat(254)]))
        } else {
            truth(asked)
        }
    })
    .await;
    relay.finish(SENDER, &["to@bad.test"]).await;
    assert_eq!(bad.messages().len(), 1);
    assert!(dns.queries() < 20, "{} queries", dns.queries());
    relay.stop().await;
}
