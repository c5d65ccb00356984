//! `BDAT` in a session: RFC 3030.

use proptest::prelude::*;

use super::*;

/// With a transaction that has one recipient.
fn opened(settings: Settings, parameters: &str) -> Script {
    let mut script = Script::new(settings);
    let replies = script.send(&format!(
        "EHLO c\r\nMAIL FROM:<a@b.example>{parameters}\r\nRCPT TO:<c@d.example>\r\n"
    ));
    assert_eq!(codes(&replies), [250, 250, 250]);
    script
}

fn open() -> Script {
    opened(settings(), "")
}

fn binary() -> Settings {
    Settings {
        binary_mime: true,
        ..settings()
    }
}

#[test]
fn chunking_is_offered_and_binarymime_only_when_the_caller_can_deliver_it() {
    let mut script = Script::new(settings());
    let reply = script.send("EHLO c\r\n");
    assert!(reply.contains("250-CHUNKING\r\n") && !reply.contains("BINARYMIME"));
    let reply = script.send("MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n");
    assert!(reply.starts_with("555 5.5.4 "), "{reply}");
    assert!(
        Script::new(binary())
            .send("EHLO c\r\n")
            .contains("250-BINARYMIME\r\n")
    );
}

#[test]
fn r10_chunks_are_taken_as_they_are_with_their_dots() {
    let mut script = open();
    let replies = script.send("BDAT 20\r\n.leading dot\r\n.\r\n..a");
    assert_eq!(codes(&replies), [250]);
    let replies = script.send("BDAT 5 LAST\r\nb\r\n.\r");
    assert_eq!(codes(&replies), [550], "the last line end is cut in two");
    let mut script = open();
    let replies = script.send("BDAT 20\r\n.leading dot\r\n.\r\n..aBDAT 7 LAST\r\nb\r\n.c\r\n");
    assert_eq!(codes(&replies), [250, 250]);
    assert_eq!(
        script.messages[0].content,
        b".leading dot\r\n.\r\n..ab\r\n.c\r\n".as_slice()
    );
}

#[test]
fn r11_a_message_refused_after_its_last_chunk_has_one_reply() {
    let mut script = open();
    script.input.extend_from_slice(b"BDAT 3 LAST\r\na\r\n");
    let Some(Event::Data { size: Some(3) }) = script.server.next(&mut script.input) else {
        panic!("no leave was asked");
    };
    script.server.answer_data(Ok(0));
    let Some(Event::Message(message)) = script.server.next(&mut script.input) else {
        panic!("no message");
    };
    assert_eq!(message.content, b"a\r\n".as_slice());
    assert_eq!(script.take(), "", "a 250 before the caller had its say");
    script
        .server
        .answer_message(&Answer::fixed(550, "5.7.1", "spam"));
    assert_eq!(script.take(), "550 5.7.1 spam\r\n");
    assert_eq!(codes(&script.send("NOOP\r\n")), [250]);
}

#[test]
fn r12_a_wrong_argument_is_a_501_after_the_octets() {
    let mut script = open();
    let replies = script.send("BDAT 5 FIRST\r\nQUIT\r");
    assert!(replies.starts_with("501 5.5.4 "), "{replies}");
    assert_eq!(codes(&script.send("NOOP\r\n")), [250]);
    assert_eq!(
        codes(&script.send("BDAT 4\r\nRSETBDAT 0 LAST\r\n")),
        [503, 503]
    );
    assert!(script.messages.is_empty() && !script.is_closed());
}

#[test]
fn r12_an_empty_last_chunk_ends_the_message_and_rset_discards_it() {
    let mut script = open();
    assert_eq!(
        codes(&script.send("BDAT 3\r\na\r\nBDAT 0 LAST\r\n")),
        [250, 250]
    );
    assert_eq!(script.messages[0].content, b"a\r\n".as_slice());

    let mut script = open();
    let replies = script.send("BDAT 3\r\na\r\nRSET\r\nBDAT 3 LAST\r\nb\r\n");
    assert_eq!(codes(&replies), [250, 250, 503]);
    assert_eq!(script.server.receiving(), 0);
    let replies = script.send("MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 3 LAST\r\nc\r\n");
    assert_eq!(codes(&replies), [250, 250, 250]);
    assert_eq!(script.messages.len(), 1);
    assert_eq!(script.messages[0].content, b"c\r\n".as_slice());
}

#[test]
fn r13_the_next_transaction_may_follow_in_the_same_packet() {
    let mut script = open();
    let replies = script.send(
        "BDAT 3 LAST\r\na\r\nMAIL FROM:<e@b.example>\r\nRCPT TO:<f@d.example>\r\n\
         BDAT 3 LAST\r\nb\r\nQUIT\r\n",
    );
    assert_eq!(codes(&replies), [250, 250, 250, 250, 221]);
    let contents: Vec<_> = script.messages.iter().map(|one| &one.content[..]).collect();
    assert_eq!(contents, [b"a\r\n", b"b\r\n"]);
    assert_eq!(script.messages[1].recipients.len(), 1);
}

#[test]
fn r3_r10_a_lone_return_or_line_feed_in_a_chunk_refuses_the_message_and_what_was_pipelined() {
    let mut script = open();
    let replies = script.send("BDAT 4\r\na\nb.BDAT 3\r\na\r\nBDAT 0 LAST\r\nNOOP\r\n");
    assert_eq!(codes(&replies), [550, 503, 503, 250]);
    assert!(
        replies.starts_with("550 5.5.2 a bare CR or LF"),
        "{replies}"
    );
    assert_eq!(script.log, ["bare_line_end"]);
}

