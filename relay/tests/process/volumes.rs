//! Volumes that fill up and volumes that break, under load: real file systems on loop devices, which need
//! root. Without, the tests say so and test nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::{get, try_get};
use crate::receiver::Receiver;
use crate::relay::{PATIENCE, Relay, Setup};

const SESSIONS: usize = 8;
/// Octets of the file system, and of what is left of it for mail.
const SIZE: u64 = 48 << 20;
const ROOM: u64 = 12 << 20;
/// Octets of messages: in the log, and in files of their own.
const LENGTHS: [usize; 4] = [200, 2_000, 60_000, 400_000];

fn run(command: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(command).args(arguments).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    // e2fsck says with 1 that it has mended something.
    if output.status.success() || (command == "e2fsck" && output.status.code() == Some(1)) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command} {arguments:?}: {said}"))
}

/// A file system of its own, in a file in another one, which is in memory.
struct Volume {
    memory: tempfile::TempDir,
    at: PathBuf,
}

impl Volume {
    /// Mounted at `at`; none where that cannot be done.
    fn mount(at: &Path) -> Option<Self> {
        let volume = Self {
            memory: tempfile::tempdir().unwrap(),
            at: at.into(),
        };
        fs::create_dir(at).unwrap();
        match volume.make() {
            Ok(()) => Some(volume),
            Err(error) => {
                let _ = writeln!(
                    io::stderr(),
                    "volumes: not tested, it takes root and loop devices: {error}"
                );
                None
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        let memory = self.memory.path().display().to_string();
        let size = format!("size={}", SIZE + (1 << 20));
        run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "mailrelay-test", &memory],
        )?;
        let image = fs::File::create(self.image()).map_err(|error| error.to_string())?;
        image.set_len(SIZE).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &self.image()])?;
        self.attach()
    }

    fn image(&self) -> String {
        self.memory.path().join("image").display().to_string()
    }

    fn directory(&self) -> &str {
        self.at.to_str().unwrap()
    }

    fn attach(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", &self.image(), self.directory()])
    }

    /// Takes all room but so many octets; the file that has it.
    fn fill(&self, but: u64) -> PathBuf {
        let path = self.at.join("somebody-else");
        let free = free_bytes(&self.at);
        run(
            "fallocate",
            &["-l", &(free - but).to_string(), path.to_str().unwrap()],
        )
        .unwrap();
        path
    }

    /// Its device takes no block any more that it has not had before: writes go well, and syncs fail. To stop
    /// the file system itself will not do (`remount,abort`, or its shutdown call): Linux may answer the sync
    /// that this falls into with success, and what it was about is gone.
    fn wear_out(&self) {
        let mut filler = fs::File::create(self.filler()).unwrap();
        let block = vec![1; 65_536];
        while filler.write_all(&block).is_ok() {}
    }

    /// And makes it whole again.
    fn mend(&self) {
        let _ = fs::remove_file(self.filler());
        run("umount", &[self.directory()]).unwrap();
        run("e2fsck", &["-fy", &self.image()]).unwrap();
        self.attach().unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.memory.path().join("filler")
    }
}

impl Drop for Volume {
    /// What a failed test leaves must not stay mounted.
    fn drop(&mut self) {
        let memory = self.memory.path().display().to_string();
        for directory in [self.directory(), &memory] {
            let _ = run("umount", &["-l", directory]);
        }
    }
}

fn free_bytes(path: &Path) -> u64 {
    let status = rustix::fs::statvfs(path).unwrap();
    status.f_bavail * status.f_frsize
}

/// What a sender hears of a message.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Taken(String),
    Refused,
}

/// Sends until the connection breaks or nobody listens; each reply to a message is told.
fn send(address: SocketAddr, name: &str, told: &Sender<Heard>) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut replies = BufReader::new(&stream).lines();
    let mut reply = || {
        loop {
            let line = replies.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            if line.as_bytes().get(3) != Some(&b'-') {
                return io::Result::Ok(line);
            }
        }
    };
    let mut output = &stream;
    reply()?;
    output.write_all(b"EHLO app.test\r\n")?;
    reply()?;
    for number in 0.. {
        let subject = format!("{name}-{number}");
        let length = LENGTHS[number % LENGTHS.len()];
        let line = format!("{}\r\n", "x".repeat(70));
        let body = line.repeat(length / line.len() + 1);
        let text = format!("From: billing@shop.example\r\nSubject: {subject}\r\n\r\n{body}.\r\n");
        for command in [
            "MAIL FROM:<billing@shop.example>\r\n",
            "RCPT TO:<ada@reader.example>\r\n",
            "DATA\r\n",
            &text,
        ] {
            output.write_all(command.as_bytes())?;
            let said = reply()?;
            let heard = match &said[..3] {
                "250" if command == text => Heard::Taken(subject.clone()),
                "250" | "354" => continue,
                "452" => {
                    assert!(said.starts_with("452 4.3.1 "), "{said}");
                    Heard::Refused
                }
                // The queue has failed, and the process ends.
                "451" | "421" => return Ok(()),
                _ => unreachable!("{said}"),
            };
            if told.send(heard).is_err() {
                return Ok(());
            }
            break;
        }
    }
    Ok(())
}

