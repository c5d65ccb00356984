//! What senders ask for beyond delivery: reports, times, priority and TLS.

use std::collections::BTreeMap;

use relay_queue::{Deadline, Options};
use relay_smtp::options::{ByMode, GiveBack, Notify, OriginalRecipient, RecipientOptions};

use super::*;
use crate::delivery::testing::peer::Tls as PeerTls;
use crate::delivery::testing::tls_server;

const SUCCESS: Notify = Notify {
    success: true,
    failure: false,
    delay: false,
};
const NEVER: Notify = Notify {
    success: false,
    failure: false,
    delay: false,
};

fn notify(notify: Notify) -> RecipientOptions {
    RecipientOptions {
        notify: Some(notify),
        original: Some(OriginalRecipient {
            kind: "rfc822".into(),
            address: "list+x@origin.test".into(),
        }),
    }
}

/// With these for the recipients of these numbers.
fn asking<const N: usize>(recipients: [(u32, RecipientOptions); N]) -> Options {
    Options {
        envelope_id: Some("QQ=1".into()),
        recipients: BTreeMap::from(recipients),
        ..Options::default()
    }
}

impl Relay {
    async fn finish_asking(&self, options: Options, recipients: &[&str]) {
        self.submit_asking(options, SENDER, recipients, TEXT).await;
        self.queued(0).await;
    }
}

fn offers(offers: &'static str) -> Behaviour {
    Behaviour {
        offers,
        ..Behaviour::default()
    }
}

const A: &str = "a@[127.0.0.1]";
const B: &str = "b@[127.0.0.1]";

#[tokio::test]
async fn what_the_next_server_offers_is_passed_on_and_reports_are_its_duty() {
    let all = "250-PIPELINING\r\n250-DSN\r\n250-MT-PRIORITY\r\n250-DELIVERBY 10\r\n";
    let (relay, peer) = relay_and_peer(offers(all), "").await;
    let options = Options {
        give_back: Some(GiveBack::Headers),
        deadline: Some(Deadline {
            at: Timestamp(now().0 + 3_600_000),
            mode: ByMode::Return,
            trace: false,
        }),
        priority: -4,
        ..asking([(1, notify(SUCCESS))])
    };
    relay.finish_asking(options, &[A, B]).await;
    // A report would be ahead of this in the queue.
    relay.finish(SENDER, &["c@[127.0.0.1]"]).await;
    let messages = peer.messages();
    assert_eq!(messages.len(), 2, "a report was sent: {messages:?}");
    let mail = &messages[0].mail;
    assert!(
        mail.ends_with(" RET=HDRS ENVID=QQ+3D1 BY=3600;R MT-PRIORITY=-4")
            || mail.ends_with(" RET=HDRS ENVID=QQ+3D1 BY=3599;R MT-PRIORITY=-4"),
        "{mail}"
    );
    assert_eq!(
        messages[0].recipients,
        [
            "RCPT TO:<a@[127.0.0.1]>",
            "RCPT TO:<b@[127.0.0.1]> NOTIFY=SUCCESS ORCPT=rfc822;list+2Bx@origin.test",
        ]
    );
    relay.stop().await;
}

#[tokio::test]
async fn success_is_reported_as_relayed_where_the_next_server_will_not() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    let options = Options {
        give_back: Some(GiveBack::Full),
        ..asking([(0, notify(SUCCESS))])
    };
    relay.finish_asking(options, &[A, B]).await;
    let messages = peer.received(2).await;
    assert!(!messages[0].mail.contains("ENVID") && !messages[0].recipients[0].contains("NOTIFY"));
    let [_, report] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!(report.mail, "MAIL FROM:<>");
    let about = "Original-Envelope-Id: QQ=1\r\nReporting-MTA: dns; relay.example\r\n";
    assert!(report.content.contains(about), "{}", report.content);
    let block = "\r\n\r\nOriginal-Recipient: rfc822; list+x@origin.test\r\n\
                 Final-Recipient: rfc822; a@[127.0.0.1]\r\nAction: relayed\r\nStatus: 2.0.0\r\n";
    assert!(report.content.contains(block), "{}", report.content);
    assert!(!report.content.contains("b@[127.0.0.1]"));
    assert!(report.content.contains("Subject: Mail relayed"));
    // RET is about failures.
    assert!(!report.content.contains("\r\nhello\r\n"));
    relay.stop().await;
}

