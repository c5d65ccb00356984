//! Clients in number, for benchmarks: they keep their sessions and send one message after the other.
//! With an authority they authenticate under TLS and send each message's commands in one write; without,
//! they speak clear text, one command at a time, which every server understands. Idle sessions may stand
//! beside them.
//!
//! The last line on standard output is JSON.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use mailrelay_tests::submission::{Server, Session, SessionError};

/// Sends messages from many sessions and says how fast they were accepted.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// The server's port; with an authority it speaks TLS from the first octet.
    #[arg(long)]
    address: SocketAddr,
    /// Name in the server's certificate.
    #[arg(long, default_value = "")]
    name: String,
    /// PEM file of the authority that signed it. Clear text without a login if absent.
    #[arg(long)]
    authority: Option<PathBuf>,
    /// The argument of AUTH, such as `PLAIN AHVzZXIAcGFzcw==`, from the environment.
    #[arg(long, env = "LOAD_AUTH", hide_env_values = true, default_value = "")]
    auth: String,
    /// Sessions that send.
    #[arg(long, default_value_t = 100)]
    sessions: u32,
    /// Sessions that authenticate and then say nothing.
    #[arg(long, default_value_t = 0)]
    idle: u32,
    /// Messages over all sessions.
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// Seconds after which no further message is begun.
    #[arg(long)]
    seconds: Option<u64>,
    /// Octets of a message.
    #[arg(long, default_value_t = 4096)]
    bytes: usize,
    /// Envelope sender and `From`.
    #[arg(long)]
    sender: String,
    /// Recipient.
    #[arg(long)]
    recipient: String,
    /// Domains that the messages go to in turn: `d0.` and so on before the recipient's. None: its own.
    #[arg(long, default_value_t = 0)]
    spread: u64,
    /// When the messages may be delivered, such as `2026-11-27T12:00:00Z` (RFC 4865). At once if absent.
    #[arg(long)]
    hold_until: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arc::new(Arguments::parse());
    let server = server(&arguments)?;
    let mut idle = Vec::new();
    for _ in 0..arguments.idle {
        idle.push(Session::open(&server).await.context("an idle session")?);
    }
    let mut open = Vec::new();
    for _ in 0..arguments.sessions {
        open.push(Session::open(&server).await.context("a session")?);
    }
    let content: Arc<[u8]> = content(&arguments).into();
    let left = Arc::new(AtomicU64::new(arguments.messages));
    let start = Instant::now();
    let end = arguments
        .seconds
        .map(|seconds| start + Duration::from_secs(seconds));
    let tasks: Vec<_> = open
        .into_iter()
        .map(|mut session| {
            let (arguments, content) = (Arc::clone(&arguments), Arc::clone(&content));
            let left = Arc::clone(&left);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while let Ok(number) =
                    left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(1)
                    })
                {
                    if end.is_some_and(|end| Instant::now() >= end) {
                        break;
                    }
                    latencies.push(send(&mut session, &arguments, number, &content).await?);
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "an index"
        )]
        let index = (latencies.len() as f64 * share) as usize;
        let latency = latencies.get(index.min(latencies.len().saturating_sub(1)));
        latency.map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    };
    let figures = serde_json::json!({
        "seconds": seconds,
        "messages": latencies.len(),
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
        "p999_ms": at(0.999),
    });
    writeln!(io::stdout(), "{figures}")?;
    Ok(())
}

fn server(arguments: &Arguments) -> anyhow::Result<Server> {
    let Some(authority) = &arguments.authority else {
        return Ok(Server::clear(arguments.address));
    };
    let authority =
        std::fs::read_to_string(authority).with_context(|| authority.display().to_string())?;
    Server::new(
        arguments.address,
        &arguments.name,
        &authority,
        &arguments.auth,
    )
}

/// Sends one message. Under TLS no reply is waited for before the content's (RFC 2920, and `BDAT` of RFC
/// 3030).
async fn send(
    session: &mut Session,
    arguments: &Arguments,
    number: u64,
    content: &[u8],
) -> Result<Duration, SessionError> {
    let (sender, recipient) = (&arguments.sender, &arguments.recipient);
    let recipient = match (arguments.spread, recipient.split_once('@')) {
        (spread @ 1.., Some((local, domain))) => format!("{local}@d{}.{domain}", number % spread),
        _ => recipient.clone(),
    };
    let hold = match &arguments.hold_until {
        Some(time) => format!(" HOLDUNTIL={time}"),
        None => String::new(),
    };
    let recipient = format!("RCPT TO:<{recipient}>\r\n");
    if arguments.authority.is_none() {
        let mail = format!("MAIL FROM:<{sender}>{hold}\r\n");
        return session.send_in_turns(&mail, &recipient, content).await;
    }
    let size = content.len();
    let commands =
        format!("MAIL FROM:<{sender}> SIZE={size}{hold}\r\n{recipient}BDAT {size} LAST\r\n");
    session.send(&commands, content).await
}

fn content(arguments: &Arguments) -> Vec<u8> {
    let (sender, recipient) = (&arguments.sender, &arguments.recipient);
    let mut content = format!("From: {sender}\r\nTo: {recipient}\r\nSubject: load\r\n\r\n");
    while content.len() + 2 < arguments.bytes {
        let line = (arguments.bytes - content.len() - 2).min(72);
        content.push_str(&"x".repeat(line));
        content.push_str("\r\n");
    }
    content.into_bytes()
}
