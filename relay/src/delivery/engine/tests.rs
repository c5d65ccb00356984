//! The engine around a real queue, against scripted mail servers and a DNS server on loopback.

mod asked;
mod connections;
mod conversion;
mod egress;
mod hostile;
mod hosts;
mod names;
mod replies;
mod reports;
mod returns;
mod routes;
mod smarthosts;
mod stopping;
mod suppression;
mod transport;

use super::*;
use crate::context::Context;
use crate::delivery::testing::dns::Dns;
use crate::delivery::testing::peer::{Answer, Behaviour, Peer};
use crate::delivery::testing::{Relay, configuration};

const TEXT: &str = "Subject: hello\r\nFrom: shop@from.example\r\n\r\nhello\r\n";
const SENDER: Option<&str> = Some("shop@[127.0.0.1]");

/// Records of a zone: name, type, data.
type Names<'a> = &'a [(&'a str, &'a str, &'a str)];

/// A domain for each peer of a [`Pair`].
const TWO_DOMAINS: Names<'static> = &[
    ("one.test", "A", "127.0.0.2"),
    ("two.test", "A", "127.0.0.3"),
];

impl Relay {
    /// Submits a message and waits until none is queued.
    async fn finish(&self, sender: Option<&str>, recipients: &[&str]) {
        self.submit(sender, recipients, TEXT).await;
        self.queued(0).await;
    }

    /// Submits a message and waits until nothing is due; how many messages wait for their next
    /// attempt.
    async fn defer(&self, sender: Option<&str>, recipients: &[&str]) -> u64 {
        self.submit(sender, recipients, TEXT).await;
        self.settled().await;
        self.context.queue.status().0
    }

    /// Puts another configuration into force.
    fn reconfigure(&self, configuration: &str) {
        let directory = tempfile::tempdir().unwrap();
        let other = Context::for_test(configuration, directory.path());
        self.context.snapshot.store(other.snapshot.load_full());
    }
}

fn rule(behave: impl Fn(usize, &str) -> Option<Answer> + Send + Sync + 'static) -> Behaviour {
    Behaviour {
        rule: Box::new(behave),
        ..Behaviour::default()
    }
}

/// A peer that says this to every line that starts so.
fn says(start: &'static str, reply: &'static str) -> Behaviour {
    rule(move |_, line| line.starts_with(start).then_some(Answer::Say(reply)))
}

/// A peer that takes no session.
fn refuses(greeting: &'static str) -> Behaviour {
    rule(move |_, line| (line == "connect").then_some(Answer::SayAndClose(greeting)))
}

/// How many recipients each message has that a peer took.
fn recipients(peer: &Peer) -> Vec<usize> {
    let messages = peer.messages();
    messages
        .iter()
        .map(|message| message.recipients.len())
        .collect()
}

/// A relay whose mail for `[127.0.0.1]` goes to a peer.
async fn relay_and_peer(behaviour: Behaviour, delivery: &str) -> (Relay, Peer) {
    let peer = Peer::start(behaviour).await;
    let relay = Relay::start(&configuration(peer.port(), None, delivery));
    (relay, peer)
}

/// A relay with two peers, and the names that lead to them.
struct Pair {
    relay: Relay,
    /// At 127.0.0.2.
    first: Peer,
    /// At 127.0.0.3.
    second: Peer,
    dns: Dns,
}

impl Pair {
    async fn start(names: Names<'_>, first: Behaviour, second: Behaviour, delivery: &str) -> Self {
        let dns = Dns::start(names).await;
        let (first, second) = two_peers(first, second).await;
        let relay = Relay::start(&configuration(first.port(), Some(dns.address), delivery));
        Self {
            relay,
            first,
            second,
            dns,
        }
    }
}

/// Two peers on the same port of different addresses.
async fn two_peers(first: Behaviour, second: Behaviour) -> (Peer, Peer) {
    for _ in 0..20 {
        let peer = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
        let port = peer.local_addr().unwrap().port();
        if std::net::TcpListener::bind(("127.0.0.2", port)).is_ok() {
            drop(peer);
            return (
                Peer::start_at(&format!("127.0.0.2:{port}"), first).await,
                Peer::start_at(&format!("127.0.0.3:{port}"), second).await,
            );
        }
    }
    panic!("no port is free on both addresses");
}
