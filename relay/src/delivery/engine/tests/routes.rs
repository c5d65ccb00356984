//! Which way mail takes: by routes, to smarthosts in their order, and by SRV records.

use relay_queue::Options;

use super::*;

/// A relay with a peer at 127.0.0.2 and one at 127.0.0.3, and settings made of their port.
async fn routed(names: Names<'_>, first: Behaviour, delivery: impl Fn(u16) -> String) -> Pair {
    let (first, second) = two_peers(first, Behaviour::default()).await;
    let port = first.port();
    let names: Vec<(&str, &str, String)> = names
        .iter()
        .map(|(name, kind, data)| (*name, *kind, data.replace("PORT", &port.to_string())))
        .collect();
    let names: Vec<_> = names
        .iter()
        .map(|(name, kind, data)| (*name, *kind, data.as_str()))
        .collect();
    let dns = Dns::start(&names).await;
    let text = configuration(port, Some(dns.address), &delivery(port));
    Pair {
        relay: Relay::start(&text),
        first,
        second,
        dns,
    }
}

fn tagged(tag: &str) -> Options {
    Options {
        tag: Some(tag.into()),
        ..Options::default()
    }
}

#[tokio::test]
async fn recipients_of_one_message_go_by_their_own_routes() {
    let pair = routed(TWO_DOMAINS, Behaviour::default(), |port| {
        format!(
            "routes: [{{name: partner, recipientDomains: ['*.partner.test', partner.test], \
             smarthosts: [{{host: 127.0.0.3, port: {port}, tls: None}}]}}]"
        )
    })
    .await;
    let to = ["a@partner.test", "b@one.test", "c@x.partner.test"];
    pair.relay.finish(None, &to).await;
    assert_eq!(recipients(&pair.first), [1]);
    assert_eq!(recipients(&pair.second), [2]);
    pair.relay.stop().await;
}

#[tokio::test]
async fn a_route_by_mx_host_takes_the_domains_that_the_host_serves() {
    let names = &[
        ("one.test", "MX", "10 in.big.test"),
        ("two.test", "MX", "10 in.small.test"),
        ("in.big.test", "A", "127.0.0.2"),
        ("in.small.test", "A", "127.0.0.2"),
    ];
    let pair = routed(names, Behaviour::default(), |port| {
        format!(
            "routes: [{{name: big, mxSuffixes: [big.test], \
             smarthosts: [{{host: 127.0.0.3, port: {port}, tls: None}}]}}]"
        )
    })
    .await;
    let to = ["a@one.test", "b@two.test", "c@one.test"];
    pair.relay.finish(None, &to).await;
    assert_eq!(recipients(&pair.first), [1]);
    assert_eq!(recipients(&pair.second), [2]);
    // Which route it is cannot be known, so none is taken.
    assert_eq!(pair.relay.defer(None, &["a@servfail.test"]).await, 1);
    assert_eq!(pair.first.connections() + pair.second.connections(), 2);
    pair.relay.stop().await;
}

#[tokio::test]
async fn a_domain_whose_exchangers_are_not_known_goes_by_no_route_and_one_that_is_not_there_by_the_default()
 {
    let pair = routed(&[], Behaviour::default(), |port| {
        format!(
            "routes: [{{name: big, mxSuffixes: [big.test]}}], \
             smarthosts: [{{host: 127.0.0.3, port: {port}, tls: None}}]"
        )
    })
    .await;
    pair.relay.finish(None, &["a@missing.test"]).await;
    assert_eq!(recipients(&pair.second), [1]);
    assert_eq!(pair.relay.defer(None, &["a@servfail.test"]).await, 1);
    assert_eq!(recipients(&pair.second), [1]);
    pair.relay.stop().await;
}

#[tokio::test]
async fn a_smarthost_that_dns_does_not_know_is_a_mistake_that_passes_and_the_mail_waits() {
    let pair = routed(&[], Behaviour::default(), |port| {
        format!("smarthosts: [{{host: missing.test, port: {port}, tls: None}}]")
    })
    .await;
    assert_eq!(pair.relay.defer(None, &["a@one.test"]).await, 1);
    pair.relay.stop().await;
}