#[tokio::test]
async fn nobody_is_told_who_does_not_want_to_be() {
    let refuses = || says("RCPT TO:<a", "550 5.1.1 unknown");
    for unwanted in [NEVER, SUCCESS] {
        let (relay, peer) = relay_and_peer(refuses(), "").await;
        relay
            .finish_asking(asking([(0, notify(unwanted))]), &[A])
            .await;
        // A report would be ahead of this in the queue.
        relay.finish(SENDER, &[B]).await;
        assert_eq!(peer.messages().len(), 1, "{unwanted}");
        relay.stop().await;
    }
    let (relay, peer) = relay_and_peer(refuses(), "").await;
    relay
        .finish_asking(asking([(0, notify(NEVER))]), &[A, "a2@[127.0.0.1]"])
        .await;
    let report = &peer.received(1).await[0].content;
    assert!(report.contains("a2@[127.0.0.1]") && !report.contains("<a@[127.0.0.1]>"));
    relay.stop().await;
}

#[tokio::test]
async fn ret_says_how_much_of_a_failed_message_comes_back() {
    for (give_back, whole) in [
        (None, false),
        (Some(GiveBack::Headers), false),
        (Some(GiveBack::Full), true),
    ] {
        let (relay, peer) = relay_and_peer(says("RCPT TO:<a@", "550 5.1.1 unknown"), "").await;
        let options = Options {
            give_back,
            ..Options::default()
        };
        relay.finish_asking(options, &[A]).await;
        let report = &peer.received(1).await[0].content;
        assert_eq!(report.contains("\r\n\r\nhello\r\n"), whole, "{report}");
        assert_eq!(report.contains("Content-Type: message/rfc822\r\n"), whole);
        assert!(report.contains("Subject: hello\r\n"));
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_held_message_is_sent_when_it_is_released() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    let release = Timestamp(now().0 + 400);
    let options = Options {
        release_at: Some(release),
        ..Options::default()
    };
    relay.submit_asking(options, SENDER, &[A], TEXT).await;
    assert_eq!(relay.context.queue.next_due(), Some(release));
    relay.finish(SENDER, &[B]).await;
    assert!(now() >= release, "it was sent before its time");
    let messages = peer.messages();
    assert_eq!(messages[0].recipients, ["RCPT TO:<b@[127.0.0.1]>"]);
    assert_eq!(messages[1].recipients, ["RCPT TO:<a@[127.0.0.1]>"]);
    assert!(!messages[1].mail.contains("HOLD"));
    relay.stop().await;
}

#[tokio::test]
async fn a_message_that_is_late_comes_back_and_one_that_only_tells_goes_on() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    let late = |mode| Options {
        deadline: Some(Deadline {
            at: Timestamp(now().0 - 1),
            mode,
            trace: false,
        }),
        ..Options::default()
    };
    relay.finish_asking(late(ByMode::Return), &[A]).await;
    let messages = peer.received(1).await;
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0]
            .content
            .contains("Action: failed\r\nStatus: 5.4.7\r\n")
    );
    assert!(messages[0].content.contains("The time is over by which"));
    relay.finish_asking(late(ByMode::Notify), &[A]).await;
    let messages = peer.received(3).await;
    assert_eq!(messages[1].recipients, ["RCPT TO:<a@[127.0.0.1]>"]);
    // Nobody watches the time any more, and the sender hears so.
    assert!(messages[2].content.contains("Action: relayed\r\n"));
    relay.stop().await;
}

#[tokio::test]
async fn a_message_that_must_come_back_late_goes_to_no_server_that_would_not_send_it_back() {
    let (relay, peer) = relay_and_peer(Behaviour::default(), "").await;
    let in_time = |mode| Options {
        deadline: Some(Deadline {
            at: Timestamp(now().0 + 3_600_000),
            mode,
            trace: false,
        }),
        ..Options::default()
    };
    relay.finish_asking(in_time(ByMode::Return), &[A]).await;
    let messages = peer.received(1).await;
    assert!(
        messages[0]
            .content
            .contains("Action: failed\r\nStatus: 5.3.3\r\n"),
        "{messages:?}"
    );
    assert!(messages[0].content.contains("does not offer DELIVERBY"));
    relay.finish_asking(in_time(ByMode::Notify), &[A]).await;
    let messages = peer.received(2).await;
    assert_eq!(messages[1].recipients, ["RCPT TO:<a@[127.0.0.1]>"]);
    relay.stop().await;
}

