//! What servers say of mailboxes, and what is remembered of it.

use crate::suppression::{Cause, Entry, Mark};

use super::*;

const SHOP: Option<&str> = Some("shop@from.example");

/// A relay with the sending domain `from.example`; `settings` are more of its.
async fn shop(behaviour: Behaviour, settings: &str) -> (Relay, Peer) {
    let peer = Peer::start(behaviour).await;
    let domain = format!("domains: [{{name: from.example{settings}}}], dns:");
    let text = configuration(peer.port(), None, "").replace("dns:", &domain);
    (Relay::start(&text), peer)
}

impl Relay {
    fn suppressed(&self, recipient: &str) -> Option<Entry> {
        let mark = Mark::of(&relay_smtp::Address::parse(recipient).unwrap());
        self.context.suppressions.find("from.example", mark, now())
    }
}

#[tokio::test]
async fn a_mailbox_that_a_server_does_not_have_is_suppressed_and_no_other() {
    let behaviour = rule(|_, line| {
        let reply = match line.split_once("RCPT TO:<")?.1.split_once('@')?.0 {
            "gone" => "550 5.1.1 User unknown",
            "blocked" => "550 5.1.1 blocked using zen.spamhaus.org",
            "full" => "552 5.2.2 over quota",
            "policy" => "550 5.7.1 for policy reasons",
            "later" => "450 4.1.1 User unknown",
            _ => return None,
        };
        Some(Answer::Say(reply))
    });
    let (relay, _peer) = shop(behaviour, "").await;
    let to = ["blocked", "full", "policy", "later", "taken", "gone"];
    let to = to.map(|name| format!("{name}@[127.0.0.1]"));
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    relay.submit(SHOP, &to, TEXT).await;
    let found = async {
        loop {
            if let Some(entry) = relay.suppressed("gone@[127.0.0.1]") {
                return entry;
            }
            tokio::task::yield_now().await;
        }
    };
    let patience = crate::delivery::testing::PATIENCE;
    let entry = tokio::time::timeout(patience, found).await.unwrap();
    assert_eq!(entry.cause, Cause::HardBounce);
    assert_eq!(entry.detail, "550 5.1.1 User unknown");
    let lasts = entry.expires.unwrap().0 - entry.since.0;
    assert_eq!(lasts, 30 * 24 * 3600 * 1000);
    assert_eq!(relay.context.suppressions.len(), 1);
    relay.stop().await;
}

#[tokio::test]
async fn nothing_is_remembered_where_the_domain_says_so_or_is_none_of_ours() {
    for (settings, sender) in [
        (", suppression: {hardBounces: 0s}", SHOP),
        ("", SENDER),
        ("", None),
    ] {
        let (relay, _peer) = shop(says("RCPT TO:<gone", "550 5.1.1 User unknown"), settings).await;
        relay.submit(sender, &["gone@[127.0.0.1]"], TEXT).await;
        // What is added is added before the next message is settled, or it is not.
        relay.finish(None, &["taken@[127.0.0.1]"]).await;
        relay.context.queue.close();
        assert_eq!(relay.context.suppressions.len(), 0, "{settings} {sender:?}");
    }
}
