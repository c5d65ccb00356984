//! Mail that goes from a shard that is to go to one that stays, with both killed on the way.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use serde_json::json;

use crate::authority::Authority;
use crate::client::Line;
use crate::http::metrics_with;
use crate::receiver::Receiver;
use crate::relay::{PATIENCE, Relay, Setup};

const SESSIONS: usize = 20;
const PER_SESSION: usize = 150;
const SERVER_NAME: &str = "outbox.shards.test";

/// Two shards of one relay: addresses of a network of this test's own, and one port.
struct Shards {
    setups: [Setup; 2],
}

impl Shards {
    fn new(receiver: SocketAddr) -> Self {
        let process = std::process::id().to_be_bytes();
        let hosts =
            [1, 2].map(|shard| format!("127.{}.{}.{shard}", 100 + process[2] % 100, process[3]));
        let port = TcpListener::bind((hosts[0].as_str(), 0)).unwrap();
        let port = port.local_addr().unwrap().port();
        let shards = Authority::new();
        let setups = [0, 1].map(|shard: usize| {
            let mut setup = Setup::new(receiver);
            let leaf = shards.leaf(SERVER_NAME);
            setup.replace("shard.crt", leaf.certificate.as_bytes());
            setup.replace("shard.key", leaf.key.as_bytes());
            setup.replace("shards.crt", shards.pem().as_bytes());
            setup.config["admin"] = json!({
                "address": format!("{}:{port}", hosts[shard]), "certificate": "shard.crt",
                "key": "shard.key", "clientAuthority": "shards.crt",
            });
            setup.config["siblings"] =
                json!({"hosts": hosts, "port": port, "serverName": SERVER_NAME});
            setup.write();
            setup
        });
        Self { setups }
    }

    fn start(&self, shard: usize) -> Relay {
        self.setups[shard].start_with(&[("RELAY_SHARD", &shard.to_string())])
    }

    /// From now on the second one is to go.
    fn shrink(&mut self) {
        for setup in &mut self.setups {
            setup.config["siblings"]["leaving"] = json!([1]);
            setup.write();
        }
    }
}

fn submit(address: SocketAddr) {
    let sender = |session: usize| {
        std::thread::spawn(move || {
            let (mut line, _) = Line::open(address);
            line.say("EHLO app.test");
            for number in 0..PER_SESSION {
                line.submit(&format!("{session}-{number}"));
            }
        })
    };
    let senders: Vec<_> = (0..SESSIONS).map(sender).collect();
    for sender in senders {
        sender.join().unwrap();
    }
}

/// How often each message has come.
fn ledger(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut ledger = BTreeMap::new();
    for message in receiver.messages() {
        let mut lines = message.content.lines();
        let subject = lines.find_map(|line| line.strip_prefix("Subject: "));
        *ledger.entry(subject.unwrap().to_owned()).or_default() += 1;
    }
    ledger
}

#[test]
fn a_queue_is_handed_over_and_kill_9_on_either_side_neither_loses_nor_doubles_a_message() {
    let receiver = Receiver::start();
    let mut shards = Shards::new(receiver.address);
    let mut staying = shards.start(0);
    let mut leaving = shards.start(1);
    receiver.close();
    submit(leaving.open());
    let begun = Instant::now();
    shards.shrink();
    for turn in 0..6 {
        // At whatever moment of a batch that is.
        if turn % 2 == 0 {
            leaving.logged("handed over to another shard");
            leaving.kill();
            leaving = shards.start(1);
        } else {
            staying.logged("taken over from another shard");
            staying.kill();
            staying = shards.start(0);
        }
        assert!(begun.elapsed() < PATIENCE);
        if leaving.log_text().contains("\"messages\":0") {
            break;
        }
    }
    metrics_with(&leaving, "relay_queue_messages 0");
    assert_eq!(receiver.messages().len(), 0);
    // What was held finds its owner without the other side's help.
    leaving.kill();
    let _gone = shards.start(1);
    receiver.open();
    receiver.wait_until(|messages| messages.len() >= SESSIONS * PER_SESSION);
    metrics_with(&staying, "relay_queue_messages 0");
    let ledger = ledger(&receiver);
    assert_eq!(ledger.len(), SESSIONS * PER_SESSION);
    assert!(
        ledger.values().all(|times| *times == 1),
        "nothing was delivered twice"
    );
}
