//! Accepting, refusing, signing, delivering, bouncing.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use lettre::Transport as _;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::Mechanism;
use serde_json::json;

use crate::client::{Line, Security, billing, builder, send, transport};
use crate::http::{get, metrics_with};
use crate::receiver::Receiver;
use crate::relay::{PASSWORD, Setup, dkim_key};

fn waiting(relay: &crate::relay::Relay) -> String {
    let metrics = crate::http::get(relay.health(), "/metrics").1;
    metrics
        .lines()
        .find(|line| line.starts_with("relay_queue_messages"))
        .unwrap()
        .to_owned()
}

#[test]
fn mail_over_starttls_and_implicit_tls_is_delivered_signed_and_completed() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    setup.config["domains"][0]["dkim"] = serde_json::json!([dkim_key()]);
    setup.write();
    let relay = setup.start();
    let credentials = Some(("billing", PASSWORD));
    let ways = [
        (
            "plain over 587",
            relay.submission(),
            Security::StartTls,
            Mechanism::Plain,
        ),
        (
            "login over 465",
            relay.submissions(),
            Security::Implicit,
            Mechanism::Login,
        ),
    ];
    for (subject, address, security, mechanism) in ways {
        let content = format!(
            "From: Billing <billing@shop.example>\r\nTo: ada@reader.example\r\n\
            Bcc: secret@reader.example\r\nSubject: {subject}\r\n\r\nhello\r\n.\r\n..x"
        );
        let envelope = Envelope::new(
            Some("billing@shop.example".parse().unwrap()),
            vec![
                "ada@reader.example".parse().unwrap(),
                "secret@reader.example".parse().unwrap(),
            ],
        )
        .unwrap();
        let transport = builder(address, security, &setup.authority, credentials)
            .authentication(vec![mechanism])
            .build();
        let reply = transport.send_raw(&envelope, content.as_bytes()).unwrap();
        assert_eq!(u16::from(reply.code()), 250);
        let arrived = receiver.wait_for(|message| message.content.contains(subject));
        assert_eq!(arrived.sender, "billing@shop.example");
        assert_eq!(
            arrived.recipients,
            ["ada@reader.example", "secret@reader.example"]
        );
        let (headers, body) = arrived.content.split_once("\n\n").unwrap();
        assert_eq!(body, "hello\n.\n..x\n");
        for name in [
            "Received: from",
            "DKIM-Signature: v=1; a=ed25519-sha256;",
            "Date: ",
            "Message-ID: <",
        ] {
            assert!(headers.contains(name), "{name} in {headers}");
        }
        assert!(!headers.contains("Bcc"), "{headers}");
        let unfolded = headers.replace("\n\t", " ");
        assert!(unfolded.contains("d=shop.example; s=winter;"), "{headers}");
    }
}

#[test]
fn a_wrong_password_is_535_and_nothing_is_logged_of_it() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let relay = setup.start();
    for (username, password) in [("billing", "wrong-otter-42"), ("nobody", PASSWORD)] {
        let transport = transport(
            relay.submission(),
            Security::StartTls,
            &setup.authority,
            Some((username, password)),
        );
        let (code, text) = send(
            &transport,
            "billing@shop.example",
            "ada@reader.example",
            "x",
        )
        .unwrap_err();
        assert_eq!(code, 535, "{text}");
        assert!(text.contains("5.7.8"), "{text}");
    }
    let log = relay.log_text();
    assert!(!log.contains("otter"), "{log}");
    assert_eq!(waiting(&relay), "relay_queue_messages 0");
}

#[test]
fn the_log_names_the_session_of_each_refusal_and_of_the_message_after_it() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let relay = setup.start();
    let (mut line, _) = Line::open(relay.open());
    for (command, code) in [
        ("EHLO app.test", "250"),
        ("MAIL TO:<billing@shop.example>", "501"),
        ("MAIL FROM:<boss@bank.example>", "550"),
        ("MAIL FROM:<billing@shop.example>", "250"),
        ("RCPT TO:<ada@reader.example>", "250"),
        ("DATA", "354"),
        ("From: billing@shop.example\r\n\r\nhi\r\n.", "250"),
        // The first half of a message, which is never queued.
        ("MAIL FROM:<billing@shop.example>", "250"),
        ("RCPT TO:<ada@reader.example>", "250"),
        ("DATA", "354"),
    ] {
        assert_eq!(line.say(command)[..3], *code, "{command}");
    }
    line.write("From: billing@shop.example\r\n\r\nhalf a mess");
    drop(line);
    let fault = relay.wait_for("the faulty command", |line| line["reason"] == "command");
    let reply = fault["reply"].as_str().unwrap();
    assert!(reply.starts_with("501 5.5.4 "), "{reply}");
    let session = &fault["session"];
    assert_eq!(session.as_str().unwrap().len(), 16);
    assert_eq!(relay.logged("sender refused")["session"], *session);
    assert_eq!(relay.logged("message accepted")["session"], *session);
    receiver.wait_for(|message| message.content.contains("hi"));
    metrics_with(&relay, "relay_sessions{listener=\"open\"} 0");
    metrics_with(&relay, "relay_queue_messages 0");
    assert_eq!(receiver.messages().len(), 1);
}

