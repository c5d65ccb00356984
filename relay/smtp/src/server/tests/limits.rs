//! How much a session takes: recipients, octets, faults, unwritten replies.

use super::*;

#[test]
fn r45_recipients_over_the_limit_are_452_and_the_rest_is_taken() {
    let mut script = Script::greeted();
    script.send("MAIL FROM:<a@b.example>\r\n");
    for number in 0..100 {
        assert_eq!(
            codes(&script.send(&format!("RCPT TO:<u{number}@d.example>\r\n"))),
            [250]
        );
    }
    assert_eq!(
        script.send("RCPT TO:<one.more@d.example>\r\n")[..9],
        *"452 4.5.3"
    );
    assert_eq!(codes(&script.send("DATA\r\n\r\n.\r\n")), [354, 250]);
    assert_eq!(script.messages[0].recipients.len(), 100);
}

#[test]
fn a_message_over_the_limit_is_refused_at_mail_and_after_the_dot() {
    let mut script = Script::greeted();
    let replies =
        script.send("MAIL FROM:<a@b.example> SIZE=2001\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
    assert!(replies.starts_with("552 5.3.4 the message is larger than the 2000 octets"));
    assert_eq!(codes(&replies), [552, 503, 503]);
    script.send(OPEN);
    let replies = script.send(&format!("{}\r\n.\r\nNOOP\r\n", "x".repeat(1999)));
    assert_eq!(replies[..9], *"552 5.3.4");
    assert_eq!(codes(&replies), [552, 250]);
    assert_eq!(script.log, ["message_too_large", "message_too_large"]);
    script.send(OPEN);
    assert_eq!(
        codes(&script.send(&format!("{}\r\n.\r\n", "x".repeat(1998)))),
        [250]
    );
}

#[test]
fn too_many_faulty_commands_end_the_session() {
    let mut script = Script::greeted();
    let replies = script.send(&"FOO\r\n".repeat(30));
    assert_eq!(codes(&replies).len(), 21);
    assert_eq!(codes(&replies)[20], 421);
    assert!(script.is_closed());
}

#[test]
fn refused_recipients_are_told_once_and_a_list_without_end_ends_the_session() {
    let mut script = Script::greeted();
    script.send("MAIL FROM:<a@b.example>\r\n");
    let replies = script.send(&"RCPT TO:<bob>\r\n".repeat(1000));
    assert_eq!(codes(&replies), [501; 1000]);
    assert_eq!(script.log, ["recipient"]);
    assert_eq!(codes(&script.send("RCPT TO:<bob>\r\nNOOP\r\n")), [501, 421]);
    assert!(script.is_closed());
}

#[test]
fn many_replies_are_handed_out_in_between() {
    let mut server = Server::new(settings());
    let mut input = BytesMut::from("HELP\r\n".repeat(2000).as_bytes());
    let mut flushes = 0;
    while let Some(event) = server.next(&mut input) {
        assert_eq!(event, Event::Flush);
        assert!(server.output().len() < FLUSH_AT + 512);
        server.output().clear();
        flushes += 1;
    }
    assert!(flushes > 5);
}