#[tokio::test]
async fn a_limit_of_recipients_that_is_told_is_kept() {
    let (relay, peer) = relay_and_peer(offers("250-LIMITS MAILMAX=9 RCPTMAX=2\r\n"), "").await;
    let to: Vec<String> = (0..5)
        .map(|number| format!("r{number}@[127.0.0.1]"))
        .collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    relay.finish(SENDER, &to).await;
    assert_eq!(recipients(&peer), [2, 2, 1]);
    relay.stop().await;
}

#[tokio::test]
async fn requiretls_never_goes_in_clear_text_and_comes_back_where_tls_is_not_offered() {
    let (relay, peer) = relay_and_peer(offers("250-REQUIRETLS\r\n"), "").await;
    // A connection that others left must not be used either.
    relay.finish(SENDER, &[B]).await;
    let options = Options {
        require_tls: true,
        ..Options::default()
    };
    relay.finish_asking(options.clone(), &[A]).await;
    assert_eq!(peer.messages().len(), 1);
    relay.stop().await;

    // A certificate that nobody vouches for is as good as none, and may be mended.
    let behaviour = Behaviour {
        tls: PeerTls::Yes(tls_server(&["127.0.0.1"]).0),
        ..offers("250-REQUIRETLS\r\n")
    };
    let (relay, peer) = relay_and_peer(behaviour, "").await;
    relay.submit_asking(options, SENDER, &[A], TEXT).await;
    relay.settled().await;
    assert_eq!(relay.context.queue.status().0, 1);
    assert!(peer.messages().is_empty());
    relay.stop().await;
}

/// A relay whose smarthost has a certificate that the relay trusts.
async fn relay_and_smarthost(behaviour: Behaviour) -> (Relay, Peer) {
    let (tls, pem) = tls_server(&["127.0.0.1"]);
    let peer = Peer::start(Behaviour {
        tls: PeerTls::Yes(tls),
        ..behaviour
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), pem).unwrap();
    let smarthosts = format!(
        "smarthosts: [{{host: 127.0.0.1, port: {}, certificateAuthorities: ca.pem}}]",
        peer.port()
    );
    let file = directory.path().join("relay.yaml");
    std::fs::write(&file, configuration(25, None, &smarthosts)).unwrap();
    let relay = Relay::start(&configuration(25, None, ""));
    let snapshot = Snapshot::load(&file, None).unwrap();
    relay.context.snapshot.store(Arc::new(snapshot));
    (relay, peer)
}

#[tokio::test]
async fn requiretls_is_passed_on_to_a_server_that_offers_it_under_verified_tls() {
    let (relay, peer) = relay_and_smarthost(offers("250-REQUIRETLS\r\n")).await;
    let options = Options {
        require_tls: true,
        ..Options::default()
    };
    relay.finish_asking(options, &["a@one.example"]).await;
    assert!(peer.messages()[0].mail.ends_with(" REQUIRETLS"));
    assert_eq!(peer.encrypted(), [true]);
    relay.stop().await;
}

#[tokio::test]
async fn requiretls_fails_with_5_7_30_at_a_server_that_does_not_offer_it() {
    // From the second connection on it does: the report requires TLS as the message did.
    let offer = "250-mx.test\r\n250-STARTTLS\r\n250-REQUIRETLS\r\n250 HELP";
    let behaviour = rule(move |connection, line| {
        (connection > 0 && line.starts_with("EHLO")).then_some(Answer::Say(offer))
    });
    let (relay, peer) = relay_and_smarthost(behaviour).await;
    let options = Options {
        require_tls: true,
        give_back: Some(GiveBack::Full),
        ..Options::default()
    };
    relay.finish_asking(options, &["a@one.example"]).await;
    let messages = peer.received(1).await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    let report = &messages[0];
    assert!(report.mail.starts_with("MAIL FROM:<>") && report.mail.ends_with(" REQUIRETLS"));
    assert!(
        report.content.contains("Status: 5.7.30\r\n"),
        "{}",
        report.content
    );
    assert!(!report.content.contains("\r\nhello\r\n"));
    relay.stop().await;
}

