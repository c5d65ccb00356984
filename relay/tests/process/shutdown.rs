//! Stopping: idle sessions get 421, open transactions finish, the queue is closed.

use std::time::{Duration, Instant};

use crate::client::Line;
use crate::http::get;
use crate::receiver::Receiver;
use crate::relay::Setup;

#[test]
fn sigterm_ends_idle_sessions_with_421_and_lets_an_open_transaction_finish() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let mut relay = setup.start();
    let (mut idle, _) = Line::open(relay.open());
    idle.say("EHLO idle.test");
    let (mut busy, _) = Line::open(relay.open());
    busy.say("EHLO busy.test");
    busy.say("MAIL FROM:<billing@shop.example>");
    busy.say("RCPT TO:<ada@reader.example>");
    assert!(busy.say("DATA").starts_with("354"));
    busy.write("From: billing@shop.example\r\nSubject: in the last moment\r\n\r\n");

    relay.terminate();
    let goodbye = idle.reply();
    assert!(goodbye.starts_with("421 4.3.2"), "{goodbye}");
    assert_eq!(idle.reply(), "");
    let (code, reason) = get(relay.health(), "/readyz");
    assert_eq!((code, reason.as_str()), (503, "the relay is stopping\n"));
    // The listener is told at the same time as its sessions.
    let end = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(relay.open()).is_ok() {
        assert!(Instant::now() < end, "connections are still taken");
    }

    let reply = busy.say("made it\r\n.");
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    let goodbye = busy.reply();
    assert!(goodbye.starts_with("421 4.3.2"), "{goodbye}");
    drop((idle, busy));
    assert!(relay.ended().success(), "{}", relay.log_text());
    drop(relay);

    // Whether it was still delivered or not: it was accepted, so it arrives.
    let _relay = setup.start();
    receiver.wait_for(|message| message.content.contains("in the last moment"));
}

#[test]
fn a_session_that_does_not_end_is_cut_off_after_the_grace() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    setup.config["limits"] = serde_json::json!({"shutdownGrace": "300ms"});
    setup.write();
    let mut relay = setup.start();
    let (mut stuck, _) = Line::open(relay.open());
    stuck.say("EHLO stuck.test");
    stuck.say("MAIL FROM:<billing@shop.example>");
    stuck.say("RCPT TO:<ada@reader.example>");
    assert!(stuck.say("DATA").starts_with("354"));
    relay.terminate();
    assert!(relay.ended().success(), "{}", relay.log_text());
}

#[test]
fn clients_are_served_as_ever_until_the_delay_is_over() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    setup.config["limits"] = serde_json::json!({"shutdownDelay": "2s"});
    setup.write();
    let mut relay = setup.start();
    let told = Instant::now();
    relay.terminate();
    relay.logged("told to stop; clients are taken until limits.shutdownDelay is over");
    let (mut client, _) = Line::open(relay.open());
    client.say("EHLO late.test");
    client.say("MAIL FROM:<billing@shop.example>");
    client.say("RCPT TO:<ada@reader.example>");
    assert!(client.say("DATA").starts_with("354"));
    let reply =
        client.say("From: billing@shop.example\r\nSubject: as the relay goes\r\n\r\nhello\r\n.");
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
    assert_eq!(get(relay.health(), "/readyz").0, 200);
    let goodbye = client.reply();
    assert!(goodbye.starts_with("421 4.3.2"), "{goodbye}");
    assert!(told.elapsed() >= Duration::from_secs(2));
    assert!(relay.ended().success(), "{}", relay.log_text());
}

#[test]
fn a_second_signal_ends_the_delay() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    setup.config["limits"] = serde_json::json!({"shutdownDelay": "1m"});
    setup.write();
    let mut relay = setup.start();
    relay.terminate();
    relay.logged("told to stop; clients are taken until limits.shutdownDelay is over");
    relay.terminate();
    assert!(relay.ended().success(), "{}", relay.log_text());
}
