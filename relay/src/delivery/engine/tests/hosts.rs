//! Which hosts are tried, and what their names and refusals lead to.

use super::*;

const TWO_HOSTS: Names<'static> = &[
    ("two.test", "MX", "10 first.test"),
    ("two.test", "MX", "20 second.test"),
    ("first.test", "A", "127.0.0.2"),
    ("second.test", "A", "127.0.0.3"),
];
const TO: &[&str] = &["to@two.test"];

#[tokio::test]
async fn b7_b9_a_host_that_refuses_the_session_leads_to_the_next() {
    for greeting in ["421 4.7.0 Try again later", "554 go away"] {
        let pair = Pair::start(TWO_HOSTS, refuses(greeting), Behaviour::default(), "").await;
        pair.relay.finish(None, TO).await;
        assert_eq!(pair.second.messages().len(), 1);
        let lines = pair.first.lines(0);
        assert!(!lines.iter().any(|line| line.starts_with("MAIL")));
        pair.relay.stop().await;
    }
}

#[tokio::test]
async fn b9_b13_only_when_all_hosts_refuse_for_good_is_it_for_good() {
    for (greeting, for_good) in [("521 no mail here", true), ("421 later", false)] {
        let pair = Pair::start(TWO_HOSTS, refuses("554 go away"), refuses(greeting), "").await;
        if for_good {
            pair.relay.finish(None, TO).await;
        } else {
            assert_eq!(pair.relay.defer(None, TO).await, 1);
        }
        let connections = (pair.first.connections(), pair.second.connections());
        assert_eq!(connections, (1, 1));
        pair.relay.stop().await;
    }
}

#[tokio::test]
async fn b27_a_lost_reply_to_the_content_is_retried_and_not_at_the_next_host() {
    let closes = rule(|_, line| (line == "content").then_some(Answer::Close));
    let pair = Pair::start(TWO_HOSTS, closes, Behaviour::default(), "").await;
    assert_eq!(pair.relay.defer(None, TO).await, 1);
    assert_eq!(pair.second.connections(), 0);
    pair.relay.stop().await;
}

/// A relay with one peer, at 127.0.0.1, and the names of a zone.
async fn relay_peer_and_names(names: Names<'_>) -> (Relay, Peer, Dns) {
    let dns = Dns::start(names).await;
    let peer = Peer::start(Behaviour::default()).await;
    let relay = Relay::start(&configuration(peer.port(), Some(dns.address), ""));
    (relay, peer, dns)
}

#[tokio::test]
async fn m8_m14_hosts_without_addresses_and_addresses_that_do_not_answer_are_skipped() {
    let (relay, peer, _dns) = relay_peer_and_names(&[
        ("a.test", "MX", "5 missing.test"),
        ("a.test", "MX", "7 dead.test"),
        ("dead.test", "A", "127.0.0.9"),
        ("a.test", "MX", "10 mx.test"),
        ("mx.test", "A", "127.0.0.9"),
        ("mx.test", "A", "127.0.0.1"),
    ])
    .await;
    relay.finish(None, &["to@a.test"]).await;
    assert_eq!(peer.messages().len(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn a_domain_with_a_hundred_hosts_that_do_not_answer_costs_bounded_time() {
    let hosts: Vec<_> = (0..100)
        .map(|number| format!("{number} servfail{number}.test"))
        .collect();
    let mut names: Vec<_> = hosts
        .iter()
        .map(|host| ("many.test", "MX", host.as_str()))
        .collect();
    names.push(("many.test", "MX", "200 mx.test"));
    names.push(("mx.test", "A", "127.0.0.1"));
    let (relay, peer, dns) = relay_peer_and_names(&names).await;
    assert_eq!(relay.defer(None, &["to@many.test"]).await, 1);
    assert_eq!(peer.connections(), 0);
    // Two types for each name, each asked twice at most; and what the domain itself costs.
    assert!(dns.queries() < 12 * 4 + 10, "{} queries", dns.queries());
    relay.stop().await;
}

#[tokio::test]
async fn m11_a_domain_whose_exchanger_is_this_machine_fails_for_good_and_without_a_loop() {
    let dns = Dns::start(&[
        ("loop.test", "MX", "10 localhost"),
        ("zero.test", "A", "0.0.0.0"),
    ])
    .await;
    let peer = Peer::start(Behaviour::default()).await;
    let text = configuration(peer.port(), Some(dns.address), "");
    let relay = Relay::start(&text.replace("127.0.0.0/8", "127.0.0.77/32"));
    for to in ["to@loop.test", "to@zero.test", "to@[127.0.0.1]"] {
        relay.finish(None, &[to]).await;
    }
    assert_eq!(peer.connections(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn m1_m2_m7_names_that_are_gone_fail_and_names_without_answer_wait() {
    let names = &[("null.test", "MX", "0 ."), ("plain.test", "A", "127.0.0.1")];
    let (relay, peer, _dns) = relay_peer_and_names(names).await;
    for to in ["a@null.test", "a@missing.test", "a@plain.test"] {
        relay.submit(None, &[to], TEXT).await;
    }
    relay.queued(0).await;
    assert_eq!(peer.messages().len(), 1);
    relay.defer(None, &["a@servfail.test"]).await;
    assert_eq!(relay.defer(None, &["a@silent.test"]).await, 2);
    relay.stop().await;
}
