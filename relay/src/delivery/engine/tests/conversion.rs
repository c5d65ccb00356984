//! Messages with octets above 127 and servers without `8BITMIME`.

use bytes::Bytes;
use relay_queue::NewMessage;

use super::*;
use crate::delivery::testing::envelope;
use crate::dkim;

const PLAIN: &str = "250-SIZE 100000\r\n";
const EIGHT_BIT: &str = "Received: by relay.example; x\r\nFrom: shop@from.example\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ntr\u{e4}ge\r\n";
/// RFC 8463 appendix A.1.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\\n-----END PRIVATE KEY-----\\n";

fn plain_server() -> Behaviour {
    Behaviour {
        offers: PLAIN,
        ..Behaviour::default()
    }
}

/// The configuration with a domain whose key has this selector.
fn with_key(port: u16, selector: &str, delivery: &str) -> String {
    let domain = format!(
        "domains: [{{name: from.example, dkim: [{{selector: {selector}, algorithm: Ed25519Sha256, privateKey: \"{KEY}\"}}]}}], dns:"
    );
    configuration(port, None, delivery).replace("dns:", &domain)
}

/// Queues a message as intake would: signed with the keys in force, in pieces.
async fn submit_signed(relay: &Relay, text: &str) {
    let domain = relay.context.snapshot.load().domains["from.example"].clone();
    let pieces = vec![Bytes::from(text.to_owned())];
    let signatures = dkim::sign_all(&domain.signers, &pieces).unwrap();
    submit(relay, [vec![signatures], pieces].concat()).await;
}

/// Queues a message with an ASCII envelope.
async fn submit(relay: &Relay, content: Vec<Bytes>) {
    let text = String::from_utf8(content.concat()).unwrap();
    let new = NewMessage {
        id: MessageId::new(now(), fastrand::u128(..)),
        envelope: relay_queue::Envelope {
            smtputf8: false,
            ..envelope(Some("shop@[127.0.0.2]"), &["to@[127.0.0.1]"], &text)
        },
        content,
    };
    relay.context.queue.append(new).await.unwrap();
}

#[tokio::test]
async fn l6_an_8_bit_body_is_converted_and_signed_again_with_the_keys_of_now() {
    let greylisted = Behaviour {
        offers: PLAIN,
        ..rule(|connection, line| {
            let first = connection == 0 && line.starts_with("MAIL");
            first.then_some(Answer::Say("450 4.7.1 later"))
        })
    };
    let peer = Peer::start(greylisted).await;
    let retry = "retry: {initial: 300ms, maximum: 300ms}";
    let relay = Relay::start(&with_key(peer.port(), "winter", retry));
    submit_signed(&relay, EIGHT_BIT).await;
    // Waits for its second attempt, which is made with other keys.
    relay.settled().await;
    relay.reconfigure(&with_key(peer.port(), "spring", retry));
    let taken = peer.received(1).await;
    assert!(!taken[0].mail.contains("BODY="), "{}", taken[0].mail);
    let content = &taken[0].content;
    assert!(content.is_ascii());
    assert_eq!(content.matches("DKIM-Signature").count(), 1, "{content}");
    assert!(content.contains("s=spring;") && !content.contains("winter"));
    let (_, rest) = content.split_once("Received:").unwrap();
    assert!(rest.ends_with(
        "charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n\r\ntr=C3=A4ge\r\n"
    ));
    // What was signed is what arrived: the same keys over it give the same signature but for time.
    let body_hash = |content: &str| {
        let text = content.replace("\r\n\t", "");
        let (_, hash) = text.split_once("bh=").unwrap();
        hash.split(';').next().unwrap().trim().to_owned()
    };
    let again = Bytes::from(format!("Received:{rest}"));
    let domain = relay.context.snapshot.load().domains["from.example"].clone();
    let signed = dkim::sign_all(&domain.signers, &[again]).unwrap();
    assert_eq!(
        body_hash(content),
        body_hash(std::str::from_utf8(&signed).unwrap())
    );
    relay.queued(0).await;
    relay.stop().await;
}

#[tokio::test]
async fn l6_a_server_with_8bitmime_gets_the_message_as_it_was_signed() {
    let peer = Peer::start(Behaviour::default()).await;
    let relay = Relay::start(&with_key(peer.port(), "winter", ""));
    submit_signed(&relay, EIGHT_BIT).await;
    let taken = peer.received(1).await;
    assert!(taken[0].mail.contains("BODY=8BITMIME"));
    assert!(taken[0].content.ends_with(EIGHT_BIT));
    assert!(taken[0].content.contains("s=winter;"));
    relay.queued(0).await;
    relay.stop().await;
}

#[tokio::test]
async fn l6_what_cannot_be_converted_or_signed_again_is_returned_with_5_6_3() {
    let peer = Peer::start(plain_server()).await;
    let reports = Peer::start_at(&format!("127.0.0.2:{}", peer.port()), Behaviour::default()).await;
    let relay = Relay::start(&with_key(peer.port(), "winter", ""));
    let signature = "DKIM-Signature: v=1; d=gone.example; b=x\r\n";
    for (text, cause) in [
        (
            EIGHT_BIT
                .replace("text/plain", "multipart/signed; boundary=b")
                .replace("tr\u{e4}ge", "--b\r\n\r\ntr\u{e4}ge\r\n--b--"),
            "multipart/signed",
        ),
        (EIGHT_BIT.replace("From: ", "From: \u{e5} "), "header field"),
        (
            format!("{signature}{EIGHT_BIT}"),
            "gone.example is no sending domain",
        ),
    ] {
        let before = reports.messages().len();
        submit(&relay, vec![Bytes::from(text)]).await;
        let report = reports.received(before + 1).await.pop().unwrap().content;
        let report = report.replace("=\r\n", "").replace("\r\n ", " ");
        assert!(
            report.contains("5.6.3") && report.contains(cause),
            "{report}"
        );
    }
    assert!(peer.messages().is_empty());
    relay.queued(0).await;
    relay.stop().await;
}
