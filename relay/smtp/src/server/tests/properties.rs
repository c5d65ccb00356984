//! What holds for every stream of octets.

use proptest::prelude::*;

use super::*;

/// Pieces that reach every state; `STARTTLS` is left out, since what follows it in the same packet
/// is treated otherwise on purpose.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "EHLO c\r\n",
        "HELO c\r\n",
        "MAIL FROM:<a@b.example>\r\n",
        "MAIL FROM:<mallory@b.example>\r\n",
        "MAIL FROM:<> SIZE=9999\r\n",
        "RCPT TO:<c@d.example>\r\n",
        "RCPT TO:<bob>\r\n",
        "DATA\r\n",
        "Subject: x\r\n",
        "..\r\n",
        ".\r\n",
        "\r\n.\r\n",
        "x",
        "\r",
        "\n",
        "RSET\r\n",
        "NOOP\r\n",
        "AUTH LOGIN\r\n",
        "AUTH PLAIN AHVzZXIAb3R0ZXI=\r\n",
        "AUTH PLAIN\r\n",
        "dXNlcg==\r\n",
        "b3R0ZXI=\r\n",
        "*\r\n",
        "FOO\r\n",
        "QUIT\r\n",
    ]);
    prop::collection::vec(piece, 0..30).prop_map(|pieces| {
        let mut wire = b"EHLO c\r\n".to_vec();
        wire.extend(pieces.concat().into_bytes());
        wire
    })
}

proptest! {
    #[test]
    fn how_a_stream_is_cut_changes_nothing(wire in pieces(), size in 1_usize..20) {
        let settings = Settings { message_bytes: 30, ..settings() };
        let mut whole = Script::new(settings.clone());
        let expected = whole.octets(&wire);
        let mut cut = Script::new(settings);
        let replies: String = wire.chunks(size).map(|chunk| cut.octets(chunk)).collect();
        prop_assert_eq!(replies, expected);
        let log = |script: &Script| {
            script.log.iter().filter(|line| *line != "close").cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(log(&cut), log(&whole));
    }

    #[test]
    fn no_stream_panics(wire in prop::collection::vec(any::<u8>(), 0..500), size in 1_usize..50) {
        let mut script = Script::greeted();
        for chunk in wire.chunks(size) {
            script.octets(chunk);
        }
    }
}
