//! Where lines and messages end, and what is run of what follows: cases R1 to R5, R15 and R44.

use super::*;

#[test]
fn r1_what_follows_lf_dot_crlf_is_data_and_no_second_message() {
    let mut script = Script::greeted();
    script.send(OPEN);
    let replies = script.send(
        "Subject: x\r\n\r\n\n.\r\nMAIL FROM:<evil@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx\r\n.\r\n",
    );
    assert_eq!(codes(&replies), [550]);
    assert!(script.messages.is_empty());
    assert_eq!(script.log, ["bare_line_end"]);
    assert_eq!(codes(&script.send(OPEN)), [250, 250, 354]);
}

#[test]
fn r2_r3_r5_bare_line_ends_anywhere_are_refused_after_the_dot() {
    for body in ["a\n.\n", "a\rb", "\na", "a\r\n\r\r\nb", "a\r\nb\nc\r\nd"] {
        let mut script = Script::greeted();
        script.send(OPEN);
        let replies = script.send(&format!("{body}\r\n.\r\nNOOP\r\n"));
        assert!(replies.starts_with("550 5.5.2 "), "{body:?} {replies}");
        assert_eq!(codes(&replies), [550, 250]);
        assert!(script.messages.is_empty());
    }
}

#[test]
fn r4_a_bare_lf_never_ends_a_command_and_ends_the_session() {
    let mut script = Script::greeted();
    let replies = script.send("NOOP\nMAIL FROM:<a@b.example>\r\n");
    assert!(replies.starts_with("500 5.5.2 "), "{replies}");
    assert_eq!(script.log, ["line_framing", "close"]);
    let mut script = Script::greeted();
    assert_eq!(codes(&script.send("NOOP\rNOOP\r\nNOOP\r\n")), [500, 250]);
}

#[test]
fn r15_commands_sent_along_with_starttls_are_never_run() {
    let mut script = Script::greeted();
    let replies = script.send("STARTTLS\r\nMAIL FROM:<a@b.example>\r\n");
    assert!(replies.starts_with("554 5.5.1 "), "{replies}");
    assert_eq!(script.log, ["line_framing", "close"]);
    assert_eq!(script.send("NOOP\r\n"), "");
}

#[test]
fn r44_an_overlong_line_ends_the_session_and_its_tail_is_not_run() {
    for start in ["AUTH PLAIN\r\n", "", "AUTH LOGIN\r\n"] {
        let mut script = Script::greeted();
        script.send(start);
        let replies = script.send(&format!(
            "{}\r\nMAIL FROM:<a@b.example>\r\n",
            "A".repeat(LONGEST_LINE)
        ));
        assert_eq!(codes(&replies), [500], "{start:?}");
        assert_eq!(script.log, ["line_framing", "close"]);
    }
    let mut script = Script::greeted();
    let replies = script.send(&format!("NOOP {}\r\n", "A".repeat(LONGEST_LINE - 7)));
    assert_eq!(codes(&replies), [250]);
}

#[test]
fn a_web_request_is_not_answered_line_by_line() {
    let mut script = Script::new(settings());
    assert_eq!(
        codes(&script.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b>\r\n")),
        [421]
    );
    assert!(script.is_closed());
}

#[test]
fn data_refused_by_the_caller_is_read_to_its_end_and_answered_once() {
    let mut script = Script::greeted();
    script.send(OPEN);
    assert_eq!(script.send("Subject: x\r\n"), "");
    assert_eq!(script.server.receiving(), 12);
    script
        .server
        .refuse_data(Answer::fixed(452, "4.3.1", "busy"));
    assert_eq!(script.server.receiving(), 0);
    assert_eq!(
        script.send("\r\nhello\r\n.\r\nNOOP\r\n"),
        "452 4.3.1 busy\r\n250 2.0.0 ok\r\n"
    );
    assert!(script.messages.is_empty());
    assert!(script.server.is_idle());
}
