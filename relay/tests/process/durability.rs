//! 250 survives the end of the process.

use std::collections::BTreeSet;

use crate::client::Line;
use crate::receiver::Receiver;
use crate::relay::Setup;

const SESSIONS: usize = 20;
const PER_SESSION: usize = 60;

#[test]
fn b27_a_thousand_messages_survive_kill_9_between_their_250_and_their_delivery() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    let relay = setup.start();
    receiver.close();
    let address = relay.open();
    let senders: Vec<_> = (0..SESSIONS)
        .map(|session| {
            std::thread::spawn(move || {
                let (mut line, _) = Line::open(address);
                line.say("EHLO app.test");
                for number in 0..PER_SESSION {
                    line.submit(&format!("{session}-{number}"));
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    relay.kill();
    assert_eq!(receiver.messages().len(), 0);

    let relay = setup.start();
    let opened = relay.logged("queue opened");
    assert_eq!(opened["messages"], SESSIONS * PER_SESSION);
    assert_eq!(opened["damaged_records"], 0);
    receiver.open();
    let mut subjects = BTreeSet::new();
    let mut seen = 0;
    receiver.wait_until(|messages| {
        for message in &messages[seen..] {
            let subject = message
                .content
                .lines()
                .find_map(|line| line.strip_prefix("Subject: "));
            subjects.insert(subject.unwrap().to_owned());
        }
        seen = messages.len();
        subjects.len() == SESSIONS * PER_SESSION
    });
    assert_eq!(seen, SESSIONS * PER_SESSION, "nothing was delivered twice");
}