#[test]
fn binary_content_may_hold_anything_and_comes_by_bdat_alone() {
    let mut script = opened(binary(), " BODY=BINARYMIME");
    let replies = script.send("DATA\r\n");
    assert!(
        replies.starts_with("503 5.5.1 a message with BODY=BINARYMIME"),
        "{replies}"
    );
    script.octets(b"BDAT 6 LAST\r\n\r\0\n\xff.\n");
    let message = &script.messages[0];
    assert!(message.binary);
    assert_eq!(message.content, b"\r\0\n\xff.\n".as_slice());
}

#[test]
fn data_and_recipients_cannot_follow_chunks() {
    let mut script = open();
    let replies = script.send("BDAT 3\r\na\r\nDATA\r\nRCPT TO:<x@d.example>\r\nMAIL FROM:<>\r\n");
    assert_eq!(codes(&replies), [250, 503, 503, 503]);
    assert_eq!(codes(&script.send("BDAT 3 LAST\r\nb\r\n")), [250]);
    assert_eq!(script.messages[0].content, b"a\r\nb\r\n".as_slice());
    assert_eq!(script.messages[0].recipients.len(), 1);
}

#[test]
fn chunks_out_of_order_are_read_and_refused() {
    let mut script = Script::new(settings());
    assert!(script.send("BDAT 6\r\nQUIT\r\n").contains("say EHLO first"));
    let replies =
        script.send("EHLO c\r\nBDAT 6 LAST\r\nQUIT\r\nMAIL FROM:<>\r\nBDAT 6\r\nQUIT\r\n");
    assert_eq!(codes(&replies), [250, 503, 250, 503]);
    assert!(
        replies.contains("503 5.5.1 no recipient was accepted"),
        "{replies}"
    );
    assert!(!script.is_closed());
}

#[test]
fn a_chunk_that_does_not_fit_is_read_and_refused_with_552() {
    let mut script = open();
    let big = "x".repeat(1500);
    assert_eq!(codes(&script.send(&format!("BDAT 1500\r\n{big}"))), [250]);
    assert_eq!(script.server.receiving(), 1500);
    let replies = script.send(&format!("BDAT 1500 LAST\r\n{big}NOOP\r\n"));
    assert!(replies.starts_with("552 5.3.4 "), "{replies}");
    assert_eq!(codes(&replies), [552, 250]);
    assert_eq!(script.server.receiving(), 0);
    assert_eq!(script.log, ["message_too_large"]);
}

#[test]
fn a_chunk_of_absurd_or_unknown_size_ends_the_session() {
    for (line, code) in [
        ("BDAT 99999999999999999999 LAST", 552),
        ("BDAT 70000", 552),
        ("BDAT 1000000000000000000000", 501),
        ("BDAT -1", 501),
        ("BDAT 0x10", 501),
        ("BDAT", 501),
        ("bdat LAST", 501),
        (" BDAT 5\u{e5}", 501),
        ("BDAT 5\0", 500),
    ] {
        let mut script = open();
        let replies = script.send(&format!("{line}\r\nMAIL FROM:<x@y.example>\r\nNOOP\r\n"));
        assert_eq!(codes(&replies), [code], "{line}");
        assert!(script.is_closed(), "{line}");
    }
}

#[test]
fn who_sends_on_after_a_refused_chunk_is_cut_off() {
    let mut script = open();
    let chunk = format!("BDAT 9000\r\n{}", "x".repeat(9000));
    let fed = (1..100).find(|_| {
        script.send(&chunk);
        script.is_closed()
    });
    // The overrun of so small a limit is 64 KiB.
    assert_eq!(fed, Some(8));
}

#[test]
fn a_message_put_off_for_want_of_memory_is_refused_at_its_next_chunk() {
    let full = || Answer::fixed(452, "4.3.1", "no memory");
    let mut script = open();
    script.send("BDAT 100\r\n0123456789");
    assert_eq!(script.server.receiving(), 10);
    script.server.refuse_data(full());
    assert_eq!(script.server.receiving(), 0);
    let replies = script.send(&format!("{}BDAT 1 LAST\r\nx", "x".repeat(90)));
    assert_eq!(codes(&replies), [452, 503]);

    let mut script = open();
    script.send("BDAT 4\r\n0123");
    script.server.refuse_data(full());
    assert_eq!(script.server.receiving(), 0);
    assert_eq!(
        codes(&script.send("BDAT 1\r\nxBDAT 0 LAST\r\n")),
        [452, 503]
    );
    assert!(script.messages.is_empty());
}

proptest! {
    #[test]
    fn how_a_session_with_chunks_is_cut_changes_nothing(size in 1_usize..40) {
        let text = "EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n\
            BDAT 12\r\nSubject: x\r\nBDAT 0\r\nBDAT 9 LAST\r\n\r\n.\r\nRSETMAIL FROM:<>\r\n\
            RCPT TO:<c@d.example>\r\nBDAT 5 NEXT\r\nQUIT\rNOOP\r\nBDAT 4 LAST\r\nNOOPNOOP\r\n";
        let mut whole = Script::new(settings());
        let expected = whole.send(text);
        let mut cut = Script::new(settings());
        let mut replies = String::new();
        for piece in text.as_bytes().chunks(size) {
            replies += &cut.octets(piece);
        }
        prop_assert_eq!(codes(&expected), [250, 250, 250, 250, 250, 250, 250, 250, 501, 250, 503, 250]);
        prop_assert_eq!(replies, expected);
        prop_assert_eq!(cut.messages, whole.messages);
    }
}
