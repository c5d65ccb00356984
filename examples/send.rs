//! An application that sends one mail through the relay of `examples/laptop.yaml`.
//!
//! `cargo run -p relay --example send [TO] [HOST:PORT]`.

use std::error::Error;
use std::io::Write as _;

use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let to = arguments
        .next()
        .unwrap_or_else(|| "Reader <reader@example.org>".into());
    let relay = arguments.next().unwrap_or_else(|| "127.0.0.1:2525".into());
    let (host, port) = relay
        .rsplit_once(':')
        .ok_or("the second argument must be HOST:PORT, such as 127.0.0.1:2525")?;
    let message = Message::builder()
        .from("Laptop <app@laptop.example>".parse()?)
        .to(to.parse()?)
        .subject("It works")
        .body("Accepted, kept on disk, and delivered by the relay.\n".to_owned())?;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(port.parse()?)
        .build();
    let answer = transport
        .send(message)
        .await
        .map_err(|error| format!("{relay}: {error}"))?;
    let text: Vec<&str> = answer.message().collect();
    std::io::stdout().write_all(format!("{} {}\n", answer.code(), text.join(" ")).as_bytes())?;
    Ok(())
}
