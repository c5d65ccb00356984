//! A mail server of a few lines, written apart from the relay's own protocol code.
//!
//! Takes everything, but: recipients whose local part starts with `unknown` get 550, and while it
//! is [`Receiver::close`]d every connection gets 421.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::relay::PATIENCE;

/// A message as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    /// Lines end in LF here, dots are unstuffed.
    pub(crate) content: String,
}

#[derive(Default)]
struct Shared {
    messages: Mutex<Vec<Received>>,
    more: Condvar,
    closed: AtomicBool,
}

/// The server; its threads end with the test's process.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    // A relay that is killed breaks sessions off; that is no fault here.
                    let _ = session(&stream, &shared);
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.shared.closed.store(false, Ordering::SeqCst);
    }

    pub(crate) fn messages(&self) -> Vec<Received> {
        self.shared.messages.lock().unwrap().clone()
    }

    /// The first message that `wanted` picks, now or later.
    pub(crate) fn wait_for(&self, wanted: impl Fn(&Received) -> bool) -> Received {
        let mut found = None;
        self.wait_until(|messages| {
            found = messages.iter().find(|message| wanted(message)).cloned();
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until the messages so far satisfy `enough`.
    pub(crate) fn wait_until(&self, mut enough: impl FnMut(&[Received]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut messages = self.shared.messages.lock().unwrap();
        while !enough(&messages) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "not enough among {} messages",
                messages.len()
            );
            messages = self.shared.more.wait_timeout(messages, left).unwrap().0;
        }
    }
}

fn session(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut output = stream;
    let mut say = move |text: &str| output.write_all(format!("{text}\r\n").as_bytes());
    let closed = || shared.closed.load(Ordering::SeqCst);
    if closed() {
        return say("421 4.3.2 closed for the test");
    }
    say("220 receiver.test ESMTP")?;
    let mut message = Received {
        sender: String::new(),
        recipients: Vec::new(),
        content: String::new(),
    };
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next() {
        let line = line?;
        let path = || {
            let start = line.find('<').map_or(0, |at| at + 1);
            let end = line.rfind('>').unwrap_or(line.len());
            line[start..end].to_owned()
        };
        let verb = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                say("250-receiver.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 99999999")?;
            }
            "MAIL" if closed() => say("451 4.3.2 closed for the test")?,
            "MAIL" => {
                message.sender = path();
                message.recipients.clear();
                say("250 2.1.0 ok")?;
            }
            "RCPT" if path().starts_with("unknown") => {
                say("550 5.1.1 nobody of that name lives here")?;
            }
            "RCPT" => {
                message.recipients.push(path());
                say("250 2.1.5 ok")?;
            }
            "DATA" if message.recipients.is_empty() => say("554 5.5.1 no recipients")?,
            "DATA" => {
                say("354 go on")?;
                message.content.clear();
                let mut whole = false;
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        whole = true;
                        break;
                    }
                    message
                        .content
                        .push_str(line.strip_prefix('.').unwrap_or(&line));
                    message.content.push('\n');
                }
                if !whole {
                    // Broken off, so nothing arrived.
                    return Ok(());
                }
                shared.messages.lock().unwrap().push(message.clone());
                shared.more.notify_all();
                say("250 2.0.0 taken")?;
            }
            "QUIT" => return say("221 2.0.0 bye"),
            "RSET" | "NOOP" => say("250 2.0.0 ok")?,
            _ => say("502 5.5.1 not here")?,
        }
    }
    Ok(())
}
