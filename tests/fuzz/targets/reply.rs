//! Replies of other servers: how they are cut changes nothing, and their text can break no log line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay_smtp::reply::{Reply, ReplyError, ReplyParser};

/// All replies, until an error ends the session.
fn read(pieces: &[&[u8]]) -> (Vec<Reply>, Option<ReplyError>) {
    let mut parser = ReplyParser::default();
    let mut replies = Vec::new();
    for piece in pieces {
        parser.feed(piece);
        loop {
            match parser.next_reply() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fuzz_target!(|input: &[u8]| {
    let (pieces, whole) = mailrelay_fuzz::cut(input);
    let (replies, error) = read(&pieces);
    let (expected, expected_error) = read(&[whole]);
    assert_eq!(replies, expected);
    assert_eq!(error, expected_error);
    for reply in &replies {
        assert!((200..=599).contains(&reply.code()));
        let text = reply.to_string();
        assert!(text.chars().all(|one| !one.is_control()), "{text:?}");
    }
});
