//! A receiving mail server that only counts: which recipient got how many copies. It takes thousands of
//! messages a second, which no full mail server does beside a cluster on two cores.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What all of its connections share.
#[derive(Debug, Default)]
struct Books {
    copies: Mutex<HashMap<String, u32>>,
    manner: Mutex<Manner>,
}

/// How a sink behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Takes everything.
    #[default]
    Takes,
    /// Refuses every recipient for now.
    Refuses,
    /// Refuses for now the recipients whose local part begins with a number that this divides.
    RefusesShare(NonZeroU64),
    /// Takes its time before each reply.
    Delays(Duration),
    /// Closes the connection where the content begins.
    Breaks,
    /// Answers what is no reply.
    Babbles,
}

/// Counts copies by recipient.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    books: Arc<Books>,
    listening: Option<JoinHandle<()>>,
}

impl Sink {
    /// A server that does not listen yet: connections are refused.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            books: Arc::default(),
            listening: None,
        }
    }

    /// Takes mail from now on.
    pub async fn open(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let books = Arc::clone(&self.books);
        self.listening = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let books = Arc::clone(&books);
                // A peer that breaks off has nothing to be told.
                tokio::spawn(async move { serve(stream, &books).await.unwrap_or_default() });
            }
        }));
        Ok(())
    }

    /// Behaves so from now on, on open connections, too.
    pub fn behave(&self, manner: Manner) {
        *lock(&self.books.manner) = manner;
    }

    /// How many copies there are of all messages.
    pub fn count(&self) -> u64 {
        lock(&self.books.copies)
            .values()
            .copied()
            .map(u64::from)
            .sum()
    }

    /// How many copies each recipient got, by the local part.
    pub fn copies(&self) -> HashMap<String, u32> {
        lock(&self.books.copies).clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, books: &Books) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reading, writing) = stream.into_split();
    let (mut reading, mut writing) = (BufReader::new(reading), BufWriter::new(writing));
    writing.write_all(b"220 sink.example ESMTP\r\n").await?;
    let mut recipients: Vec<String> = Vec::new();
    let mut line = Vec::new();
    loop {
        // Replies to commands that came together go together.
        if reading.buffer().is_empty() {
            writing.flush().await?;
        }
        line.clear();
        if reading.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let manner = *lock(&books.manner);
        if let Manner::Delays(time) = manner {
            writing.flush().await?;
            tokio::time::sleep(time).await;
        }
        let command = String::from_utf8_lossy(&line);
        let command = command.trim_end();
        let verb = command.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_str() {
            "QUIT" => {
                writing.write_all(b"221 2.0.0 bye\r\n").await?;
                return writing.shutdown().await;
            }
            _ if manner == Manner::Babbles => b"what is this?\r\n",
            "RCPT" if manner == Manner::Refuses => b"450 4.2.1 not now\r\n",
            "DATA" if recipients.is_empty() => b"503 5.5.1 nobody to send it to\r\n",
            "DATA" if manner == Manner::Breaks => return Ok(()),
            "EHLO" => b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
            "RCPT" => {
                let address = command.split(['<', '>']).nth(1).unwrap_or_default();
                let local = address.split('@').next().unwrap_or_default();
                if matches!(manner, Manner::RefusesShare(share) if is_in_share(local, share)) {
                    b"450 4.2.1 not now\r\n"
                } else {
                    recipients.push(local.to_owned());
                    b"250 2.1.5 ok\r\n"
                }
            }
            "DATA" => {
                writing.write_all(b"354 go on\r\n").await?;
                writing.flush().await?;
                content(&mut reading, &mut line).await?;
                let mut copies = lock(&books.copies);
                for recipient in recipients.drain(..) {
                    *copies.entry(recipient).or_default() += 1;
                }
                b"250 2.0.0 taken\r\n"
            }
            "RSET" | "MAIL" => {
                recipients.clear();
                b"250 2.0.0 ok\r\n"
            }
            "HELO" | "NOOP" => b"250 2.0.0 ok\r\n",
            _ => b"502 5.5.1 not here\r\n",
        };
        writing.write_all(reply).await?;
    }
}

fn is_in_share(local: &str, share: NonZeroU64) -> bool {
    let digits = local.bytes().take_while(u8::is_ascii_digit).count();
    let number: Result<u64, _> = local[..digits].parse();
    number.is_ok_and(|number| number % share == 0)
}

/// Reads up to the dot that stands alone.
async fn content(reading: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<()> {
    loop {
        line.clear();
        if reading.read_until(b'\n', line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(());
        }
    }
}
