//! Clients that mean harm, over real sockets: each is held to its limit, the relay's memory stays
//! bounded, and a good client next to them waits no more than twice as long as it does alone.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Line;
use crate::receiver::Receiver;
use crate::relay::{PATIENCE, Relay, Setup};

/// Messages of the good client in each phase.
const MESSAGES: usize = 40;
/// What the relay may grow by, in KiB, whatever is thrown at it.
const GROWTH: u64 = 64 * 1024;
/// On a machine where a message takes next to no time, noise is more than twice that.
const NOISE: Duration = Duration::from_millis(15);

/// An attacker's connection that does not block.
struct Attacker {
    stream: TcpStream,
    replies: String,
    closed: bool,
}

impl Attacker {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self {
            stream,
            replies: String::new(),
            closed: false,
        }
    }

    /// As far as the relay lets it; the octets that went out.
    fn send(&mut self, octets: &[u8]) -> usize {
        match self.stream.write(octets) {
            Ok(sent) => sent,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.listen();
                self.closed = true;
                0
            }
        }
    }

    fn listen(&mut self) {
        let mut octets = [0; 4096];
        loop {
            match self.stream.read(&mut octets) {
                Ok(0) => self.closed = true,
                Ok(length) => {
                    self.replies += &String::from_utf8_lossy(&octets[..length]);
                    continue;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => self.closed = true,
            }
            return;
        }
    }

    /// Sends `piece` over and over, `most` octets in all, until the relay closes.
    fn flood(&mut self, piece: &[u8], most: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut sent = 0;
        while sent < most && !self.closed && Instant::now() < deadline {
            let more = self.send(&piece[sent % piece.len()..]);
            self.listen();
            sent += more;
            if more == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Until the relay has closed.
    fn wait(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.closed {
            assert!(Instant::now() < deadline, "not closed: {}", self.replies);
            std::thread::sleep(Duration::from_millis(5));
            self.listen();
        }
    }

    fn last_reply(&self) -> &str {
        self.replies.lines().last().unwrap_or_default()
    }
}

/// How long the good client waits for a message, from `MAIL` to the `250`: the median.
fn latency(address: SocketAddr) -> Duration {
    let (mut line, _) = Line::open(address);
    line.say("EHLO good.shop.example");
    let body = format!("{}\r\n", "x".repeat(70)).repeat(57);
    let mut times: Vec<Duration> = (0..MESSAGES)
        .map(|_| {
            let started = Instant::now();
            line.say("MAIL FROM:<a@shop.example>");
            line.say("RCPT TO:<b@away.example>");
            line.say("DATA");
            let reply = line.say(&format!("From: a@shop.example\r\n\r\n{body}."));
            assert!(reply.starts_with("250"), "{reply}");
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[MESSAGES / 2]
}

/// A line of `/proc/PID/status` in KiB.
fn memory(relay: &Relay, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Target {
    relay: Relay,
    usual: Duration,
    before: u64,
    _setup: Setup,
}

impl Target {
    fn new() -> Self {
        let mut setup = Setup::new(Receiver::start().address);
        setup.config["limits"] = json!({
            "idleTimeout": "3s", "minimumRate": 2000, "connections": 400, "recipients": 1000,
        });
        setup.write();
        let relay = setup.start();
        latency(relay.open());
        let usual = latency(relay.open());
        let before = memory(&relay, "VmRSS");
        Self {
            relay,
            usual,
            before,
            _setup: setup,
        }
    }

    fn attackers(&self, count: usize) -> Vec<Attacker> {
        (0..count)
            .map(|_| Attacker::connect(self.relay.open()))
            .collect()
    }

    /// Runs the attack and the good client at once, and judges.
    #[expect(
        clippy::print_stdout,
        reason = "the figures, for whoever runs the test"
    )]
    fn stand<T: Send>(&self, name: &str, attack: impl FnOnce() -> T + Send) -> T {
        let (result, during) = std::thread::scope(|scope| {
            let attack = scope.spawn(attack);
            let during = latency(self.relay.open());
            (attack.join().unwrap(), during)
        });
        let grown = memory(&self.relay, "VmHWM").saturating_sub(self.before);
        println!(
            "{name}: median {during:?}, alone {:?}; memory grew by {grown} KiB",
            self.usual
        );
        assert!(
            during <= self.usual * 2 + NOISE,
            "{name}: {during:?}, alone {:?}",
            self.usual
        );
        assert!(grown <= GROWTH, "{name}: {grown} KiB");
        result
    }
}

const INTO_DATA: &[u8] =
    b"EHLO evil\r\nMAIL FROM:<e@shop.example>\r\nRCPT TO:<x@away.example>\r\nDATA\r\n";

#[test]
fn slow_lorises_are_cut_off_while_others_are_served() {
    let target = Target::new();
    let mut attackers = target.attackers(120);
    for attacker in attackers.iter_mut().skip(60) {
        attacker.send(INTO_DATA);
    }
    let attackers = target.stand("slow-loris", move || {
        let deadline = Instant::now() + PATIENCE;
        while attackers.iter().any(|one| !one.closed) && Instant::now() < deadline {
            for attacker in &mut attackers {
                attacker.send(b"E");
                attacker.listen();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        attackers
    });
    for attacker in &attackers {
        assert!(
            attacker.last_reply().starts_with("421 4.4.2"),
            "{}",
            attacker.replies
        );
    }
}

#[test]
fn a_header_of_100_megabytes_is_not_kept() {
    let target = Target::new();
    let attacker = target.stand("100 MB header", || {
        let mut attacker = Attacker::connect(target.relay.open());
        attacker.send(INTO_DATA);
        let field = format!("X-Filler: {}\r\n", "x".repeat(900)).repeat(64);
        attacker.flood(field.as_bytes(), 100_000_000);
        // In whichever part of a line that was.
        for octets in [b"\r\n\r\n.\r\n".as_slice(), b"QUIT\r\n"] {
            let deadline = Instant::now() + PATIENCE;
            while attacker.send(octets) == 0 && !attacker.closed && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        attacker.wait();
        attacker
    });
    let refused = attacker
        .replies
        .contains("\n552 5.3.4 the header is larger");
    assert!(refused, "{}", attacker.replies);
}

#[test]
fn a_line_without_end_is_cut_off() {
    let target = Target::new();
    let (command, data) = target.stand("endless line", || {
        let mut command = Attacker::connect(target.relay.open());
        command.flood(&vec![b'x'; 65536], 100_000_000);
        command.wait();
        let mut data = Attacker::connect(target.relay.open());
        data.send(INTO_DATA);
        data.flood(&vec![b'x'; 65536], 200_000_000);
        data.wait();
        (command, data)
    });
    assert!(
        command.replies.contains("500 5.5.2 the line is too long"),
        "{}",
        command.replies
    );
    assert!(
        data.last_reply().starts_with("552 5.3.4"),
        "{}",
        data.replies
    );
}

#[test]
fn ten_million_recipients_are_stopped_at_the_limit() {
    let target = Target::new();
    let attacker = target.stand("10,000,000 recipients", || {
        let mut attacker = Attacker::connect(target.relay.open());
        attacker.send(b"EHLO evil\r\nMAIL FROM:<e@shop.example>\r\n");
        let line = b"RCPT TO:<somebody.else@away.example>\r\n";
        let different: Vec<u8> = (0..2000)
            .flat_map(|number| format!("RCPT TO:<r{number}@away.example>\r\n").into_bytes())
            .collect();
        attacker.flood(&different, 10_000_000 * line.len());
        attacker.wait();
        attacker
    });
    let count = |start: &str| {
        let lines = attacker.replies.lines();
        lines.filter(|line| line.starts_with(start)).count()
    };
    assert!(count("250 2.1.5") <= 1000 && count("452 4.5.3") <= 10_001);
    // The last words may be lost with what was sent after them.
    assert!(count("") < 11_100, "{}", count(""));
}

#[test]
fn connections_that_say_nothing_are_closed() {
    let target = Target::new();
    let silent = target.attackers(200);
    let silent = target.stand("half-open", move || {
        let mut silent = silent;
        silent.iter_mut().for_each(Attacker::wait);
        silent
    });
    for attacker in &silent {
        assert!(
            attacker.last_reply().starts_with("421 4.4.2 nothing"),
            "{}",
            attacker.replies
        );
    }
}
