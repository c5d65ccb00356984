//! 250 survives the end of the process.

use std::collections::BTreeSet;

use crate::client::Line;
use crate::receiver::Receiver;
use crate::relay::{Relay, Setup};

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

/// Takes one message without a login.
fn take(relay: &Relay, subject: &str) {
    let (mut line, _) = Line::open(relay.open());
    line.say("EHLO app.test");
    line.submit(subject);
}

#[test]
fn o25_what_a_crash_leaves_on_the_volume_stands_in_no_ones_way() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    receiver.close();
    let relay = setup.start();
    let dead = relay.pid();
    take(&relay, "before the crash");
    relay.kill();

    let lock = setup.path("queue/lock");
    assert!(lock.exists(), "the lock file went with its owner");
    // A process of that number runs in the next container, too: this test's own.
    std::fs::write(&lock, std::process::id().to_string()).unwrap();
    for (name, content) in [("relay.pid", dead), ("master.lock", std::process::id())] {
        std::fs::write(setup.path("queue").join(name), content.to_string()).unwrap();
    }
    let relay = setup.start();
    assert_eq!(relay.logged("queue opened")["messages"], 1);
    take(&relay, "after it");
    receiver.open();
    for subject in ["before the crash", "after it"] {
        receiver.wait_for(|message| message.content.contains(subject));
    }
}

#[test]
fn o26_a_volume_serves_one_process_after_the_other() {
    let receiver = Receiver::start();
    let setup = Setup::new(receiver.address);
    receiver.close();
    for number in 0..3 {
        let mut relay = setup.start();
        let opened = relay.logged("queue opened");
        assert_eq!(opened["messages"], number);
        assert_eq!(opened["damaged_records"], 0);
        take(&relay, &format!("under start {number}"));
        relay.terminate();
        assert!(relay.ended().success(), "{}", relay.log_text());
    }
    let _relay = setup.start();
    receiver.open();
    receiver.wait_until(|messages| messages.len() == 3);
    for number in 0..3 {
        receiver.wait_for(|message| message.content.contains(&format!("under start {number}")));
    }
}
