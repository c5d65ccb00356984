use super::*;
use crate::delivery::testing::dns::Dns;
use crate::delivery::testing::peer::{Answer, Behaviour, Peer, Tls as PeerTls};
use crate::delivery::testing::{Relay, configuration, tls_server};

const TEXT: &str = "Subject: hello\r\nFrom: shop@from.example\r\n\r\nhello\r\n";
const SENDER: Option<&str> = Some("shop@[127.0.0.1]");

fn rule(behave: impl Fn(usize, &str) -> Option<Answer> + Send + Sync + 'static) -> Behaviour {
    Behaviour {
        rule: Box::new(behave),
        ..Behaviour::default()
    }
}

/// A relay whose mail for `[127.0.0.1]` goes to a peer.
async fn relay_and_peer(behaviour: Behaviour, delivery: &str) -> (Relay, Peer) {
    let peer = Peer::start(behaviour).await;
    let relay = Relay::start(&configuration(peer.port(), None, delivery));
    (relay, peer)
}

/// A relay that asks a DNS server.
fn relay_with(dns: &Dns, port: u16) -> Relay {
    Relay::start(&configuration(port, Some(dns.address), ""))
}

/// Two peers on the same port of different addresses.
async fn two_peers(first: Behaviour, second: Behaviour) -> (Peer, Peer) {
    for _ in 0..20 {
        let peer = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
        let port = peer.local_addr().unwrap().port();
        if std::net::TcpListener::bind(("127.0.0.2", port)).is_ok() {
            drop(peer);
            return (
                Peer::start_at(&format!("127.0.0.2:{port}"), first).await,
                Peer::start_at(&format!("127.0.0.3:{port}"), second).await,
            );
        }
    }
    panic!("no port is free on both addresses");
}

const TWO_HOSTS: &[(&str, &str, &str)] = &[
    ("two.test", "MX", "10 first.test"),
    ("two.test", "MX", "20 second.test"),
    ("first.test", "A", "127.0.0.2"),
    ("second.test", "A", "127.0.0.3"),
];

#[tokio::test]
async fn a_message_is_delivered_once_with_its_envelope() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    relay
        .submit(Some("a@from.example"), &["to@[127.0.0.1]"], TEXT)
        .await;
    relay.queued(0).await;
    let messages = peer.received(1).await;
    assert_eq!(messages[0].mail, "MAIL FROM:<a@from.example>");
    assert_eq!(messages[0].recipients, ["RCPT TO:<to@[127.0.0.1]>"]);
    assert_eq!(messages[0].content, TEXT);
    relay.stop().await;
    assert_eq!(peer.messages().len(), 1);
}

#[tokio::test]
async fn b1_b16_the_refused_is_reported_the_deferred_waits_and_the_taken_is_done() {
    let (relay, peer) = relay_and_peer(
        rule(|_, line| match line {
            _ if line.contains("<bad@") => Some(Answer::Say("550 5.1.1 no such user")),
            _ if line.contains("<busy@") => Some(Answer::Say("450 4.2.1 busy")),
            _ => None,
        }),
        "",
    )
    .await;
    let to = ["good@[127.0.0.1]", "bad@[127.0.0.1]", "busy@[127.0.0.1]"];
    relay.submit(SENDER, &to, TEXT).await;
    let messages = peer.received(2).await;
    assert_eq!(messages[0].recipients, ["RCPT TO:<good@[127.0.0.1]>"]);
    // The report.
    assert_eq!(messages[1].mail, "MAIL FROM:<>");
    assert_eq!(messages[1].recipients, ["RCPT TO:<shop@[127.0.0.1]>"]);
    assert!(
        messages[1]
            .content
            .contains("Diagnostic-Code: smtp; 550 5.1.1 no such user")
    );
    assert!(!messages[1].content.contains("busy@"));
    relay.queued(1).await;
    let due = relay.context.queue.next_due().unwrap();
    let wait = due.0 - now().0;
    assert!((40_000..73_000).contains(&wait), "{wait}");
    relay.stop().await;
}

#[tokio::test]
async fn b3_nothing_counts_as_delivered_when_all_recipients_are_refused() {
    let (relay, peer) = relay_and_peer(
        rule(|_, line| match line {
            _ if line.starts_with("RCPT TO:<to@") => Some(Answer::Say("550 no")),
            "DATA" => Some(Answer::Say("354 go")),
            _ => None,
        }),
        "",
    )
    .await;
    relay.submit(None, &["to@[127.0.0.1]"], TEXT).await;
    relay.queued(0).await;
    assert!(peer.messages().is_empty());
    relay.stop().await;
}

