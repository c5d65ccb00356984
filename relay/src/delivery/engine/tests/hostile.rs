//! Servers that mean no good: at every stage of a session, each costs bounded time and memory, and
//! decides the fate of its own message alone.

use std::time::Duration;

use super::*;

/// Where a server can misbehave: what the line begins with that it answers.
const STAGES: [&str; 6] = ["connect", "EHLO", "MAIL", "RCPT", "DATA", "content"];

type Misbehave = fn() -> Answer;

fn huge() -> Answer {
    // Two mebibytes in one line.
    let text = format!("550 {}", "x".repeat(2 << 20));
    Answer::Say(Box::leak(text.into_boxed_str()))
}

/// Ways to misbehave of which nothing good can come.
const WAYS: &[(&str, Misbehave)] = &[
    ("closes", || Answer::Close),
    ("is silent", || Answer::Silence),
    ("sends megabytes", huge),
    ("never ends its reply", || Answer::Endless(b"250-and\r\n")),
    ("never ends its line", || Answer::Endless(b"250-and ")),
    ("sends noise", || {
        Answer::Endless(&[0xff, 0x00, 0x0d, 0x80, 0x0a])
    }),
    ("drips", || {
        Answer::Drip(
            b"250-a\r\n250-b\r\n250-c\r\n250-d\r\n",
            Duration::from_millis(100),
        )
    }),
    ("answers no number", || Answer::Say("hello there")),
    ("answers 999", || Answer::Say("999 what")),
];

/// A relay with short patience, whose mail for `bad.test` goes to a server that misbehaves so, and
/// that for `good.test` to one that does not.
async fn relay_and_servers(stage: &'static str, way: Misbehave) -> Pair {
    let names = &[
        ("bad.test", "A", "127.0.0.2"),
        ("good.test", "A", "127.0.0.3"),
    ];
    let bad = rule(move |_, line| line.starts_with(stage).then(way));
    let pair = Pair::start(names, bad, Behaviour::default(), "").await;
    let text = configuration(pair.first.port(), Some(pair.dns.address), "");
    let short = ["greeting", "command", "data", "dataReply"];
    let text = short.iter().fold(text, |text, name| {
        text.replace(&format!("{name}: 10s"), &format!("{name}: 400ms"))
    });
    pair.relay.reconfigure(&text);
    pair
}

#[tokio::test]
async fn whatever_a_server_does_its_message_waits_and_the_others_go_on() {
    let all = STAGES
        .iter()
        .flat_map(|stage| WAYS.iter().map(move |way| (*stage, way)));
    let mut running = tokio::task::JoinSet::new();
    for (stage, (name, way)) in all {
        running.spawn(async move {
            let begun = Instant::now();
            let pair = relay_and_servers(stage, *way).await;
            pair.relay.submit(None, &["to@bad.test"], TEXT).await;
            pair.relay.submit(None, &["to@good.test"], TEXT).await;
            pair.second.received(1).await;
            pair.relay.queued(1).await;
            pair.relay.settled().await;
            // One fate: it was put off, once, and nobody has it.
            assert_eq!(pair.relay.context.queue.status().0, 1, "{name} at {stage}");
            let work = pair
                .relay
                .context
                .queue
                .take(Timestamp(u64::MAX), &mut |_| true);
            assert_eq!(work.unwrap().attempts, 1, "{name} at {stage}");
            assert!(pair.first.messages().is_empty(), "{name} at {stage}");
            assert!(
                begun.elapsed() < Duration::from_secs(40),
                "{name} at {stage}"
            );
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_in_octets_of_no_alphabet_is_still_a_refusal_and_its_report_is_clean() {
    let noise = Answer::Drip;
    let refuses = rule(move |_, line| {
        let words = b"550 5.1.1 \xff\xfe\x1b[31m no \x00 user\r\n";
        line.starts_with("RCPT TO:<gone")
            .then(|| noise(words, Duration::ZERO))
    });
    let (relay, peer) = relay_and_peer(refuses, "").await;
    relay.finish(SENDER, &["gone@[127.0.0.1]"]).await;
    let report = peer.received(1).await.remove(0).content;
    assert!(
        report.contains("Action: failed\r\nStatus: 5.1.1\r\n"),
        "{report}"
    );
    assert!(!report.contains(['\x1b', '\0']));
    relay.stop().await;
}

#[tokio::test]
async fn a_server_that_takes_a_message_and_loses_it_has_it_once() {
    let behaviour =
        rule(|_, line| (line == "content").then_some(Answer::SayAndClose("250 2.0.0 mine")));
    let (relay, peer) = relay_and_peer(behaviour, "").await;
    relay.finish(None, &["to@[127.0.0.1]"]).await;
    assert_eq!(peer.messages().len(), 1);
    assert_eq!(peer.connections(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn replies_beyond_those_that_were_asked_for_end_the_session_and_count_for_no_message() {
    let behaviour = rule(|connection, line| {
        (connection == 0 && line == "content").then_some(Answer::Say(
            "250 2.0.0 mine\r\n250 2.0.0 and\r\n550 5.0.0 more",
        ))
    });
    let (relay, peer) = relay_and_peer(behaviour, "").await;
    relay.finish(None, &["to@[127.0.0.1]"]).await;
    relay.finish(None, &["to@[127.0.0.1]"]).await;
    assert_eq!(peer.messages().len(), 2);
    relay.stop().await;
}
