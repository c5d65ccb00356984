//! A receiving mail server that only counts: which recipient got how many copies. It takes thousands of
//! messages a second, which no full mail server does beside a cluster on two cores.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Counts copies by recipient.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    copies: Arc<Mutex<HashMap<String, u32>>>,
    listening: Option<JoinHandle<()>>,
}

impl Sink {
    /// A server that does not listen yet: connections are refused.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            copies: Arc::default(),
            listening: None,
        }
    }

    /// Takes mail from now on.
    pub async fn open(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let copies = Arc::clone(&self.copies);
        self.listening = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let copies = Arc::clone(&copies);
                // A peer that breaks off has nothing to be told.
                tokio::spawn(async move { serve(stream, &copies).await.unwrap_or_default() });
            }
        }));
        Ok(())
    }

    /// How many messages were taken, copies included.
    pub fn count(&self) -> u64 {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.values().copied().map(u64::from).sum()
    }

    /// How many copies each recipient got, by the local part.
    pub fn copies(&self) -> HashMap<String, u32> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

async fn serve(stream: TcpStream, copies: &Mutex<HashMap<String, u32>>) -> io::Result<()> {
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
        let command = String::from_utf8_lossy(&line);
        let command = command.trim_end();
        let verb = command.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_str() {
            "EHLO" => b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
            "RCPT" => {
                let address = command.split(['<', '>']).nth(1).unwrap_or_default();
                let local = address.split('@').next().unwrap_or_default();
                recipients.push(local.to_owned());
                b"250 2.1.5 ok\r\n"
            }
            "DATA" => {
                writing.write_all(b"354 go on\r\n").await?;
                writing.flush().await?;
                content(&mut reading, &mut line).await?;
                let mut copies = copies.lock().unwrap_or_else(PoisonError::into_inner);
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
            "QUIT" => {
                writing.write_all(b"221 2.0.0 bye\r\n").await?;
                return writing.shutdown().await;
            }
            _ => b"502 5.5.1 not here\r\n",
        };
        writing.write_all(reply).await?;
    }
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