#[tokio::test]
async fn b4_recipients_beyond_the_server_s_limit_follow_at_once() {
    let taken = std::sync::Mutex::new(0);
    let (relay, peer) = relay_and_peer(
        rule(move |_, line| {
            let mut taken = taken.lock().unwrap();
            if line.starts_with("MAIL") {
                *taken = 0;
            }
            if line.starts_with("RCPT") {
                *taken += 1;
                if *taken > 2 {
                    return Some(Answer::Say("452 4.5.3 too many recipients"));
                }
            }
            None
        }),
        "",
    )
    .await;
    let to: Vec<String> = (0..5)
        .map(|number| format!("r{number}@[127.0.0.1]"))
        .collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    relay.submit(SENDER, &to, TEXT).await;
    relay.queued(0).await;
    let messages = peer.messages();
    let counts: Vec<usize> = messages
        .iter()
        .map(|message| message.recipients.len())
        .collect();
    assert_eq!(counts, [2, 2, 1]);
    assert_eq!(peer.connections(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn many_recipients_go_in_several_transactions_of_one_connection() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    let to: Vec<String> = (0..250)
        .map(|number| format!("r{number}@[127.0.0.1]"))
        .collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    relay.submit(SENDER, &to, TEXT).await;
    relay.queued(0).await;
    let messages = peer.messages();
    let counts: Vec<usize> = messages
        .iter()
        .map(|message| message.recipients.len())
        .collect();
    assert_eq!(counts, [100, 100, 50]);
    assert_eq!(peer.connections(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn b6_a_refusal_at_the_end_gives_one_report_naming_all() {
    let (relay, peer) = relay_and_peer(
        rule(|connection, line| {
            (connection == 0 && line == "content").then_some(Answer::Say("550 5.7.1 spam"))
        }),
        "messagesPerConnection: 1",
    )
    .await;
    relay
        .submit(SENDER, &["a@[127.0.0.1]", "b@[127.0.0.1]"], TEXT)
        .await;
    let messages = peer.received(1).await;
    relay.queued(0).await;
    assert!(
        messages[0]
            .content
            .contains("Final-Recipient: rfc822; a@[127.0.0.1]")
    );
    assert!(
        messages[0]
            .content
            .contains("Final-Recipient: rfc822; b@[127.0.0.1]")
    );
    assert!(
        messages[0]
            .content
            .contains("said in reply to the end of the message:")
    );
    assert_eq!(peer.messages().len(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn b7_b9_a_host_that_refuses_the_session_leads_to_the_next() {
    for greeting in ["421 4.7.0 Try again later", "554 go away"] {
        let dns = Dns::start(TWO_HOSTS).await;
        let (first, second) = two_peers(
            rule(move |_, line| (line == "connect").then_some(Answer::SayAndClose(greeting))),
            Behaviour::default(),
        )
        .await;
        let relay = relay_with(&dns, first.port());
        relay.submit(None, &["to@two.test"], TEXT).await;
        relay.queued(0).await;
        assert_eq!(second.messages().len(), 1);
        assert!(!first.lines(0).iter().any(|line| line.starts_with("MAIL")));
        relay.stop().await;
    }
}

#[tokio::test]
async fn b9_b13_only_when_all_hosts_refuse_for_good_is_it_for_good() {
    for (second_greeting, queued) in [("521 no mail here", 0), ("421 later", 1)] {
        let dns = Dns::start(TWO_HOSTS).await;
        let refuse = |greeting| {
            rule(move |_, line| (line == "connect").then_some(Answer::SayAndClose(greeting)))
        };
        let (first, second) = two_peers(refuse("554 go away"), refuse(second_greeting)).await;
        let relay = relay_with(&dns, first.port());
        relay.submit(None, &["to@two.test"], TEXT).await;
        if queued == 0 {
            relay.queued(0).await;
        } else {
            relay.settled().await;
        }
        assert_eq!(relay.context.queue.status().0, queued);
        assert_eq!((first.connections(), second.connections()), (1, 1));
        relay.stop().await;
    }
}

#[tokio::test]
async fn b8_b30_a_stale_connection_is_replaced_at_once() {
    for stale in [
        (|| Answer::SayAndClose("421 4.4.2 idle too long")) as fn() -> Answer,
        || Answer::Say("503 5.5.1 what"),
        || Answer::Close,
    ] {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let (relay, peer) = relay_and_peer(
            rule(move |connection, line| {
                let mail = connection == 0 && line.starts_with("MAIL");
                let second = mail && count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0;
                second.then(stale)
            }),
            "",
        )
        .await;
        relay.submit(None, &["a@[127.0.0.1]"], TEXT).await;
        relay.queued(0).await;
        relay.submit(None, &["b@[127.0.0.1]"], TEXT).await;
        relay.queued(0).await;
        assert_eq!(peer.connections(), 2);
        assert_eq!(peer.messages().len(), 2);
        relay.stop().await;
    }
}

#[tokio::test]
async fn connections_are_reused_up_to_their_limit() {
    let (relay, peer) = relay_and_peer(
        Behaviour::default(),
        "messagesPerConnection: 3, connectionsPerDestination: 1",
    )
    .await;
    for number in 0..7 {
        relay
            .submit(None, &[&format!("r{number}@[127.0.0.1]")], TEXT)
            .await;
    }
    relay.queued(0).await;
    assert_eq!(peer.messages().len(), 7);
    assert_eq!(peer.connections(), 3);
    relay.stop().await;
}

#[tokio::test]
async fn idle_connections_make_room_for_those_in_use() {
    let dns = Dns::start(&[
        ("one.test", "A", "127.0.0.2"),
        ("two.test", "A", "127.0.0.3"),
    ])
    .await;
    let (first, second) = two_peers(Behaviour::default(), Behaviour::default()).await;
    let relay = Relay::start(&configuration(
        first.port(),
        Some(dns.address),
        "connections: 1, idleTimeout: 1h",
    ));
    for to in ["a@one.test", "a@two.test", "a@one.test"] {
        relay.submit(None, &[to], TEXT).await;
        relay.queued(0).await;
    }
    // The second destination's connection took the place of the first's.
    assert_eq!((first.connections(), second.connections()), (2, 1));
    assert_eq!(first.lines(0).last().unwrap(), "QUIT");
    relay.stop().await;
}

#[tokio::test]
async fn m17_a_changed_configuration_does_not_reuse_connections() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    relay.submit(None, &["a@[127.0.0.1]"], TEXT).await;
    relay.queued(0).await;
    let directory = tempfile::tempdir().unwrap();
    let changed = configuration(peer.port(), None, "connections: 7");
    let other = crate::context::Context::for_test(&changed, directory.path());
    relay.context.snapshot.store(other.snapshot.load_full());
    relay.submit(None, &["b@[127.0.0.1]"], TEXT).await;
    relay.queued(0).await;
    assert_eq!(peer.connections(), 2);
    relay.stop().await;
}

#[tokio::test]
async fn b18_a_message_older_than_the_limit_is_reported_after_its_attempt() {
    let (relay, peer) = relay_and_peer(
        rule(|_, line| {
            line.starts_with("RCPT TO:<busy@")
                .then_some(Answer::Say("450 4.2.0 greylisted"))
        }),
        "retry: {initial: 1ms, maximum: 1ms, expireAfter: 1ms}",
    )
    .await;
    relay.submit(SENDER, &["busy@[127.0.0.1]"], TEXT).await;
    let messages = peer.received(1).await;
    relay.queued(0).await;
    assert!(messages[0].content.contains("Status: 4.4.7"));
    assert!(messages[0].content.contains("450 4.2.0 greylisted"));
    relay.stop().await;
}

#[tokio::test]
async fn a_deferred_message_is_tried_again_when_it_is_due() {
    let (relay, peer) = relay_and_peer(
        rule(|connection, line| {
            (connection == 0 && line == "connect").then_some(Answer::SayAndClose("421 not yet"))
        }),
        "retry: {initial: 50ms, maximum: 50ms, expireAfter: 1h}",
    )
    .await;
    relay.submit(None, &["to@[127.0.0.1]"], TEXT).await;
    peer.received(1).await;
    relay.queued(0).await;
    assert_eq!(peer.connections(), 2);
    relay.stop().await;
}

#[tokio::test]
async fn b24_a_failed_message_without_return_path_is_not_reported() {
    let (relay, peer) = relay_and_peer(
        rule(|_, line| line.starts_with("RCPT").then_some(Answer::Say("550 no"))),
        "",
    )
    .await;
    relay.submit(None, &["to@[127.0.0.1]"], TEXT).await;
    relay.queued(0).await;
    assert_eq!(
        peer.lines(0)
            .iter()
            .filter(|line| line.starts_with("MAIL"))
            .count(),
        1
    );
    relay.stop().await;
}

#[tokio::test]
async fn b27_a_lost_reply_to_the_content_is_retried_and_not_at_the_next_host() {
    let dns = Dns::start(TWO_HOSTS).await;
    let (first, second) = two_peers(
        rule(|_, line| (line == "content").then_some(Answer::Close)),
        Behaviour::default(),
    )
    .await;
    let relay = relay_with(&dns, first.port());
    relay.submit(None, &["to@two.test"], TEXT).await;
    relay.settled().await;
    assert_eq!(relay.context.queue.status().0, 1);
    assert_eq!(second.connections(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn m8_m14_hosts_without_addresses_and_addresses_that_do_not_answer_are_skipped() {
    let dns = Dns::start(&[
        ("a.test", "MX", "5 missing.test"),
        ("a.test", "MX", "7 dead.test"),
        ("dead.test", "A", "127.0.0.9"),
        ("a.test", "MX", "10 mx.test"),
        ("mx.test", "A", "127.0.0.9"),
        ("mx.test", "A", "127.0.0.1"),
    ])
    .await;
    let peer = Peer::start(Behaviour::default()).await;
    let relay = relay_with(&dns, peer.port());
    relay.submit(None, &["to@a.test"], TEXT).await;
    relay.queued(0).await;
    assert_eq!(peer.messages().len(), 1);
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
    let text =
        configuration(peer.port(), Some(dns.address), "").replace("127.0.0.0/8", "127.0.0.77/32");
    let relay = Relay::start(&text);
    for to in ["to@loop.test", "to@zero.test", "to@[127.0.0.1]"] {
        relay.submit(None, &[to], TEXT).await;
        relay.queued(0).await;
    }
    assert_eq!(peer.connections(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn m1_m2_m7_names_that_are_gone_fail_and_names_without_answer_wait() {
    let dns = Dns::start(&[("null.test", "MX", "0 ."), ("plain.test", "A", "127.0.0.1")]).await;
    let peer = Peer::start(Behaviour::default()).await;
    let relay = relay_with(&dns, peer.port());
    for to in ["a@null.test", "a@missing.test", "a@plain.test"] {
        relay.submit(None, &[to], TEXT).await;
    }
    relay.queued(0).await;
    assert_eq!(peer.messages().len(), 1);
    for to in ["a@servfail.test", "a@silent.test"] {
        relay.submit(None, &[to], TEXT).await;
        relay.settled().await;
    }
    assert_eq!(relay.context.queue.status().0, 2);
    relay.stop().await;
}

#[tokio::test]
async fn a_smarthost_takes_all_mail_and_a_wrong_password_makes_it_wait() {
    let (server, pem) = tls_server(&["localhost"]);
    let accept = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let accepting = accept.clone();
    let peer = Peer::start(Behaviour {
        offers: "250-AUTH PLAIN\r\n",
        tls: PeerTls::Yes(server),
        rule: Box::new(move |_, line| {
            let good = accepting.load(std::sync::atomic::Ordering::SeqCst);
            let reply = if good { "235 ok" } else { "535 5.7.8 wrong" };
            line.starts_with("AUTH PLAIN ")
                .then_some(Answer::Say(reply))
        }),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), pem).unwrap();
    let smarthost = |port: u16| {
        format!(
            "smarthosts: [{{host: localhost, port: {port}, certificateAuthorities: ca.pem, \
             authentication: {{username: user, password: pass}}}}]"
        )
    };
    let file = directory.path().join("relay.yaml");
    std::fs::write(&file, configuration(25, None, &smarthost(peer.port()))).unwrap();
    let relay = Relay::start(&configuration(25, None, ""));
    let snapshot = Snapshot::load(&file, None).unwrap();
    relay.context.snapshot.store(Arc::new(snapshot));

    relay
        .submit(None, &["a@one.example", "b@two.example"], TEXT)
        .await;
    relay.queued(0).await;
    assert_eq!(peer.encrypted(), [true, true]);
    assert_eq!(peer.connections(), 2);
    assert!(
        peer.lines(0)
            .contains(&"AUTH PLAIN AHVzZXIAcGFzcw==".into())
    );

    accept.store(false, std::sync::atomic::Ordering::SeqCst);
    let touched =
        configuration(25, None, &smarthost(peer.port())).replace("relay.example", "again.example");
    std::fs::write(&file, touched).unwrap();
    let snapshot = Snapshot::load(&file, None).unwrap();
    relay.context.snapshot.store(Arc::new(snapshot));
    relay.submit(SENDER, &["a@one.example"], TEXT).await;
    relay.settled().await;
    assert_eq!(relay.context.queue.status().0, 1);
    relay.stop().await;
}

#[tokio::test]
async fn mail_put_together_for_a_smarthost_that_is_gone_goes_to_each_domain() {
    let dns = Dns::start(&[
        ("one.test", "A", "127.0.0.2"),
        ("two.test", "A", "127.0.0.3"),
    ])
    .await;
    let (first, second) = two_peers(Behaviour::default(), Behaviour::default()).await;
    let smarthost = "smarthosts: [{host: 127.0.0.4, port: 1, tls: None}]";
    let relay = Relay::start(&configuration(first.port(), Some(dns.address), smarthost));
    let directory = tempfile::tempdir().unwrap();
    let without = configuration(first.port(), Some(dns.address), "");
    let other = crate::context::Context::for_test(&without, directory.path());
    relay.context.snapshot.store(other.snapshot.load_full());
    for _ in 0..2 {
        relay
            .submit(None, &["a@one.test", "b@two.test", "c@one.test"], TEXT)
            .await;
        relay.queued(0).await;
    }
    let counts = |peer: &Peer| {
        let messages = peer.messages();
        messages
            .iter()
            .map(|message| message.recipients.len())
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&first), [2, 2]);
    assert_eq!(counts(&second), [1, 1]);
    relay.stop().await;
}

#[tokio::test]
async fn l6_l9_l11_what_a_server_cannot_take_is_reported_with_its_code() {
    let plain = || Behaviour {
        offers: "250-SIZE 400\r\n",
        ..Behaviour::default()
    };
    let (relay, peer) = relay_and_peer(plain(), "").await;
    relay.submit(None, &["p\u{e5}l@[127.0.0.1]"], TEXT).await;
    relay
        .submit(None, &["a@[127.0.0.1]"], "Subject: \u{e5}\r\n\r\nx\r\n")
        .await;
    relay
        .submit(
            None,
            &["a@[127.0.0.1]"],
            &format!("A: b\r\n\r\n{}\r\n", "x".repeat(400)),
        )
        .await;
    relay.queued(0).await;
    assert!(peer.messages().is_empty());
    relay.submit(None, &["a@[127.0.0.1]"], TEXT).await;
    relay.queued(0).await;
    assert_eq!(
        peer.messages()[0].mail,
        format!("MAIL FROM:<> SIZE={}", TEXT.len())
    );
    relay.stop().await;
}

#[tokio::test]
async fn limits_hold_and_destinations_take_turns() {
    let peer = Peer::start(Behaviour::default()).await;
    let relay = Relay::start(&configuration(
        peer.port(),
        None,
        "connections: 2, connectionsPerDestination: 1, messagesPerConnection: 2",
    ));
    for number in 0..40 {
        let to = format!("r@[127.0.0.{}]", 1 + number % 2);
        relay.submit(None, &[&to], TEXT).await;
    }
    // Only 127.0.0.1 listens; the other destination is refused at once and waits.
    peer.received(20).await;
    relay.queued(20).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_stop_lets_an_attempt_finish_and_settles_it() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    let content = format!(
        "A: b\r\n\r\n{}",
        format!("{}\r\n", "x".repeat(70)).repeat(50_000)
    );
    relay.submit(None, &["to@[127.0.0.1]"], &content).await;
    while peer.lines(0).is_empty() {
        tokio::task::yield_now().await;
    }
    let queue = relay.context.queue.clone();
    relay.stop().await;
    assert_eq!(peer.messages().len(), 1);
    assert_eq!(queue.status().0, 0);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_silent_server_longer_than_the_grace() {
    let silent = rule(|_, line| (line == "connect").then_some(Answer::Silence));
    let peer = Peer::start(silent).await;
    let text = configuration(peer.port(), None, "")
        .replace("greeting: 10s", "greeting: 1h")
        .replace("dns:", "limits: {shutdownGrace: 100ms}, dns:");
    let relay = Relay::start(&text);
    relay.submit(None, &["to@[127.0.0.1]"], TEXT).await;
    while peer.connections() == 0 {
        tokio::task::yield_now().await;
    }
    relay.stop().await;
}
