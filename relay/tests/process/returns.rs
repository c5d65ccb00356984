//! Reports that come back by mail, through the real binary: a message leaves with a return path of its
//! own, a server reports to that path, and the next message to the recipient is refused.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::client::{Line, billing, send};
use crate::receiver::{Received, Receiver};
use crate::relay::{Relay, Setup, command};

/// The domain whose mail is reports.
const BOUNCES: &str = "bounces.shop.example";
/// Number of the listener with `role: Bounces`.
const REPORTS: usize = 3;
const FROM: &str = "billing@shop.example";

/// A relay for `shop.example` with a bounce domain, and a health port of which the configuration knows
/// the number, as `relay suppressions` needs it.
pub(crate) fn setup(receiver: &Receiver) -> Setup {
    let mut setup = Setup::new(receiver.address);
    let listeners = setup.config["listeners"].as_array_mut().unwrap();
    listeners.push(json!({
        "name": "mx", "address": "127.0.0.1:0", "role": "Bounces", "tls": "None",
        "authentication": "None",
    }));
    setup.config["domains"][0]["bounces"] = json!({
        "domain": BOUNCES, "keys": ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="],
    });
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    setup.config["health"]["address"] = json!(free.local_addr().unwrap().to_string());
    drop(free);
    setup.write();
    setup
}

/// Sends a message and takes it at the receiver: the reply to the client, and what arrived.
fn deliver(relay: &Relay, setup: &Setup, receiver: &Receiver, to: &str, subject: &str) -> Received {
    let billing = billing(relay.submission(), &setup.authority);
    send(&billing, FROM, to, subject).unwrap();
    receiver.wait_for(|message| message.content.contains(subject))
}

/// What the listener for reports answers to each of `lines` after `EHLO`; the last answer.
fn say(relay: &Relay, lines: &[&str]) -> String {
    let (mut line, greeting) = Line::open(relay.address(&format!("listeners[{REPORTS}].address")));
    assert!(greeting.starts_with("220"), "{greeting}");
    line.say("EHLO mx.reader.example");
    lines.iter().fold(String::new(), |_, text| line.say(text))
}

/// Brings a report; the answer to its end.
pub(crate) fn report(relay: &Relay, to: &str, content: &str) -> String {
    let recipient = format!("RCPT TO:<{to}>");
    let end = format!("{content}\r\n.");
    say(relay, &["MAIL FROM:<>", &recipient, "DATA", &end])
}

/// RFC 3464, as Postfix writes it.
pub(crate) fn bounce(of: &str, original: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.reader.example (Mail Delivery System)\r\n\
         Subject: Undelivered Mail Returned to Sender\r\nTo: {of}\r\nMIME-Version: 1.0\r\n\
         Auto-Submitted: auto-replied\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"9B7C/mx\"\r\n\r\n\
         This is a MIME-encapsulated message.\r\n\r\n--9B7C/mx\r\n\
         Content-Description: Notification\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         I'm sorry to have to inform you that your message could not be delivered.\r\n\r\n--9B7C/mx\r\n\
         Content-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.reader.example\r\nX-Postfix-Queue-ID: 9B7C\r\n\r\n\
         Final-Recipient: rfc822; {of}\r\nOriginal-Recipient: rfc822;{of}\r\n\
         Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; store.reader.example\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 <{of}>: nobody of that name\r\n\r\n--9B7C/mx\r\n\
         Content-Type: message/rfc822-headers\r\n\r\n{original}\r\n--9B7C/mx--"
    )
}

/// RFC 5965, as a feedback loop writes it.
fn complaint(original: &Received) -> String {
    format!(
        "From: feedback@mailbox.example\r\nSubject: FW: invoice\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=arf\r\n\r\n\
         --arf\r\nContent-Type: text/plain\r\n\r\nThis is an email abuse report.\r\n\
         --arf\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n\
         User-Agent: Loop/1.0\r\nVersion: 1\r\n\r\n\
         --arf\r\nContent-Type: message/rfc822\r\n\r\nReturn-Path: <{}>\r\n{}\r\n--arf--",
        original.sender,
        original.content.replace('\n', "\r\n")
    )
}

