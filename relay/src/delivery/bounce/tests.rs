use std::sync::Arc;

use mail_parser::MimeHeaders as _;
use relay_smtp::client::Stage;
use relay_smtp::{EnhancedCode, Reply};

use super::*;
use crate::delivery::outcome::{Kind, Remote};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

const CONTENT: &str = "Subject: Order 7\r\nFrom: shop@from.example\r\nMessage-ID: <m1@from.example>\r\n\r\nsecret body\r\n";

fn fate(text: &str) -> Fate {
    let reply = Reply::new(550, Some(EnhancedCode::new(5, 1, 1)), text);
    Fate {
        remote: Some(Remote {
            host: "mx.remote.test".into(),
            address: "192.0.2.25:25".parse().unwrap(),
            encryption: None,
            policy: None,
        }),
        reply: Some((Stage::Recipient, Arc::new(reply))),
        ..Fate::local(Kind::Failed, EnhancedCode::new(5, 1, 1), "")
    }
}

fn work(sender: &str) -> Work {
    Work {
        id: MessageId(7),
        destination: "remote.test".into(),
        attempts: 0,
        recipients: vec![0, 1],
        delay_told: false,
        tells_delay: false,
        envelope: Arc::new(Envelope {
            sender: Some(address(sender)),
            recipients: vec![address("a@remote.test"), address("b@remote.test")],
            accepted_at: Timestamp(1_700_000_000_000),
            eight_bit: false,
            smtputf8: false,
            identity: None,
            trace_parent: None,
            options: relay_queue::Options::default(),
        }),
    }
}

