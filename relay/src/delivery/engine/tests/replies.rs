//! What becomes of recipients, by what the server replies.

use super::*;

#[tokio::test]
async fn a_message_is_delivered_once_with_its_envelope() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    relay
        .finish(Some("a@from.example"), &["to@[127.0.0.1]"])
        .await;
    let messages = peer.received(1).await;
    assert_eq!(messages[0].mail, "MAIL FROM:<a@from.example>");
    assert_eq!(messages[0].recipients, ["RCPT TO:<to@[127.0.0.1]>"]);
    assert_eq!(messages[0].content, TEXT);
    relay.stop().await;
    assert_eq!(peer.messages().len(), 1);
}

#[tokio::test]
async fn b1_b16_the_refused_is_reported_the_deferred_waits_and_the_taken_is_done() {
    let behaviour = rule(|_, line| match line {
        _ if line.contains("<bad@") => Some(Answer::Say("550 5.1.1 no such user")),
        _ if line.contains("<busy@") => Some(Answer::Say("450 4.2.1 busy")),
        _ => None,
    });
    let (relay, peer) = relay_and_peer(behaviour, "").await;
    let to = ["good@[127.0.0.1]", "bad@[127.0.0.1]", "busy@[127.0.0.1]"];
    relay.submit(SENDER, &to, TEXT).await;
    let messages = peer.received(2).await;
    assert_eq!(messages[0].recipients, ["RCPT TO:<good@[127.0.0.1]>"]);
    // The report.
    let report = &messages[1];
    assert_eq!(report.mail, "MAIL FROM:<>");
    assert_eq!(report.recipients, ["RCPT TO:<shop@[127.0.0.1]>"]);
    let diagnosis = "Diagnostic-Code: smtp; 550 5.1.1 no such user";
    assert!(report.content.contains(diagnosis));
    assert!(!report.content.contains("busy@"));
    relay.queued(1).await;
    let due = relay.context.queue.next_due().unwrap();
    let wait = due.0 - now().0;
    assert!((40_000..73_000).contains(&wait), "{wait}");
    relay.stop().await;
}

#[tokio::test]
async fn b3_nothing_counts_as_delivered_when_all_recipients_are_refused() {
    let behaviour = rule(|_, line| match line {
        _ if line.starts_with("RCPT TO:<to@") => Some(Answer::Say("550 no")),
        "DATA" => Some(Answer::Say("354 go")),
        _ => None,
    });
    let (relay, peer) = relay_and_peer(behaviour, "").await;
    relay.finish(None, &["to@[127.0.0.1]"]).await;
    assert!(peer.messages().is_empty());
    relay.stop().await;
}

/// How many recipients of one message to `count` come in each transaction, all of one connection.
async fn transactions(behaviour: Behaviour, count: usize) -> Vec<usize> {
    let (relay, peer) = relay_and_peer(behaviour, "").await;
    let to: Vec<String> = (0..count)
        .map(|number| format!("r{number}@[127.0.0.1]"))
        .collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    relay.finish(SENDER, &to).await;
    assert_eq!(peer.connections(), 1);
    relay.stop().await;
    recipients(&peer)
}

#[tokio::test]
async fn b4_recipients_beyond_the_server_s_limit_follow_at_once() {
    let taken = std::sync::Mutex::new(0);
    let behaviour = rule(move |_, line| {
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
    });
    assert_eq!(transactions(behaviour, 5).await, [2, 2, 1]);
}

#[tokio::test]
async fn many_recipients_go_in_several_transactions_of_one_connection() {
    assert_eq!(
        transactions(Behaviour::default(), 250).await,
        [100, 100, 50]
    );
}

#[tokio::test]
async fn b6_a_refusal_at_the_end_gives_one_report_naming_all() {
    let behaviour = rule(|connection, line| {
        (connection == 0 && line == "content").then_some(Answer::Say("550 5.7.1 spam"))
    });
    let (relay, peer) = relay_and_peer(behaviour, "messagesPerConnection: 1").await;
    relay
        .finish(SENDER, &["a@[127.0.0.1]", "b@[127.0.0.1]"])
        .await;
    let messages = peer.received(1).await;
    for line in [
        "Final-Recipient: rfc822; a@[127.0.0.1]",
        "Final-Recipient: rfc822; b@[127.0.0.1]",
        "said in reply to the end of the message:",
    ] {
        assert!(messages[0].content.contains(line), "{line}");
    }
    assert_eq!(peer.messages().len(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn b18_a_message_older_than_the_limit_is_reported_after_its_attempt() {
    let (relay, peer) = relay_and_peer(
        says("RCPT TO:<busy@", "450 4.2.0 greylisted"),
        "retry: {initial: 1ms, maximum: 1ms, expireAfter: 1ms}",
    )
    .await;
    relay.finish(SENDER, &["busy@[127.0.0.1]"]).await;
    let messages = peer.received(1).await;
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
    relay.finish(None, &["to@[127.0.0.1]"]).await;
    peer.received(1).await;
    assert_eq!(peer.connections(), 2);
    relay.stop().await;
}

#[tokio::test]
async fn b24_a_failed_message_without_return_path_is_not_reported() {
    let (relay, peer) = relay_and_peer(says("RCPT", "550 no"), "").await;
    relay.finish(None, &["to@[127.0.0.1]"]).await;
    let lines = peer.lines(0);
    let transactions = lines.iter().filter(|line| line.starts_with("MAIL"));
    assert_eq!(transactions.count(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn l6_l9_l11_what_a_server_cannot_take_is_reported_with_its_code() {
    let plain = Behaviour {
        offers: "250-SIZE 400\r\n",
        ..Behaviour::default()
    };
    let (relay, peer) = relay_and_peer(plain, "").await;
    let long = format!("A: b\r\n\r\n{}\r\n", "x".repeat(400));
    for (to, text) in [
        ("p\u{e5}l@[127.0.0.1]", TEXT),
        ("a@[127.0.0.1]", "Subject: \u{e5}\r\n\r\nx\r\n"),
        ("a@[127.0.0.1]", &long),
    ] {
        relay.submit(None, &[to], text).await;
    }
    relay.queued(0).await;
    assert!(peer.messages().is_empty());
    relay.finish(None, &["a@[127.0.0.1]"]).await;
    assert_eq!(
        peer.messages()[0].mail,
        format!("MAIL FROM:<> SIZE={}", TEXT.len())
    );
    relay.stop().await;
}