/// The list by `relay suppressions list` and by the API, which must agree.
pub(crate) fn listed(relay: &Relay, setup: &Setup) -> Vec<Value> {
    let config = setup.path("relay.json");
    let output = command()
        .args(["suppressions", "list", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let (code, body) = crate::http::get_local(relay.health(), "/v1/suppressions");
    assert_eq!(code, 200, "{body}");
    let page: Value = serde_json::from_str(&body).unwrap();
    let entries = page["entries"].as_array().unwrap().clone();
    assert_eq!(text.lines().count(), entries.len(), "{text}");
    for entry in &entries {
        let recipient = entry.get("address").unwrap_or(&entry["mark"]);
        assert!(text.contains(recipient.as_str().unwrap()), "{text}");
    }
    entries
}

#[test]
fn a_recipient_that_a_report_says_is_unknown_is_refused_the_next_time() {
    let receiver = Receiver::start();
    let setup = setup(&receiver);
    let relay = setup.start();
    let to = "ada@reader.example";
    let arrived = deliver(&relay, &setup, &receiver, to, "Subject: invoice 1");
    let (local, domain) = arrived.sender.split_once('@').unwrap();
    assert!(local.starts_with("b-") && local.len() <= 64, "{local}");
    assert_eq!(domain, BOUNCES);
    let reply = report(&relay, &arrived.sender, &bounce(to, "Subject: invoice 1"));
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    let entries = listed(&relay, &setup);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["address"], to);
    assert_eq!(entries[0]["cause"], "hardBounce");
    assert_eq!(entries[0]["source"], "report");
    let detail = entries[0]["detail"].as_str().unwrap();
    assert!(detail.contains("nobody of that name"), "{detail}");
    let billing = billing(relay.submission(), &setup.authority);
    let (code, text) = send(&billing, FROM, to, "invoice 2").unwrap_err();
    assert_eq!(code, 550, "{text}");
    assert!(
        text.contains("is on the suppression list of shop.example"),
        "{text}"
    );
    assert!(text.contains("there is no such mailbox"), "{text}");
    // Who sent it is told, in the server's words, as of a bounce that comes at once.
    let told = receiver.wait_for(|message| message.recipients == [FROM]);
    assert_eq!(told.sender, "");
    assert!(
        told.content
            .starts_with("Received: from mx.reader.example "),
        "{}",
        told.content
    );
    assert!(
        told.content.contains("\nAction: failed\n"),
        "{}",
        told.content
    );
    assert!(
        told.content.contains("\nSubject: invoice 1\n"),
        "{}",
        told.content
    );
    // Others are still written to.
    deliver(
        &relay,
        &setup,
        &receiver,
        "bob@reader.example",
        "Subject: invoice 3",
    );
}

#[test]
fn a_sender_is_told_of_a_bounce_that_comes_after_the_relay_was_killed() {
    let receiver = Receiver::start();
    let setup = setup(&receiver);
    let relay = setup.start();
    let to = "ada@reader.example";
    let arrived = deliver(&relay, &setup, &receiver, to, "Subject: invoice 1");
    relay.kill();
    let relay = setup.start();
    let reply = report(&relay, &arrived.sender, &bounce(to, "Subject: invoice 1"));
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    receiver.wait_for(|message| message.recipients == [FROM] && message.sender.is_empty());
    crate::http::metrics_with(&relay, "relay_bounces_total{result=\"passed_on\"} 1");
}

#[test]
fn a_recipient_who_complains_is_refused_the_next_time() {
    let receiver = Receiver::start();
    let setup = setup(&receiver);
    let relay = setup.start();
    let to = "ada@mailbox.example";
    let arrived = deliver(&relay, &setup, &receiver, to, "Subject: offer 1");
    // Whoever complains is not named, and the report goes to the address of the feedback loop.
    let reply = report(
        &relay,
        &format!("complaints@{BOUNCES}"),
        &complaint(&arrived),
    );
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    let entries = listed(&relay, &setup);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["cause"], "complaint");
    assert_eq!(entries[0].get("address"), None);
    let billing = billing(relay.submission(), &setup.authority);
    let (code, text) = send(&billing, FROM, to, "offer 2").unwrap_err();
    assert_eq!(code, 550, "{text}");
    assert!(text.contains("its owner complained"), "{text}");
}

/// Thirty things that a stranger says to the port for reports; each is refused, nothing is queued, and
/// nobody is suppressed.
#[test]
fn the_port_for_reports_relays_in_none_of_thirty_ways() {
    let receiver = Receiver::start();
    let setup = setup(&receiver);
    let relay = setup.start();
    let arrived = deliver(
        &relay,
        &setup,
        &receiver,
        "ada@reader.example",
        "Subject: one",
    );
    crate::http::metrics_with(&relay, "relay_queue_messages 0");
    let good = arrived.sender.as_str();
    let local = good.split('@').next().unwrap();
    let mut ways = recipients(local);
    ways.extend(contents(good));
    assert!(ways.len() >= 30, "{}", ways.len());
    for (lines, refusal) in &ways {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let reply = say(&relay, &lines);
        assert!(reply.starts_with(refusal), "{lines:?}: {reply}");
    }
    let metrics = crate::http::metrics_with(&relay, "relay_queue_messages 0");
    let accepted = metrics
        .lines()
        .filter(|line| line.starts_with("relay_messages_accepted_total{"));
    assert_eq!(
        accepted.collect::<Vec<_>>(),
        ["relay_messages_accepted_total{listener=\"submission\"} 1"]
    );
    assert_eq!(receiver.messages().len(), 1);
    assert!(listed(&relay, &setup).is_empty());
    // The path itself is good.
    let reply = report(&relay, good, &bounce("ada@reader.example", "Subject: one"));
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
}