fn report(sender: &str, failed: &[Entry<'_>], content: &str) -> (NewMessage, String) {
    let work = work(sender);
    let sender = address(sender);
    let message = build(&Report {
        id: MessageId(9),
        hostname: "relay.example",
        sender: &sender,
        original: &work,
        entries: failed,
        content: &[Bytes::from(content.to_owned())],
        retried_until: Timestamp(1_700_432_000_000),
        now: Timestamp(1_700_000_060_000),
    })
    .unwrap();
    let text = String::from_utf8(message.content.concat()).unwrap();
    (message, text)
}

#[test]
fn b25_a_report_has_the_null_path_three_parts_and_the_server_s_words() {
    let (recipient, other) = (address("a@remote.test"), address("b@remote.test"));
    let (first, second) = (fate("No such user here"), fate("Mailbox closed"));
    let failed = [
        Entry {
            recipient: &recipient,
            original: None,
            fate: &first,
        },
        Entry {
            recipient: &other,
            original: None,
            fate: &second,
        },
    ];
    let (message, text) = report("shop@from.example", &failed, CONTENT);
    assert_eq!(message.envelope.sender, None);
    assert_eq!(message.envelope.recipients, [address("shop@from.example")]);
    assert!(!message.envelope.eight_bit);

    let parsed = mail_parser::MessageParser::default()
        .parse(text.as_bytes())
        .unwrap();
    let from = parsed.from().unwrap().first().unwrap();
    assert_eq!(from.name(), Some("Mail Delivery System"));
    assert_eq!(from.address(), Some("MAILER-DAEMON@relay.example"));
    assert_eq!(
        parsed.to().unwrap().first().unwrap().address(),
        Some("shop@from.example")
    );
    let kind = parsed.content_type().unwrap();
    assert_eq!(
        (kind.ctype(), kind.subtype()),
        ("multipart", Some("report"))
    );
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    assert_eq!(parsed.parts.len(), 4);

    let human = parsed.body_text(0).unwrap();
    assert!(human.contains("<a@remote.test>\r\n    mx.remote.test [192.0.2.25] said in reply to RCPT TO:\r\n    550 5.1.1 No such user here"), "{human}");
    assert!(human.contains("<b@remote.test>"));
    assert!(human.contains("550 5.1.1 Mailbox closed"));
    assert!(
        text.contains(
            "Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
         Reporting-MTA: dns; relay.example\r\nX-Queue-Id: 00000000000000000000000007\r\n\
         Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n\r\n\
         Final-Recipient: rfc822; a@remote.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Remote-MTA: dns; mx.remote.test\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user here\r\n\
         Last-Attempt-Date: Tue, 14 Nov 2023 22:14:20 +0000\r\n\r\n\
         Final-Recipient: rfc822; b@remote.test\r\n"
        ),
        "{text}"
    );
    assert!(text.contains("Content-Type: text/rfc822-headers\r\n"));
    assert!(text.contains("Message-ID: <m1@from.example>\r\n"));
    assert!(!text.contains("secret body"));
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    assert!(text.contains("Auto-Submitted: auto-replied\r\n"));
}

#[test]
fn an_expired_message_says_so_and_keeps_what_happened_last() {
    let recipient = address("a@remote.test");
    let expired = fate("greylisted").expire();
    let failed = [Entry {
        recipient: &recipient,
        original: None,
        fate: &expired,
    }];
    let (_, text) = report("shop@from.example", &failed, CONTENT);
    assert!(text.contains("Status: 4.4.7\r\n"));
    assert!(text.contains("for as long as the relay is set to"));
    assert!(text.contains("550 5.1.1 greylisted"));
}

#[test]
fn words_that_are_not_ascii_and_headers_that_are_not_stay_readable_and_seven_bit() {
    let recipient = address("p\u{e5}l@remote.test");
    let words = fate("Adresse unbekannt: M\u{fc}ller");
    let failed = [Entry {
        recipient: &recipient,
        original: None,
        fate: &words,
    }];
    let content = "Subject: Gr\u{fc}\u{df}e\r\n\r\nx\r\n";
    let (message, text) = report("shop@from.example", &failed, content);
    assert!(text.is_ascii());
    assert!(!message.envelope.eight_bit && !message.envelope.smtputf8);
    assert!(text.contains("Final-Recipient: utf-8; p\\x{E5}l@remote.test\r\n"));
    assert!(text.contains("Diagnostic-Code: smtp; 550 5.1.1 Adresse unbekannt: M?ller\r\n"));
    let parsed = mail_parser::MessageParser::default()
        .parse(text.as_bytes())
        .unwrap();
    assert!(parsed.body_text(0).unwrap().contains("M\u{fc}ller"));
}

#[test]
fn l12_a_sender_in_utf8_gets_a_report_that_asks_for_smtputf8() {
    let recipient = address("a@remote.test");
    let words = fate("no");
    let failed = [Entry {
        recipient: &recipient,
        original: None,
        fate: &words,
    }];
    let (message, text) = report("p\u{e5}l@from.example", &failed, CONTENT);
    assert!(message.envelope.smtputf8 && message.envelope.eight_bit);
    assert!(text.contains("To: <p\u{e5}l@from.example>\r\n"));
}

#[test]
fn hostile_words_and_content_do_not_break_the_report() {
    let recipient = address("a@remote.test");
    let words = fate(&format!(
        "{}\r\n\r\n--000000\r\nAction: delivered",
        "x".repeat(3000)
    ));
    let failed = [Entry {
        recipient: &recipient,
        original: None,
        fate: &words,
    }];
    let endless = "X: y\r\n".repeat(100_000);
    for content in [
        endless.as_str(),
        "",
        "\r\n\r\n",
        "no end",
        "a\0b: \u{1}\r\n\r\n",
    ] {
        let (message, text) = report("shop@from.example", &failed, content);
        assert!(message.content.concat().len() < 100_000);
        assert!(!text.contains("\r\nAction: delivered"));
        assert!(text.split("\r\n").all(|line| line.len() <= 998));
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    }
}

#[test]
fn a_host_name_that_is_no_mail_domain_still_gives_a_report() {
    let recipient = address("a@remote.test");
    let words = fate("no");
    let work = work("shop@from.example");
    let message = build(&Report {
        id: MessageId(9),
        hostname: "under_score",
        sender: &address("shop@from.example"),
        original: &work,
        entries: &[Entry {
            recipient: &recipient,
            original: None,
            fate: &words,
        }],
        content: &[],
        retried_until: Timestamp(0),
        now: Timestamp(0),
    });
    assert!(message.is_ok());
}

#[test]
fn a_report_of_a_delay_says_until_when_it_is_tried_and_gives_back_headers_alone() {
    let recipient = address("a@remote.test");
    let waiting = Fate {
        kind: Kind::Deferred,
        status: EnhancedCode::new(4, 2, 0),
        ..fate("greylisted")
    };
    let entries = [Entry {
        recipient: &recipient,
        original: None,
        fate: &waiting,
    }];
    let (message, text) = report("shop@from.example", &entries, CONTENT);
    assert_eq!(message.envelope.sender, None);
    assert!(text.contains("Subject: Delayed mail, still being tried\r\n"));
    let block = "Final-Recipient: rfc822; a@remote.test\r\nAction: delayed\r\nStatus: 4.2.0\r\n";
    assert!(text.contains(block), "{text}");
    assert!(text.contains("Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000\r\n"));
    let parsed = mail_parser::MessageParser::default()
        .parse(text.as_bytes())
        .unwrap();
    let human = parsed.body_text(0).unwrap();
    let until = "It is tried again until\r\nSun, 19 Nov 2023 22:13:20 +0000;";
    assert!(human.contains(until), "{human}");
    assert!(!text.contains("secret body") && !human.contains("could not be delivered"));
}

/// A report about a message that needed SMTPUTF8.
fn global(give_back: Option<relay_smtp::options::GiveBack>, content: &str) -> String {
    let recipient = address("p\u{e5}l@remote.test");
    let words = fate("Adresse unbekannt: M\u{fc}ller");
    let original = OriginalRecipient {
        kind: "utf-8".into(),
        address: "j\u{f8}rn@list.example".into(),
    };
    let mut work = work("shop@from.example");
    let envelope = Arc::make_mut(&mut work.envelope);
    envelope.smtputf8 = true;
    envelope.recipients[0] = recipient.clone();
    envelope.options.give_back = give_back;
    let message = build(&Report {
        id: MessageId(9),
        hostname: "relay.example",
        sender: &address("shop@from.example"),
        original: &work,
        entries: &[Entry {
            recipient: &recipient,
            original: Some(&original),
            fate: &words,
        }],
        content: &[Bytes::from(content.to_owned())],
        retried_until: Timestamp(0),
        now: Timestamp(0),
    })
    .unwrap();
    // Its own headers are ASCII, so that a way back without SMTPUTF8 takes it.
    assert!(message.envelope.eight_bit && !message.envelope.smtputf8);
    String::from_utf8(message.content.concat()).unwrap()
}

#[test]
fn a_message_that_needed_smtputf8_is_reported_in_the_forms_of_rfc_6533() {
    let content = "Subject: Gr\u{fc}\u{df}e\r\n\r\nsecret body\r\n";
    let text = global(None, content);
    let status =
        "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n";
    assert!(text.contains(status), "{text}");
    assert!(text.contains("report-type=delivery-status"));
    assert!(text.contains("\r\nOriginal-Recipient: utf-8; j\u{f8}rn@list.example\r\n"));
    assert!(text.contains("\r\nFinal-Recipient: utf-8; p\u{e5}l@remote.test\r\n"));
    assert!(text.contains("smtp; 550 5.1.1 Adresse unbekannt: M\u{fc}ller\r\n"));
    assert!(text.contains("Content-Type: message/global-headers\r\n"));
    assert!(text.contains("\r\nSubject: Gr\u{fc}\u{df}e\r\n"));
    assert!(!text.contains("secret body"));
    let text = global(Some(relay_smtp::options::GiveBack::Full), content);
    assert!(text.contains("Content-Type: message/global\r\n"));
    assert!(text.contains("\r\nsecret body\r\n"));
}

#[test]
fn long_words_of_a_server_are_folded_and_none_is_lost() {
    let recipient = address("a@remote.test");
    let words: Vec<String> = (0..400).map(|number| format!("word{number}")).collect();
    let long = fate(&words.join(" "));
    let entries = [Entry {
        recipient: &recipient,
        original: None,
        fate: &long,
    }];
    let (_, text) = report("shop@from.example", &entries, CONTENT);
    let start = text.find("Diagnostic-Code:").unwrap();
    let field = &text[start..text.find("Last-Attempt-Date:").unwrap()];
    assert!(field.split("\r\n").all(|line| line.len() <= 998));
    let unfolded = field.replace("\r\n ", " ");
    assert_eq!(
        unfolded,
        format!("Diagnostic-Code: smtp; 550 5.1.1 {}\r\n", words.join(" "))
    );
}