#[tokio::test]
async fn a_smarthost_may_lie_where_mail_exchangers_may_not() {
    let peer = Peer::start(Behaviour::default()).await;
    let smarthost = format!(
        "smarthosts: [{{host: 127.0.0.1, port: {}, tls: None}}]",
        peer.port()
    );
    let text = configuration(25, None, &smarthost).replace("127.0.0.0/8", "127.0.0.77/32");
    let relay = Relay::start(&text);
    relay.finish(None, &["a@one.test"]).await;
    assert_eq!(peer.messages().len(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn a_domain_whose_name_servers_fail_is_left_alone_for_a_while() {
    let pair = routed(&[], Behaviour::default(), |_| "retry: {initial: 1h}".into()).await;
    assert_eq!(pair.relay.defer(None, &["a@servfail.test"]).await, 1);
    let queries = pair.dns.queries();
    assert!(queries > 0);
    assert_eq!(pair.relay.defer(None, &["b@servfail.test"]).await, 2);
    assert_eq!(pair.dns.queries(), queries);
    pair.relay.stop().await;
}

#[tokio::test]
async fn messages_of_different_routes_share_no_connection() {
    let names = &[("one.test", "A", "127.0.0.2")];
    let pair = routed(names, Behaviour::default(), |_| {
        "routes: [{name: bulk, tags: [bulk]}], idleTimeout: 1m".into()
    })
    .await;
    let to: &[&str] = &["a@one.test"];
    for options in [Options::default(), tagged("bulk"), Options::default()] {
        pair.relay.submit_asking(options, None, to, TEXT).await;
        pair.relay.queued(0).await;
    }
    assert_eq!(pair.first.messages().len(), 3);
    assert_eq!(pair.first.connections(), 2);
    pair.relay.stop().await;
}

#[tokio::test]
async fn a_connection_of_a_route_that_is_gone_is_not_used_for_another() {
    let names = &[
        ("one.test", "A", "127.0.0.2"),
        ("two.test", "A", "127.0.0.3"),
    ];
    let pair = routed(names, Behaviour::default(), |port| {
        format!("smarthosts: [{{host: 127.0.0.2, port: {port}, tls: None}}], idleTimeout: 1m")
    })
    .await;
    pair.relay.finish(None, &["a@one.test"]).await;
    let without = configuration(pair.first.port(), Some(pair.dns.address), "idleTimeout: 1m");
    pair.relay.reconfigure(&without);
    for to in ["b@two.test", "c@one.test", "d@two.test"] {
        pair.relay.finish(None, &[to]).await;
    }
    assert_eq!(recipients(&pair.first), [1, 1]);
    assert_eq!(recipients(&pair.second), [1, 1]);
    pair.relay.stop().await;
}

#[tokio::test]
async fn smarthosts_are_tried_by_priority_and_the_next_when_one_is_at_fault() {
    for greeting in ["421 later", "554 go away"] {
        let pair = routed(&[], refuses(greeting), |port| {
            format!(
                "smarthosts: [{{host: 127.0.0.3, port: {port}, tls: None, priority: 20}}, \
                 {{host: missing.test, port: {port}, tls: None, priority: 5}}, \
                 {{host: 127.0.0.2, port: {port}, tls: None, priority: 10}}]"
            )
        })
        .await;
        pair.relay.finish(None, &["a@one.test"]).await;
        assert_eq!(pair.first.connections(), 1);
        assert_eq!(recipients(&pair.second), [1]);
        pair.relay.stop().await;
    }
}

#[tokio::test]
async fn what_a_smarthost_says_of_a_recipient_is_not_asked_of_the_next() {
    let pair = routed(&[], says("RCPT", "550 5.1.1 no such user"), |port| {
        format!(
            "smarthosts: [{{host: 127.0.0.2, port: {port}, tls: None}}, \
             {{host: 127.0.0.3, port: {port}, tls: None}}]"
        )
    })
    .await;
    pair.relay.finish(None, &["a@one.test"]).await;
    assert_eq!(pair.second.connections(), 0);
    pair.relay.stop().await;
}

#[tokio::test]
async fn srv_records_name_the_servers_of_a_smarthost() {
    let srv = &[
        ("_submission._tcp.mail.test", "SRV", "20 1 PORT second.test"),
        ("_submission._tcp.mail.test", "SRV", "10 1 PORT first.test"),
        ("first.test", "A", "127.0.0.2"),
        ("second.test", "A", "127.0.0.3"),
    ];
    let none = &[
        ("_submission._tcp.mail.test", "SRV", "0 0 0 ."),
        ("mail.test", "A", "127.0.0.3"),
    ];
    let absent = &[("mail.test", "A", "127.0.0.3")];
    let rows: [(Names<'_>, usize, bool); 3] = [(srv, 1, true), (none, 0, false), (absent, 0, true)];
    for (names, first, delivered) in rows {
        let pair = routed(names, refuses("421 later"), |port| {
            format!("smarthosts: [{{host: mail.test, port: {port}, tls: None, lookup: Srv}}]")
        })
        .await;
        if delivered {
            pair.relay.finish(None, &["a@one.test"]).await;
            assert_eq!(recipients(&pair.second), [1]);
        } else {
            assert_eq!(pair.relay.defer(None, &["a@one.test"]).await, 1);
            assert_eq!(pair.second.connections(), 0);
        }
        assert_eq!(pair.first.connections(), first);
        pair.relay.stop().await;
    }
}

#[tokio::test]
async fn address_literals_are_delivered_or_refused_as_the_policy_says() {
    for (policy, messages) in [("Deliver", 1), ("Refuse", 0)] {
        let delivery = format!("addressLiterals: {policy}");
        let (relay, peer) = relay_and_peer(Behaviour::default(), &delivery).await;
        relay.finish(None, &["a@[127.0.0.1]"]).await;
        assert_eq!(peer.messages().len(), messages, "{policy}");
        assert_eq!(peer.connections(), messages, "{policy}");
        relay.stop().await;
    }
}