#[test]
fn what_may_not_be_sent_is_refused_with_its_codes_and_not_queued() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    setup.config["limits"] =
        serde_json::json!({"messageBytes": 100_000, "receivingBytes": 1_000_000});
    setup.write();
    let relay = setup.start();
    let billing = billing(relay.submission(), &setup.authority);
    let (code, text) = send(&billing, "boss@bank.example", "ada@reader.example", "x").unwrap_err();
    assert!(
        (code, text.contains("5.7.")) == (550, true) || code == 553,
        "{code} {text}"
    );

    let (mut line, _) = Line::open(relay.submission());
    line.say("EHLO app.test");
    let reply = line.say("AUTH PLAIN AGJpbGxpbmcAYmx1ZS1vdHRlci00Mg==");
    assert!(reply.starts_with("538 5.7.11"), "{reply}");
    let reply = line.say("MAIL FROM:<billing@shop.example>");
    assert!(reply.starts_with("530 5.7.0"), "{reply}");

    let (mut line, _) = Line::open(relay.open());
    line.say("EHLO app.test");
    let reply = line.say("MAIL FROM:<billing@shop.example> SIZE=100001");
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    line.say("MAIL FROM:<billing@shop.example>");
    let reply = line.say("RCPT TO:<ada>");
    assert!(
        reply.starts_with("501 5.1.3") || reply.starts_with("553 5.1.3"),
        "{reply}"
    );
    let reply = line.say("RCPT TO:<ada@reader.example>");
    assert!(reply.starts_with("250"), "{reply}");
    line.say("DATA");
    let mut big = String::from("From: billing@shop.example\r\n\r\n");
    for number in 0..2_000 {
        let _ = write!(big, "{number:060}\r\n");
    }
    line.write(&big);
    let reply = line.say(".");
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    assert_eq!(waiting(&relay), "relay_queue_messages 0");
}

#[test]
fn an_unknown_recipient_is_reported_once_to_the_sender_in_the_remote_servers_words() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let relay = setup.start();
    let billing = billing(relay.submission(), &setup.authority);
    send(
        &billing,
        "billing@shop.example",
        "unknown@reader.example",
        "to nobody",
    )
    .unwrap();
    let report = receiver.wait_for(|message| message.sender.is_empty());
    assert_eq!(report.recipients, ["billing@shop.example"]);
    for text in [
        "unknown@reader.example",
        "nobody of that name lives here",
        "5.1.1",
        "multipart/report",
        "Subject: to nobody",
    ] {
        assert!(
            report.content.contains(text),
            "{text} in {}",
            report.content
        );
    }
    // The next message comes after anything that was sent twice.
    send(
        &billing,
        "billing@shop.example",
        "ada@reader.example",
        "last",
    )
    .unwrap();
    receiver.wait_for(|message| message.content.contains("Subject: last"));
    let reports = receiver
        .messages()
        .iter()
        .filter(|message| message.sender.is_empty())
        .count();
    assert_eq!(reports, 1);
}

#[test]
fn o28_o29_mail_and_health_are_reached_by_either_family() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    setup.config["listeners"][2]["address"] = json!("[::]:0");
    setup.config["listeners"][2]["clients"] = json!(["127.0.0.0/8", "::1/128"]);
    setup.config["health"]["address"] = json!("[::]:0");
    setup.write();
    let relay = setup.start();
    let mut addresses = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
    // Not every machine has the other family; the relay then takes the first alone.
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        addresses.push(Ipv6Addr::LOCALHOST.into());
    }
    for address in addresses {
        let at = |port| SocketAddr::new(address, port);
        let (mut line, greeting) = Line::open(at(relay.open().port()));
        assert!(greeting.starts_with("220 "), "{address}: {greeting}");
        line.say("EHLO app.test");
        line.submit(&format!("by {address}"));
        let (code, _) = get(at(relay.health().port()), "/readyz");
        assert_eq!(code, 200, "{address}");
    }
}

#[test]
fn o34_the_greeting_says_which_relay_and_pod_answered() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let relay = setup.start_with(&[("POD_NAME", "outbox-0-x7k2p")]);
    let (_, greeting) = Line::open(relay.open());
    let expected = "220 outbox.test ESMTP shop/outbox outbox-0-x7k2p";
    assert_eq!(greeting.trim_end(), expected);
}
