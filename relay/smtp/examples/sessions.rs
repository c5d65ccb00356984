//! Takes messages of 4 KiB through the server's state machine, or one of the steps that follow, for counting
//! what one costs: `sessions data|bdat|encode|canonical NUMBER`.

use bytes::{Bytes, BytesMut};
use relay_smtp::server::{Answer, Event, LoginPolicy, Server, Settings};
use relay_smtp::transparency;

// Belongs to the relay, whose build would take minutes.
#[expect(dead_code, reason = "a part of it is counted")]
#[path = "../../src/dkim/canonical.rs"]
mod canonical;
// For that.
#[expect(dead_code, reason = "a part of it is needed")]
#[path = "../../src/fields.rs"]
mod fields;

const OCTETS: usize = 4096;
/// Octets per read, as the relay reads.
const READ: usize = 16 * 1024;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let way = arguments.next().unwrap_or_default();
    let number: usize = arguments
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    let body = body();
    match way.as_str() {
        "data" => receive(number, &format!("DATA\r\n{body}.\r\n")),
        "bdat" => receive(number, &format!("BDAT {OCTETS} LAST\r\n{body}")),
        "encode" => {
            let content = [Bytes::from(body)];
            for _ in 0..number {
                std::hint::black_box(transparency::encode(std::hint::black_box(&content)));
            }
        }
        "canonical" => canonical(number, body),
        _ => std::process::exit(2),
    }
}

/// What a signature is made of: relaxed fields, and the hash of the relaxed body.
fn canonical(number: usize, body: String) {
    let content = [Bytes::from(body)];
    let mut fields = Vec::new();
    for _ in 0..number {
        let message = canonical::Message::read(std::hint::black_box(&content));
        fields.clear();
        for name in ["From", "Subject"] {
            message.canonical_fields(name, &mut fields);
        }
        std::hint::black_box((&fields, message.body_hash()));
    }
}

/// Lines of 72 octets, one in ten of which begins with a dot.
fn body() -> String {
    let mut body = String::from("From: a@b.example\r\nSubject: counted\r\n\r\n");
    let mut line = 0;
    while body.len() < OCTETS {
        let room = (OCTETS - body.len() - 2).min(70);
        let first = if line % 10 == 9 { 'y' } else { 'x' };
        body.push(first);
        body.push_str(&"x".repeat(room.saturating_sub(1)));
        body.push_str("\r\n");
        line += 1;
    }
    body.truncate(OCTETS - 2);
    body.push_str("\r\n");
    body
}

/// One session, `number` pipelined transactions.
fn receive(number: usize, data: &str) {
    let transaction =
        format!("MAIL FROM:<a@b.example> SIZE={OCTETS}\r\nRCPT TO:<c@d.example>\r\n{data}");
    let mut server = Server::new(Settings {
        hostname: "outbox.example".into(),
        login: LoginPolicy::None,
        ..Settings::default()
    });
    let mut input = BytesMut::with_capacity(2 * READ);
    input.extend_from_slice(b"EHLO c.example\r\n");
    for _ in 0..number {
        for piece in transaction.as_bytes().chunks(READ) {
            input.extend_from_slice(piece);
            while let Some(event) = server.next(&mut input) {
                match event {
                    Event::Mail(_) => server.answer_mail(Ok(())),
                    Event::Recipient { .. } => server.answer_recipient(Ok(())),
                    Event::Data { .. } => server.answer_data(Ok(OCTETS)),
                    Event::Message(message) => {
                        assert!(message.content.len() >= OCTETS - 2);
                        server.answer_message(&Answer::fixed(250, "2.0.0", "queued"));
                    }
                    event => assert_eq!(event, Event::Flush, "nothing else happens"),
                }
            }
            server.output().clear();
        }
    }
}