/// A relay whose messages are late after 1 ms, and a peer that takes none of those to `busy@`.
async fn late_relay(delay_after: &str) -> (Relay, Peer) {
    let retry = format!(
        "retry: {{initial: 30ms, maximum: 30ms, expireAfter: 1h, delayAfter: {delay_after}}}"
    );
    relay_and_peer(says("RCPT TO:<busy", "450 4.2.0 greylisted"), &retry).await
}

fn attempts(peer: &Peer) -> usize {
    let lines = (0..peer.connections()).flat_map(|number| peer.lines(number));
    lines
        .filter(|line| line.starts_with("RCPT TO:<busy"))
        .count()
}

/// Waits until a message was tried that often.
async fn tried(peer: &Peer, count: usize) {
    let reached = async {
        while attempts(peer) < count {
            tokio::task::yield_now().await;
        }
    };
    let patience = crate::delivery::testing::PATIENCE;
    tokio::time::timeout(patience, reached).await.unwrap();
}

#[tokio::test]
async fn a_delay_is_told_once_and_of_all_that_still_wait() {
    let (relay, peer) = late_relay("1ms").await;
    let delay = Notify {
        delay: true,
        ..NEVER
    };
    let to = [
        "busy1@[127.0.0.1]",
        "busy2@[127.0.0.1]",
        B,
        "busy3@[127.0.0.1]",
    ];
    let options = asking([(1, notify(SUCCESS)), (3, notify(delay))]);
    relay.submit_asking(options, SENDER, &to, TEXT).await;
    let messages = peer.received(2).await;
    tried(&peer, 4 * 3).await;
    let report = &messages[1];
    assert_eq!(report.mail, "MAIL FROM:<>");
    assert_eq!(report.content.matches("Action: delayed").count(), 2);
    assert!(
        report
            .content
            .contains("Final-Recipient: rfc822; busy1@[127.0.0.1]")
    );
    assert!(
        report
            .content
            .contains("Final-Recipient: rfc822; busy3@[127.0.0.1]")
    );
    assert!(
        report
            .content
            .contains("Diagnostic-Code: smtp; 450 4.2.0 greylisted")
    );
    // Neither who wants to hear of success alone nor who got it.
    assert!(!report.content.contains("busy2@") && !report.content.contains("<b@"));
    assert_eq!(peer.messages().len(), 2, "told twice");
    relay.stop().await;
}

#[tokio::test]
async fn a_delay_is_not_told_where_nobody_wants_to_hear_of_it() {
    for (delay_after, sender, wanted) in [
        ("0s", SENDER, None),
        ("1ms", None, None),
        ("1ms", SENDER, Some(NEVER)),
        ("1h", SENDER, None),
    ] {
        let (relay, peer) = late_relay(delay_after).await;
        let options = wanted.map_or_else(Options::default, |wanted| asking([(0, notify(wanted))]));
        relay
            .submit_asking(options, sender, &["busy@[127.0.0.1]"], TEXT)
            .await;
        tried(&peer, 3).await;
        assert!(peer.messages().is_empty(), "{delay_after} {sender:?}");
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_message_that_is_late_by_mode_n_is_told_of_at_that_moment() {
    let (relay, peer) = late_relay("0s").await;
    let at = Timestamp(now().0 + 200);
    let options = Options {
        deadline: Some(Deadline {
            at,
            mode: ByMode::Notify,
            trace: false,
        }),
        ..Options::default()
    };
    relay
        .submit_asking(options, SENDER, &["busy@[127.0.0.1]"], TEXT)
        .await;
    let report = peer.received(1).await.remove(0).content;
    assert!(now() >= at);
    assert!(
        report.contains("Action: delayed\r\nStatus: 4.4.7\r\n"),
        "{report}"
    );
    assert!(report.contains("450 4.2.0 greylisted"));
    relay.stop().await;
}