/// Messages from several sessions, until `enough` says so of each reply and how many were taken before.
fn load(
    address: SocketAddr,
    name: &str,
    mut enough: impl FnMut(&Heard, usize) -> bool,
) -> BTreeSet<String> {
    let (report, told) = channel();
    let senders: Vec<_> = (0..SESSIONS)
        .map(|session| {
            let (report, name) = (report.clone(), format!("{name}-{session}"));
            std::thread::spawn(move || drop(send(address, &name, &report)))
        })
        .collect();
    drop(report);
    let mut taken = BTreeSet::new();
    let mut done = false;
    let mut hear = |heard, taken: &mut BTreeSet<String>| {
        let is_enough = enough(&heard, taken.len());
        if let Heard::Taken(subject) = heard {
            taken.insert(subject);
        }
        is_enough
    };
    for heard in &told {
        done = hear(heard, &mut taken);
        if done {
            break;
        }
    }
    assert!(
        done,
        "the relay went before its time, after {} messages",
        taken.len()
    );
    // Replies that are under way count; senders end with the channel.
    let rest: Vec<Heard> = told.try_iter().collect();
    drop(told);
    for sender in senders {
        sender.join().unwrap();
    }
    for heard in rest {
        hear(heard, &mut taken);
    }
    taken
}

fn until_refused(address: SocketAddr, name: &str) -> BTreeSet<String> {
    let mut refused = 0;
    load(address, name, |heard, _| {
        refused += usize::from(*heard == Heard::Refused);
        refused == 3 * SESSIONS
    })
}

/// Tries until a message is taken.
fn one(address: SocketAddr, name: &str) -> BTreeSet<String> {
    load(address, name, |heard, _| matches!(heard, Heard::Taken(_)))
}

fn arrive(receiver: &Receiver, mut expected: BTreeSet<String>) {
    let mut seen = 0;
    receiver.wait_until(|messages| {
        for message in &messages[seen..] {
            let mut lines = message.content.lines();
            let subject = lines.find_map(|line| line.strip_prefix("Subject: "));
            expected.remove(subject.unwrap());
        }
        seen = messages.len();
        expected.is_empty()
    });
}

#[test]
fn a_full_volume_means_452_and_all_goes_on_by_itself_when_there_is_room() {
    // The file system itself says that it is full, or the relay leaves it some room.
    for reserve in [0, 4 << 20] {
        let receiver = Receiver::start();
        let mut setup = Setup::new(receiver.address);
        let Some(volume) = Volume::mount(&setup.path("queue")) else {
            return;
        };
        setup.config["queue"]["minimumFreeBytes"] = json!(reserve);
        setup.write();
        let filler = volume.fill(ROOM);
        let relay = setup.start();
        receiver.close();
        let mut expected = until_refused(relay.open(), "first");
        assert!(expected.len() > SESSIONS, "{}", expected.len());
        assert_eq!(get(relay.health(), "/healthz").0, 200);

        // Somebody else makes room.
        fs::remove_file(filler).unwrap();
        expected.extend(one(relay.open(), "second"));
        expected.extend(until_refused(relay.open(), "third"));

        // Deliveries make room.
        receiver.open();
        arrive(&receiver, expected);
        let last = one(relay.open(), "last");
        arrive(&receiver, last);
        assert!(
            !relay.log_text().contains("queue failed"),
            "{}",
            relay.log_text()
        );
    }
}

#[test]
fn a_volume_that_breaks_ends_the_relay_and_costs_no_message_that_got_a_250() {
    let receiver = Receiver::start();
    let mut setup = Setup::new(receiver.address);
    let Some(volume) = Volume::mount(&setup.path("queue")) else {
        return;
    };
    setup.config["queue"]["minimumFreeBytes"] = json!(0);
    setup.write();
    let mut relay = setup.start();
    receiver.close();
    let (report, told) = channel();
    let senders: Vec<_> = (0..SESSIONS)
        .map(|session| {
            let (report, address) = (report.clone(), relay.open());
            std::thread::spawn(move || drop(send(address, &session.to_string(), &report)))
        })
        .collect();
    drop(report);
    let mut heard: Vec<Heard> = told.iter().take(30).collect();
    volume.wear_out();
    // Senders end when they hear of it, or with the process.
    heard.extend(told.iter());
    for sender in senders {
        sender.join().unwrap();
    }
    unready(&relay);
    assert!(!relay.ended().success());

    volume.mend();
    // Mounted read-only first, as after a node's restart.
    run("mount", &["-o", "remount,ro", volume.directory()]).unwrap();
    let mut relay = setup.launch();
    assert!(!relay.ended().success());
    let directory = setup.path("queue").display().to_string();
    assert!(
        relay.log_text().contains(&directory),
        "{}",
        relay.log_text()
    );

    run("mount", &["-o", "remount,rw", volume.directory()]).unwrap();
    let relay = setup.start();
    receiver.open();
    let taken = heard.into_iter().filter_map(|heard| match heard {
        Heard::Taken(subject) => Some(subject),
        Heard::Refused => None,
    });
    arrive(&receiver, taken.collect());
    drop(relay);
}

/// Waits until it does not say that it is ready: with words, or by its end.
fn unready(relay: &Relay) {
    let address = relay.health();
    let deadline = Instant::now() + PATIENCE;
    while try_get(address, "/readyz").is_ok_and(|(code, _)| code == 200) {
        assert!(Instant::now() < deadline, "{}", relay.log_text());
        std::thread::sleep(Duration::from_millis(20));
    }
}
