//! Clients that send without a pause, and keep a ledger of what was accepted and what went wrong.
//!
//! Messages are numbered; the recipient's local part is `n<number>`. Every second client opens a connection
//! for each message, the others keep one for [`PER_SESSION`] messages. A kept session that the server ends
//! with 421 while nothing is under way is no failure: the message is sent in another one, as every mail
//! client does, and counted. Everything else that keeps a message from being accepted at once is one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::submission::{Server, Session, SessionError};

/// Messages of a session that is kept.
const PER_SESSION: u32 = 100;
/// Lines of 72 octets in a message's text.
const LINES: usize = 28;

/// What clients send.
#[derive(Clone, Debug)]
pub struct Mails {
    /// Envelope sender and `From`.
    pub sender: String,
    /// Domain of the recipients.
    pub domain: String,
}

/// What became of the messages.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Local parts of the recipients whose message got its 250.
    pub accepted: BTreeSet<String>,
    /// What kept other messages from being accepted, each with the seconds since the start.
    pub failures: Vec<(f64, String)>,
    /// Sessions that the server ended between two messages.
    pub goodbyes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Ledger {
    /// Messages accepted per second.
    pub fn rate(&self) -> f64 {
        let accepted = u32::try_from(self.accepted.len()).unwrap_or(u32::MAX);
        f64::from(accepted) / self.elapsed.as_secs_f64()
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Flow {
    start: Instant,
    stop: Arc<AtomicBool>,
    clients: JoinSet<Ledger>,
}

/// The numbers that are left, and when each may be sent.
#[derive(Debug)]
struct Numbers {
    next: AtomicU64,
    end: u64,
    interval: Duration,
    first: u64,
    start: Instant,
}

impl Numbers {
    /// The next number, when it is due.
    async fn next(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.end {
            return None;
        }
        let place = u32::try_from(number - self.first).unwrap_or(u32::MAX);
        tokio::time::sleep_until((self.start + self.interval.saturating_mul(place)).into()).await;
        Some(number)
    }
}

impl Flow {
    /// Sends the messages of `numbers`, one each `interval` over all `clients`; without a pause when that is zero.
    pub fn start(
        server: &Server,
        mails: &Mails,
        numbers: Range<u64>,
        interval: Duration,
        clients: u32,
    ) -> Self {
        let start = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let numbers = Arc::new(Numbers {
            next: AtomicU64::new(numbers.start),
            end: numbers.end,
            interval,
            first: numbers.start,
            start,
        });
        let mut flow = Self {
            start,
            stop,
            clients: JoinSet::new(),
        };
        for client in 0..clients {
            let client = Client {
                server: server.clone(),
                mails: mails.clone(),
                numbers: Arc::clone(&numbers),
                stop: Arc::clone(&flow.stop),
                per_session: if client % 2 == 0 { 1 } else { PER_SESSION },
                session: None,
                ledger: Ledger::default(),
            };
            flow.clients.spawn(client.run());
        }
        flow
    }

    /// Waits until all messages were tried.
    pub async fn finish(mut self) -> Ledger {
        let mut ledger = Ledger::default();
        while let Some(client) = self.clients.join_next().await {
            match client {
                Ok(client) => {
                    ledger.accepted.extend(client.accepted);
                    ledger.failures.extend(client.failures);
                    ledger.goodbyes += client.goodbyes;
                }
                Err(error) => ledger.failures.push((0.0, error.to_string())),
            }
        }
        ledger.elapsed = self.start.elapsed();
        ledger
    }

    /// Ends after the messages that are under way.
    pub async fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        self.finish().await
    }
}

struct Client {
    server: Server,
    mails: Mails,
    numbers: Arc<Numbers>,
    stop: Arc<AtomicBool>,
    per_session: u32,
    /// And how many messages it may still carry.
    session: Option<(Session, u32)>,
    ledger: Ledger,
}

impl Client {
    async fn run(mut self) -> Ledger {
        while !self.stop.load(Ordering::Relaxed)
            && let Some(number) = self.numbers.next().await
        {
            let kept = self.session.is_some();
            let mut result = self.send(number).await;
            if kept && result.as_ref().is_err_and(SessionError::is_goodbye) {
                self.ledger.goodbyes += 1;
                result = self.send(number).await;
            }
            match result {
                Ok(()) => {
                    self.ledger.accepted.insert(format!("n{number}"));
                }
                Err(error) => {
                    let when = self.numbers.start.elapsed().as_secs_f64();
                    self.ledger.failures.push((when, error.to_string()));
                }
            }
        }
        self.ledger
    }

    async fn send(&mut self, number: u64) -> Result<(), SessionError> {
        let (mut session, left) = match self.session.take() {
            Some(session) => session,
            None => (Session::open(&self.server).await?, self.per_session),
        };
        let Mails { sender, domain } = &self.mails;
        let content = format!(
            "From: {sender}\r\nTo: n{number}@{domain}\r\nSubject: {number}\r\n\r\n{}",
            format!("{}\r\n", "x".repeat(72)).repeat(LINES)
        );
        let size = content.len();
        let commands = format!(
            "MAIL FROM:<{sender}> SIZE={size}\r\nRCPT TO:<n{number}@{domain}>\r\nBDAT {size} LAST\r\n"
        );
        session.send(&commands, content.as_bytes()).await?;
        if left > 1 {
            self.session = Some((session, left - 1));
        } else {
            // It was accepted; how the session ends is of no account.
            let _ = session.quit().await;
        }
        Ok(())
    }
}
