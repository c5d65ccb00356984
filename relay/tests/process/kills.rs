//! SIGKILL at random moments under load.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};

use serde_json::json;

use crate::receiver::{Received, Receiver};
use crate::relay::{PATIENCE, Setup};

const SESSIONS: usize = 20;

/// Rounds of the short form; `MAILRELAY_ROUNDS` says otherwise.
const ROUNDS: usize = 10;

/// Connections to the receiver, and so deliveries that may be under way.
const CONNECTIONS: usize = 8;

/// Sends messages until the connection breaks, and tells of each that was taken.
fn send_until_it_breaks(
    address: SocketAddr,
    name: &str,
    acknowledged: &Sender<String>,
) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut replies = BufReader::new(&stream).lines();
    let mut expect = |code: &str| {
        loop {
            let line = replies.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            assert!(line.starts_with(code), "{line}");
            if line.as_bytes().get(3) != Some(&b'-') {
                return io::Result::Ok(());
            }
        }
    };
    let mut output = &stream;
    expect("220")?;
    output.write_all(b"EHLO app.test\r\n")?;
    expect("250")?;
    for number in 0.. {
        let subject = format!("{name}-{number}");
        output.write_all(
            b"MAIL FROM:<billing@shop.example>\r\nRCPT TO:<ada@reader.example>\r\nDATA\r\n",
        )?;
        ["250", "250", "354"]
            .into_iter()
            .try_for_each(&mut expect)?;
        let text = format!("From: billing@shop.example\r\nSubject: {subject}\r\n\r\nx\r\n.\r\n");
        output.write_all(text.as_bytes())?;
        expect("250")?;
        let _ = acknowledged.send(subject);
    }
    Ok(())
}

#[test]
fn whenever_it_is_killed_what_got_a_250_arrives_and_only_what_was_under_way_arrives_twice() {
    let rounds = std::env::var("MAILRELAY_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    setup.config["delivery"]["connectionsPerDestination"] = json!(CONNECTIONS);
    setup.write();
    let mut expected = BTreeSet::new();
    for round in 0..rounds {
        let relay = setup.start();
        let address = relay.open();
        let (report, acknowledged) = channel();
        let senders: Vec<_> = (0..SESSIONS)
            .map(|session| {
                let report = report.clone();
                std::thread::spawn(move || {
                    // It ends with the process that it talks to.
                    let name = format!("{round}-{session}");
                    let _ = send_until_it_breaks(address, &name, &report);
                })
            })
            .collect();
        drop(report);
        // As random as the moment: after so many messages.
        let enough = 1 + usize::try_from(RandomState::new().hash_one(round) % 200).unwrap();
        expected.extend(acknowledged.iter().take(enough));
        relay.kill();
        for sender in senders {
            sender.join().unwrap();
        }
        expected.extend(acknowledged.try_iter());
    }
    let relay = setup.start();
    assert_eq!(relay.logged("queue opened")["damaged_records"], 0);
    let mut missing = expected.clone();
    let (mut seen, mut arrived) = (0, BTreeSet::new());
    receiver.wait_until(|messages| {
        for message in &messages[seen..] {
            let subject = subject(message);
            missing.remove(&subject);
            arrived.insert(subject);
        }
        seen = messages.len();
        missing.is_empty()
    });
    let twice = seen - arrived.len();
    assert!(
        twice <= rounds * CONNECTIONS,
        "{twice} messages came twice after {rounds} kills with {CONNECTIONS} connections"
    );
    // To the terminal whether the test's output is shown or not: a script reads it.
    let count = expected.len();
    let _ = writeln!(
        io::stderr(),
        "kills: rounds {rounds}, acknowledged {count}, delivered twice {twice}, lost 0"
    );
}

fn subject(message: &Received) -> String {
    let mut lines = message.content.lines();
    let subject = lines.find_map(|line| line.strip_prefix("Subject: "));
    subject.unwrap().to_owned()
}
