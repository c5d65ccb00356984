//! `BDAT` and what clients ask for, through to the queue.

use super::*;

const MESSAGE: &str = "From: a@open.example\r\n\r\n.leading\r\n.\r\nend";

#[tokio::test]
async fn r10_r13_chunks_are_queued_as_they_came_and_two_messages_fit_one_packet() {
    let relay = Relay::start("").await;
    let mut client = relay.greeted(2).await;
    let (first, second) = MESSAGE.split_at(30);
    let one = format!(
        "MAIL FROM:<a@open.example>\r\nRCPT TO:<b@dest.example>\r\nBDAT {}\r\n{first}BDAT {} LAST\r\n{second}",
        first.len(),
        second.len()
    );
    client.send(format!("{one}{one}QUIT\r\n").as_bytes()).await;
    let mut codes = Vec::new();
    for _ in 0..9 {
        codes.push(client.reply().await[..3].to_owned());
    }
    assert_eq!(
        codes,
        [
            "250", "250", "250", "250", "250", "250", "250", "250", "221"
        ]
    );
    let queued = relay.queued();
    assert_eq!(queued.len(), 2);
    for (_, content) in queued {
        assert!(
            content.ends_with("\r\n\r\n.leading\r\n.\r\nend\r\n"),
            "{content}"
        );
    }
}

#[tokio::test]
async fn r11_a_message_that_policy_refuses_has_one_reply() {
    let relay = Relay::start("").await;
    let mut client = relay.greeted(2).await;
    client.command("MAIL FROM:<a@open.example>").await;
    client.command("RCPT TO:<b@dest.example>").await;
    client
        .send(b"BDAT 28 LAST\r\nFrom: ceo@bank.example\r\n\r\nhi")
        .await;
    let reply = client.reply().await;
    assert!(reply.starts_with("550 5.7.1 header From"), "{reply}");
    assert_eq!(client.command("NOOP").await[..3], *"250");
    assert!(relay.queued().is_empty());
}

#[tokio::test]
async fn chunks_share_the_memory_for_receiving() {
    let relay = Relay::start("limits: {messageBytes: 200000, receivingBytes: 200000}").await;
    let mut first = relay.greeted(2).await;
    let mut second = relay.greeted(2).await;
    for client in [&mut first, &mut second] {
        client.command("MAIL FROM:<a@open.example>").await;
        client.command("RCPT TO:<b@dest.example>").await;
    }
    let chunk = [b"BDAT 150000\r\n", "x\r\n".repeat(50_000).as_bytes()].concat();
    first.send(&chunk).await;
    assert_eq!(first.reply().await[..3], *"250");
    // What lies between two chunks counts, too.
    second.send(&chunk).await;
    assert_eq!(second.reply().await[..9], *"452 4.3.1");
    assert_eq!(first.command("RSET").await[..3], *"250");
    second.command("MAIL FROM:<a@open.example>").await;
    second.command("RCPT TO:<b@dest.example>").await;
    second.send(&chunk).await;
    assert_eq!(
        second.reply().await[..3],
        *"250",
        "the memory was not given back"
    );
}

#[tokio::test]
async fn r24_what_a_client_asks_for_is_in_the_queue() {
    let relay = Relay::start("").await;
    let mut client = relay.greeted(2).await;
    let before = crate::context::now();
    for line in [
        "MAIL FROM: <a@open.example> RET=FULL ENVID=x+3Dy BY=60;N HOLDFOR=3600 MT-PRIORITY=5",
        "RCPT TO: <b@dest.example> NOTIFY=success,failure ORCPT=rfc822;B+2Bb@dest.example",
        "RCPT TO:<c@dest.example>",
        "DATA",
    ] {
        let reply = client.command(line).await;
        assert!(reply.starts_with(['2', '3']), "{line} {reply}");
    }
    client
        .send(b"From: a@open.example\r\n\r\nhi\r\n.\r\n")
        .await;
    assert_eq!(client.reply().await[..3], *"250");
    assert!(relay.queued().is_empty(), "it is not released yet");
    let due = relay.context.queue.next_due().unwrap();
    assert!(due.0 >= before.0 + 3_600_000 && due.0 < before.0 + 3_660_000);
    let work = relay.context.queue.take(due, &mut |_| true).unwrap();
    let options = &work.envelope.options;
    assert_eq!(options.release_at, Some(due));
    assert_eq!(options.deadline.unwrap().at.0, due.0 + 60_000);
    assert_eq!(options.envelope_id.as_deref(), Some("x=y"));
    assert_eq!(options.priority, 5);
    assert_eq!(options.recipients.len(), 1);
    let first = work.envelope.recipient_options(0).unwrap();
    assert!(first.reports_success() && first.reports_failure());
    assert_eq!(first.original.as_ref().unwrap().address, "B+b@dest.example");
}

#[tokio::test]
async fn r25_a_strict_listener_forgives_nothing() {
    let relay = Relay::start("limits: {maximumHold: 0s}").await;
    let mut client = relay.greeted(7).await;
    assert_eq!(
        client.command("MAIL FROM: <a@open.example>").await[..9],
        *"501 5.5.4"
    );
    assert_eq!(
        client.command("MAIL FROM:<a@open.example> HOLDFOR=1").await[..9],
        *"555 5.5.4"
    );
    assert_eq!(
        client.command("MAIL FROM:<a@open.example>").await[..3],
        *"250"
    );
}

#[tokio::test]
async fn binary_content_becomes_text_that_decodes_to_the_same_octets() {
    let relay = Relay::start("").await;
    let mut client = relay.greeted(2).await;
    let image = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\r.\n";
    let content = [
        b"From: a@open.example\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\n\
          Content-Transfer-Encoding: binary\r\n\r\n"
            .as_slice(),
        image,
    ]
    .concat();
    let reply = client
        .command("MAIL FROM:<a@open.example> BODY=BINARYMIME")
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    client.command("RCPT TO:<b@dest.example>").await;
    client
        .send(format!("BDAT {} LAST\r\n", content.len()).as_bytes())
        .await;
    client.send(&content).await;
    let reply = client.reply().await;
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    let queued = relay.queued();
    let [(_, content)] = &queued[..] else {
        panic!("{queued:?}");
    };
    assert!(
        content.is_ascii() && !content.contains("binary"),
        "{content}"
    );
    let (_, body) = content.split_once("\r\n\r\n").unwrap();
    let decoded = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        body.replace("\r\n", ""),
    );
    assert_eq!(decoded.unwrap(), image);
}
