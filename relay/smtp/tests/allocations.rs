//! What a message costs in allocations: as many for a body of a hundred thousand lines as for one of
//! ten.

use bytes::BytesMut;
use relay_smtp::server::{Answer, Event, LoginPolicy, Server, Settings};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Octets of every body.
const BODY: usize = 200_000;

/// Allocations while a session takes a message with lines of `line` octets, by `DATA` or by `BDAT`,
/// in reads of 16 KiB.
fn allocations(line: usize, chunked: bool) -> u64 {
    let text = format!("{}\r\n", "x".repeat(line - 2));
    let body = text.repeat(BODY / line);
    assert_eq!(body.len(), BODY);
    let (data, end) = if chunked {
        (format!("BDAT {BODY} LAST\r\n"), "")
    } else {
        ("DATA\r\n".to_owned(), ".\r\n")
    };
    let wire = format!(
        "EHLO c.example\r\nMAIL FROM:<a@b.example> SIZE={BODY}\r\nRCPT TO:<c@d.example>\r\n{data}{body}{end}"
    );
    let mut server = Server::new(Settings {
        hostname: "outbox.example".into(),
        login: LoginPolicy::None,
        ..Settings::default()
    });
    let mut input = BytesMut::with_capacity(64 * 1024);
    let mut taken = 0;
    let before = dhat::HeapStats::get().total_blocks;
    for piece in wire.as_bytes().chunks(16 * 1024) {
        input.extend_from_slice(piece);
        while let Some(event) = server.next(&mut input) {
            match event {
                Event::Mail(_) => server.answer_mail(Ok(())),
                Event::Recipient { .. } => server.answer_recipient(Ok(())),
                Event::Data { size } => {
                    assert_eq!(size, Some(BODY as u64));
                    server.answer_data(Ok(BODY + 2));
                }
                Event::Message(message) => {
                    taken = message.content.len();
                    server.answer_message(&Answer::fixed(250, "2.0.0", "queued"));
                }
                event => assert_eq!(event, Event::Flush, "nothing else happens"),
            }
        }
    }
    let blocks = dhat::HeapStats::get().total_blocks - before;
    assert_eq!(taken, BODY);
    blocks
}

#[test]
fn no_line_of_a_body_costs_an_allocation() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for chunked in [false, true] {
        let few = allocations(20_000, chunked);
        let many = allocations(4, chunked);
        assert_eq!(few, many, "chunked: {chunked}");
        // Addresses, replies, the body itself.
        assert!(few < 60, "{few} allocations for a message");
        eprintln!("allocations for a message (chunked: {chunked}): {few}");
    }
}
