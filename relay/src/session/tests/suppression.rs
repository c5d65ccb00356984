//! Recipients that a sending domain must not write to.

use crate::suppression::{Cause, Entry, Mark, Source};

use super::*;

/// Kept open in the tests: listener 4 takes passwords without TLS.
const CLEAR: usize = 4;

async fn suppress(relay: &Relay, domain: &str, recipient: &str) {
    let address = relay_smtp::Address::parse(recipient).unwrap();
    let now = crate::context::now();
    let entry = Entry {
        domain: domain.into(),
        mark: Mark::of(&address),
        address: Some(address),
        cause: Cause::HardBounce,
        source: Source::Reply,
        detail: "550 5.1.1 no such user".into(),
        message: None,
        since: now,
        expires: None,
    };
    relay.context.suppressions.add(entry, now).await.unwrap();
}

#[tokio::test]
async fn a_suppressed_recipient_is_refused_at_rcpt_and_the_others_get_the_message() {
    let relay = Relay::start("").await;
    suppress(&relay, "shop.example", "gone@dest.example").await;
    suppress(&relay, "other.example", "bob@dest.example").await;
    let mut client = relay.greeted(CLEAR).await;
    assert_eq!(client.log_in("otter").await[..3], *"235");
    client
        .send(
            b"MAIL FROM:<desk@shop.example>\r\nRCPT TO:<Gone@Dest.example>\r\n\
              RCPT TO:<bob@dest.example>\r\nDATA\r\n",
        )
        .await;
    assert_eq!(client.reply().await[..3], *"250");
    let refused = client.reply().await;
    assert!(refused.starts_with("550 5.1.1 <Gone@dest.example> is on the suppression list of shop.example: there is no such mailbox; take it off your list"), "{refused}");
    assert_eq!(client.reply().await[..3], *"250");
    assert_eq!(client.reply().await[..3], *"354");
    client.send(format!("{MESSAGE}\r\n.\r\n").as_bytes()).await;
    assert_eq!(client.reply().await[..3], *"250");
    let queued = relay.queued();
    assert_eq!(queued[0].0.envelope.recipients.len(), 1);
}

#[tokio::test]
async fn with_the_null_sender_it_is_the_author_s_list_that_counts() {
    let relay = Relay::start("").await;
    suppress(&relay, "shop.example", "bob@dest.example").await;
    let mut client = relay.greeted(CLEAR).await;
    assert_eq!(client.log_in("otter").await[..3], *"235");
    let reply = client.submit("", MESSAGE).await;
    assert!(reply.starts_with("550 5.1.1 <bob@dest.example>"), "{reply}");
    assert!(relay.queued().is_empty());
}
