//! Return paths of a sending domain with a bounce address.

use super::*;
use crate::table::Mark;

const A: &str = "a@[127.0.0.1]";
const B: &str = "b@[127.0.0.1]";
const SHOP: Option<&str> = Some("desk@from.example");

/// A relay whose domain `from.example` has a bounce address, and the text of the return path in a
/// `MAIL` command.
async fn shop(behaviour: Behaviour, bounces: &str) -> (Relay, Peer) {
    let peer = Peer::start(behaviour).await;
    let domain = format!(
        "domains: [{{name: from.example, bounces: {{{bounces}, \
          keys: [AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=]}}}}], dns:"
    );
    let text = configuration(peer.port(), None, "").replace("dns:", &domain);
    (Relay::start(&text), peer)
}

fn return_path(mail: &str) -> relay_smtp::Address {
    let path = mail.strip_prefix("MAIL FROM:<").unwrap();
    relay_smtp::Address::parse(path.split('>').next().unwrap()).unwrap()
}

#[tokio::test]
async fn each_recipient_has_a_return_path_of_its_own_that_the_relay_knows_again() {
    let (relay, peer) = shop(Behaviour::default(), "domain: bounces.from.example").await;
    let id = relay.submit(SHOP, &[A, B], TEXT).await;
    relay.queued(0).await;
    let messages = peer.messages();
    assert_eq!(recipients(&peer), [1, 1]);
    assert_eq!(peer.connections(), 1);
    let snapshot = relay.context.snapshot.load_full();
    let paths = snapshot.domains["from.example"].returns.as_ref().unwrap();
    for (message, to) in messages.iter().zip([A, B]) {
        let path = return_path(&message.mail);
        assert_eq!(path.domain(), "bounces.from.example");
        assert_eq!(message.recipients, [format!("RCPT TO:<{to}>")]);
        let sender = Mark::of(&relay_smtp::Address::parse("desk@from.example").unwrap());
        let made = paths.make(id, &relay_smtp::Address::parse(to).unwrap(), Some(sender));
        assert_eq!(made, Some(path.clone()));
        assert!(paths.check(path.local_part(), now()).is_ok());
        // The author stays, and with it what DKIM and DMARC look at.
        assert!(message.content.contains("From: shop@from.example\r\n"));
    }
    relay.stop().await;
}

#[tokio::test]
async fn who_wants_no_report_or_cannot_get_one_is_not_remembered() {
    use relay_smtp::options::{Notify, RecipientOptions};
    let never = RecipientOptions {
        notify: Some(Notify::default()),
        ..RecipientOptions::default()
    };
    let options = relay_queue::Options {
        recipients: [(0, never)].into(),
        ..relay_queue::Options::default()
    };
    // At a bounce domain there is nobody.
    for (bounces, options) in [
        ("domain: bounces.from.example", options),
        ("domain: from.example", relay_queue::Options::default()),
    ] {
        let (relay, peer) = shop(Behaviour::default(), bounces).await;
        relay.submit_asking(options, SHOP, &[A], TEXT).await;
        relay.queued(0).await;
        let path = return_path(&peer.messages()[0].mail);
        let snapshot = relay.context.snapshot.load_full();
        let paths = snapshot.domains["from.example"].returns.as_ref().unwrap();
        assert_eq!(paths.check(path.local_part(), now()).unwrap().sender, None);
        assert_eq!(relay.context.senders.table.len(), 0);
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_mailbox_for_bounces_gets_subaddresses_and_others_keep_their_sender() {
    let (relay, peer) = shop(Behaviour::default(), "address: bounces@from.example").await;
    relay.finish(SHOP, &[A]).await;
    relay.finish(Some("desk@other.example"), &[A]).await;
    relay.finish(None, &[A]).await;
    let mails: Vec<String> = peer.messages().into_iter().map(|one| one.mail).collect();
    assert!(mails[0].starts_with("MAIL FROM:<bounces+") && mails[0].ends_with("@from.example>"));
    assert_eq!(
        mails[1..],
        ["MAIL FROM:<desk@other.example>", "MAIL FROM:<>"]
    );
    relay.stop().await;
}

#[tokio::test]
async fn what_fails_here_is_reported_to_the_sender_of_the_message() {
    let dns = Dns::start(&[("from.test", "A", "127.0.0.1")]).await;
    let peer = Peer::start(says("RCPT TO:<gone", "550 5.1.1 unknown")).await;
    let domain = "domains: [{name: from.test, bounces: {domain: bounces.from.test, \
         keys: [AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=]}}], dns:";
    let text = configuration(peer.port(), Some(dns.address), "").replace("dns:", domain);
    let relay = Relay::start(&text);
    relay
        .submit(Some("desk@from.test"), &["gone@[127.0.0.1]"], TEXT)
        .await;
    let report = peer.received(1).await.remove(0);
    assert_eq!(report.mail, "MAIL FROM:<>");
    assert_eq!(report.recipients, ["RCPT TO:<desk@from.test>"]);
    relay.stop().await;
}
