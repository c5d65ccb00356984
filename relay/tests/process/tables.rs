//! Two shards of one relay on the loopback network: what one knows of recipients and senders the other
//! knows too, and who was away hears of it when it is back.

use std::net::TcpListener;
use std::time::Instant;

use serde_json::{Value, json};

use crate::client::{Line, billing, send};
use crate::receiver::Receiver;
use crate::relay::{PATIENCE, Relay, Setup, command};
use crate::returns::{bounce, listed, report, setup};

const SERVER_NAME: &str = "outbox.shards.test";
const FROM: &str = "billing@shop.example";

/// Configurations of two shards that know each other.
fn pair(receiver: &Receiver) -> [Setup; 2] {
    let mut setups = [0, 1].map(|_| setup(receiver));
    // Addresses of this test's own, so that both shards can have one port, as pods do.
    let block = format!("127.{}.{}", fastrand::u8(1..255), fastrand::u8(..));
    let hosts = [1, 2].map(|number| format!("{block}.{number}"));
    let free = hosts.each_ref().map(|host| {
        let free = TcpListener::bind((host.as_str(), 0)).unwrap();
        free.local_addr().unwrap().port()
    });
    let port = free[0];
    let root = setups[0].authority.pem();
    for (shard, host) in hosts.iter().enumerate() {
        let leaf = setups[0].authority.leaf(SERVER_NAME);
        let setup = &mut setups[shard];
        setup.replace("admin.crt", leaf.certificate.as_bytes());
        setup.replace("admin.key", leaf.key.as_bytes());
        setup.replace("shards.crt", root.as_bytes());
        setup.config["admin"] = json!({
            "address": format!("{host}:{port}"), "certificate": "admin.crt", "key": "admin.key",
            "clientAuthority": "shards.crt",
        });
        setup.config["siblings"] = json!({"hosts": hosts, "port": port, "serverName": SERVER_NAME});
        setup.write();
    }
    setups
}

fn start(setups: &[Setup; 2], shard: usize) -> Relay {
    setups[shard].start_with(&[("RELAY_SHARD", &shard.to_string())])
}

/// `relay suppressions add|remove` at a shard.
fn edit(setup: &Setup, what: &str, to: &str) {
    let config = setup.path("relay.json");
    let config = config.to_str().unwrap();
    let output = command()
        .args(["suppressions", what, "shop.example", to, "--config", config])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{what} {to}: {text}");
}

/// Waits until the list of a shard, by command and by API, has these recipients and no others.
fn lists(relay: &Relay, setup: &Setup, expected: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, page) = crate::http::get_local(relay.health(), "/v1/suppressions");
        let page: Value = serde_json::from_str(&page).unwrap();
        let entries = page["entries"].as_array().unwrap();
        let mut names: Vec<_> = entries
            .iter()
            .map(|entry| entry["address"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        if names == expected {
            assert_eq!(listed(relay, setup).len(), expected.len());
            return;
        }
        assert!(Instant::now() < deadline, "{names:?} and not {expected:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// What `RCPT` is answered by a shard.
fn rcpt(relay: &Relay, to: &str) -> String {
    let (mut line, _) = Line::open(relay.open());
    line.say("EHLO app.test");
    line.say(&format!("MAIL FROM:<{FROM}>"));
    line.say(&format!("RCPT TO:<{to}>"))
}

#[test]
fn a_recipient_is_suppressed_and_released_on_all_shards_whichever_is_told() {
    let receiver = Receiver::start();
    let setups = pair(&receiver);
    let shards = [start(&setups, 0), start(&setups, 1)];
    let to = "ada@reader.example";
    edit(&setups[0], "add", to);
    // At once, and not when tables are compared.
    crate::http::metrics_with(
        &shards[0],
        "relay_tables_total{result=\"told\",table=\"suppressions\"} 1",
    );
    lists(&shards[1], &setups[1], &[to]);
    let reply = rcpt(&shards[1], to);
    assert!(reply.starts_with("550 5.1.0"), "{reply}");
    assert_eq!(
        listed(&shards[0], &setups[0]),
        listed(&shards[1], &setups[1])
    );
    edit(&setups[1], "remove", to);
    lists(&shards[0], &setups[0], &[]);
    for shard in &shards {
        let reply = rcpt(shard, to);
        assert!(reply.starts_with("250"), "{reply}");
    }
    // A server's word at one counts at the other, too.
    let unknown = "unknown@reader.example";
    let billing = billing(shards[0].submission(), &setups[0].authority);
    send(&billing, FROM, unknown, "invoice 1").unwrap();
    lists(&shards[1], &setups[1], &[unknown]);
    let reply = rcpt(&shards[1], unknown);
    assert!(reply.starts_with("550 5.1.1"), "{reply}");
}

#[test]
fn a_shard_that_was_killed_hears_what_it_missed_and_tells_what_only_it_knew() {
    let receiver = Receiver::start();
    let setups = pair(&receiver);
    let [ada, bob, eve] = [
        "ada@reader.example",
        "bob@reader.example",
        "eve@reader.example",
    ];
    let shards = [start(&setups, 0), start(&setups, 1)];
    edit(&setups[0], "add", ada);
    lists(&shards[1], &setups[1], &[ada]);
    let [first, second] = shards;
    second.kill();
    edit(&setups[0], "remove", ada);
    edit(&setups[0], "add", bob);
    lists(&first, &setups[0], &[bob]);
    first.kill();
    // Alone, and with what it knew; the list stays usable.
    let second = start(&setups, 1);
    assert_eq!(listed(&second, &setups[1]).len(), 1);
    edit(&setups[1], "add", eve);
    let first = start(&setups, 0);
    lists(&first, &setups[0], &[bob, eve]);
    lists(&second, &setups[1], &[bob, eve]);
    assert!(rcpt(&second, ada).starts_with("250"));
    assert!(rcpt(&second, bob).starts_with("550"));
}

#[test]
fn a_bounce_that_comes_to_another_shard_is_told_to_the_sender_and_suppresses_everywhere() {
    let receiver = Receiver::start();
    let setups = pair(&receiver);
    let shards = [start(&setups, 0), start(&setups, 1)];
    let to = "ada@reader.example";
    let billing = billing(shards[0].submission(), &setups[0].authority);
    send(&billing, FROM, to, "invoice 1").unwrap();
    let arrived = receiver.wait_for(|message| message.content.contains("invoice 1"));
    crate::http::metrics_with(
        &shards[0],
        "relay_tables_total{result=\"told\",table=\"senders\"} 1",
    );
    let reply = report(
        &shards[1],
        &arrived.sender,
        &bounce(to, "Subject: invoice 1"),
    );
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    let told = receiver.wait_for(|message| message.recipients == [FROM]);
    assert_eq!(told.sender, "");
    assert!(
        told.content.contains("nobody of that name"),
        "{}",
        told.content
    );
    lists(&shards[0], &setups[0], &[to]);
}