type Way = (Vec<String>, &'static str);

/// Recipients that are no return path of the relay.
fn recipients(good: &str) -> Vec<Way> {
    let changed = |place: usize| {
        let mut octets = good.as_bytes().to_vec();
        octets[place] = if octets[place] == b'7' { b'6' } else { b'7' };
        String::from_utf8(octets).unwrap()
    };
    let at_home = |local: &str| format!("<{local}@{BOUNCES}>");
    let rows: Vec<(String, &'static str)> = vec![
        ("<ada@reader.example>".into(), "550 5.1.1"),
        ("<billing@shop.example>".into(), "550 5.1.1"),
        (format!("<{good}@shop.example>"), "550 5.1.1"),
        (format!("<{good}@x.{BOUNCES}>"), "550 5.1.1"),
        (format!("<{good}@bounces.shop.example.org>"), "550 5.1.1"),
        (at_home("postmaster"), "550 5.1.1"),
        (at_home("abuse"), "550 5.1.1"),
        (at_home("complaint"), "550 5.1.1"),
        (at_home("b-"), "550 5.1.1"),
        (at_home(&good[..good.len() - 1]), "550 5.1.1"),
        (at_home(&good[2..]), "550 5.1.1"),
        (at_home(&changed(good.len() - 1)), "550 5.1.1"),
        (at_home(&changed(20)), "550 5.1.1"),
        (at_home(&changed(32)), "550 5.1.1"),
        (at_home(&format!("ada%reader.example+{good}")), "501 5.1.3"),
        (at_home("ada%reader.example"), "550 5.1.1"),
        (at_home("reader.example!ada"), "550 5.1.1"),
        (at_home("\"ada@reader.example\""), "550 5.1.1"),
        (format!("<@{BOUNCES}:ada@reader.example>"), "5"),
        ("<ada@[127.0.0.1]>".into(), "550 5.1.1"),
        ("<postmaster>".into(), "550 5.1"),
    ];
    rows.into_iter()
        .map(|(path, refusal)| {
            let lines = vec!["MAIL FROM:<>".into(), format!("RCPT TO:{path}")];
            (lines, refusal)
        })
        .collect()
}

/// What is no report, and commands of clients.
fn contents(good: &str) -> Vec<Way> {
    let to = |path: &str, content: &str| {
        vec![
            "MAIL FROM:<ceo@bank.example>".into(),
            format!("RCPT TO:<{path}>"),
            "DATA".into(),
            format!("{content}\r\n."),
        ]
    };
    let complaints = format!("complaints@{BOUNCES}");
    let about_another = complaint(&Received {
        sender: format!("b-{}@{BOUNCES}", "0".repeat(62)),
        recipients: Vec::new(),
        content: "Subject: x\n\nx\n".into(),
    });
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    let wrapped = "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\
                   Content-Type: message/rfc822\r\n\r\nTo: ada@reader.example\r\n\r\nbuy\r\n--b--";
    vec![
        (to(good, "To: ada@reader.example\r\n\r\nbuy"), "550 5.6.0"),
        (
            to(good, "Subject: Out of office\r\n\r\nback on Monday"),
            "550 5.6.0",
        ),
        (to(good, wrapped), "550 5.6.0"),
        (
            to(
                good,
                "Content-Type: message/delivery-status\r\n\r\nAction: failed",
            ),
            "550 5.6.0",
        ),
        (
            to(&complaints, &bounce("ada@reader.example", "x: y")),
            "550 5.6.0",
        ),
        (to(&complaints, &about_another), "550 5.1.1"),
        (
            lines(&["AUTH PLAIN AGJpbGxpbmcAYmx1ZS1vdHRlci00Mg=="]),
            "503",
        ),
        (lines(&["AUTH LOGIN"]), "503"),
        (lines(&["VRFY ada@reader.example"]), "252"),
        (lines(&["EXPN list"]), "502"),
        (lines(&["ETRN shop.example"]), "502"),
        (lines(&["MAIL FROM:<>", "DATA"]), "503"),
    ]
}

#[test]
fn a_return_path_whose_time_is_over_is_refused_with_the_reason() {
    let receiver = Receiver::start();
    let mut setup = setup(&receiver);
    setup.config["domains"][0]["bounces"]["validFor"] = json!("1ms");
    setup.write();
    let relay = setup.start();
    let arrived = deliver(
        &relay,
        &setup,
        &receiver,
        "ada@reader.example",
        "Subject: old",
    );
    let recipient = format!("RCPT TO:<{}>", arrived.sender);
    let reply = say(&relay, &["MAIL FROM:<>", &recipient]);
    assert!(reply.starts_with("550 5.1.1"), "{reply}");
    assert!(
        reply.contains("the time of this return path is over"),
        "{reply}"
    );
}
