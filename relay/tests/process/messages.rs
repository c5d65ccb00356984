//! Messages that mail cannot carry as they are, through the real binary, read by Python's `email`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::client::Line;
use crate::receiver::Receiver;
use crate::relay::{Setup, dkim_key};

/// Prints the decoded leaf parts of the message on standard input, each as a line of base64.
const LEAVES: &str = "import base64, email, email.policy, sys\n\
    message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.compat32)\n\
    for part in message.walk():\n\
    \x20   if not part.is_multipart():\n\
    \x20       print(part.get_content_type(), base64.b64encode(part.get_payload(decode=True)).decode())\n";

fn leaves(message: &str) -> String {
    let mut python = Command::new("python3")
        .args(["-c", LEAVES])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    input.write_all(message.as_bytes()).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Submits over the listener without TLS; the reply to the final dot.
fn submit(relay: &crate::relay::Relay, content: &str) -> String {
    let (mut line, _) = Line::open(relay.open());
    line.say("EHLO app.test");
    line.say("MAIL FROM:<billing@shop.example> BODY=8BITMIME");
    line.say("RCPT TO:<ada@reader.example>");
    line.say("DATA");
    for text in content.split_inclusive("\r\n") {
        line.write(&if text.starts_with('.') {
            format!(".{text}")
        } else {
            text.into()
        });
    }
    line.say(".")
}

/// The relaxed body hash of RFC 6376 section 3.4.4, for a body without runs of white space.
fn body_hash(body: &str) -> String {
    let lines: Vec<&str> = body
        .split("\r\n")
        .map(|line| line.trim_end_matches([' ', '\t']))
        .collect();
    let text = lines.join("\r\n");
    let canonical = format!("{}\r\n", text.trim_end_matches("\r\n"));
    BASE64.encode(digest(&SHA256, canonical.as_bytes()))
}

#[test]
fn l1_l2_l3_long_lines_arrive_as_they_were_signed_and_decode_to_what_was_sent() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    setup.config["domains"][0]["dkim"] = serde_json::json!([dkim_key()]);
    setup.write();
    let relay = setup.start();
    let long = "tr\u{e4}ge;".repeat(200);
    let references = "<1@shop.example> ".repeat(70);
    let sent = format!(
        "From: billing@shop.example\r\nTo:A <ada@reader.example>,b@reader.example\r\nReferences: {references}\r\n\
         Subject: long\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\npreamble\r\n\
         --outer\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>{long}</p>\r\n.\r\n\
         --outer\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\n{long}\r\n\
         --outer\r\nContent-Type: application/x-data\r\n\r\n{long}\r\n\
         --outer\r\n\r\nshort, as it was\r\n--outer--\r\n"
    );
    let reply = submit(&relay, &sent);
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    let arrived = receiver.wait_for(|message| message.content.contains("Subject: long"));
    let arrived = arrived.content.replace('\n', "\r\n");
    assert!(arrived.split("\r\n").all(|line| line.len() <= 998));
    assert_eq!(leaves(&arrived), leaves(&sent));
    assert!(arrived.contains("\r\nTo:A <ada@reader.example>,b@reader.example\r\n"));
    assert!(arrived.contains("\r\npreamble\r\n--outer\r\n"));
    assert!(arrived.ends_with("\r\n--outer\r\n\r\nshort, as it was\r\n--outer--\r\n"));
    let (header, body) = arrived.split_once("\r\n\r\n").unwrap();
    let tags = header.replace("\r\n\t", "");
    let (_, signed) = tags.split_once("bh=").unwrap();
    assert_eq!(signed.split(';').next().unwrap(), body_hash(body));
    assert!(
        header
            .replace("\r\n ", " ")
            .contains(&format!("References: {references}"))
    );
}

#[test]
fn l1_a_signed_part_with_a_long_line_is_refused_and_not_queued() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let relay = setup.start();
    let reply = submit(
        &relay,
        &format!(
            "From: billing@shop.example\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n{}\r\n--b--\r\n",
            "x".repeat(1200)
        ),
    );
    assert!(
        reply.starts_with("554 5.6.0 a line has 1200 octets"),
        "{reply}"
    );
    assert!(reply.contains("multipart/signed"), "{reply}");
    let metrics = crate::http::get(relay.health(), "/metrics").1;
    assert!(metrics.contains("relay_queue_messages 0"));
}

#[test]
fn hidden_clients_do_not_show_in_what_arrives() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    setup.config["privacy"] = serde_json::json!({"hideClients": true});
    setup.write();
    let relay = setup.start();
    let reply = submit(
        &relay,
        "Received: from pod-7 ([10.1.2.3])\r\n\tby sidecar; Mon, 21 Sep 2026 14:13:20 +0000\r\n\
         From: billing@shop.example\r\nSubject: hidden\r\n\r\nx\r\n",
    );
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    let arrived = receiver.wait_for(|message| message.content.contains("Subject: hidden"));
    for secret in ["127.0.0.1", "app.test", "pod-7", "10.1.2.3", "sidecar"] {
        assert!(
            !arrived.content.contains(secret),
            "{secret} in {}",
            arrived.content
        );
    }
    assert!(
        arrived
            .content
            .starts_with("Received: by outbox.test with ESMTP id ")
    );
}
