//! A mail server for trying the relay out: takes every message and prints it.
//!
//! `cargo run -p relay --example receive [ADDRESS]`, `127.0.0.1:1025` by default. It is built on
//! the relay's own protocol machine and keeps nothing.

use std::error::Error;
use std::io::Write as _;

use bytes::BytesMut;
use relay_smtp::server::{Answer, Event, Message, Server, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Octets of one message at most.
const MESSAGE_BYTES: u64 = 25 * 1024 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:1025".into());
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|error| format!("{address}: {error}; give another address as argument"))?;
    print(&format!("receive: waiting for mail on {address}\n"));
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = session(stream).await {
                print(&format!("receive: a session broke off: {error}\n"));
            }
        });
    }
}

async fn session(mut stream: TcpStream) -> std::io::Result<()> {
    let mut server = Server::new(Settings {
        hostname: "receive.example".into(),
        banner: "example receiver".into(),
        message_bytes: MESSAGE_BYTES,
        ..Settings::default()
    });
    let mut input = BytesMut::with_capacity(16 * 1024);
    loop {
        while let Some(event) = server.next(&mut input) {
            match event {
                Event::Mail(_) => server.answer_mail(Ok(())),
                Event::Recipient { .. } => server.answer_recipient(Ok(())),
                Event::Data { .. } => server.answer_data(Ok(64 * 1024)),
                Event::Message(message) => {
                    show(&message);
                    server.answer_message(&Answer::fixed(250, "2.0.0", "printed"));
                }
                Event::Flush => flush(&mut stream, &mut server).await?,
                Event::Close => return flush(&mut stream, &mut server).await,
                // Neither is offered, and refusals answer themselves.
                Event::Login(_)
                | Event::Token(_)
                | Event::Scram(_)
                | Event::ScramDone(_)
                | Event::StartTls
                | Event::Refused(_) => {}
            }
        }
        flush(&mut stream, &mut server).await?;
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

async fn flush(stream: &mut TcpStream, server: &mut Server) -> std::io::Result<()> {
    stream.write_all_buf(server.output()).await
}

fn show(message: &Message) {
    let sender = message.sender.as_ref().map_or("", |sender| sender.as_str());
    let mut text = format!("\n----- MAIL FROM:<{sender}>\n");
    for recipient in &message.recipients {
        text.push_str("----- RCPT TO:<");
        text.push_str(recipient.as_str());
        text.push_str(">\n");
    }
    text.push_str(&String::from_utf8_lossy(&message.content).replace('\r', ""));
    text.push_str("-----\n");
    print(&text);
}

fn print(text: &str) {
    // Whoever closed our output no longer wants to see it.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
