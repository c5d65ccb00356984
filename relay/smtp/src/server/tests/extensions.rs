//! Parameters beyond RFC 5321, what is offered, and limits of a session.

use super::*;
use crate::options::{ByMode, GiveBack, Hold};

const TRANSACTION_END: &str = "DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n";

fn encrypted() -> Settings {
    Settings {
        implicit_tls: true,
        ..settings()
    }
}

#[test]
fn everything_that_is_understood_is_offered_and_requiretls_under_tls_only() {
    let mut script = Script::new(settings());
    let offer = script.send("EHLO c\r\n");
    for line in [
        "PIPELINING",
        "SIZE 2000",
        "STARTTLS",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "CHUNKING",
        "DSN",
        "DELIVERBY",
        "MT-PRIORITY",
        "FUTURERELEASE 604800 2026-09-28T14:13:20Z",
        "LIMITS RCPTMAX=100",
        "SMTPUTF8",
    ] {
        assert!(
            offer.lines().any(|one| one.get(4..) == Some(line)),
            "{line}: {offer}"
        );
    }
    assert!(!offer.contains("REQUIRETLS"));
    let offer = Script::new(encrypted()).send("EHLO c\r\n");
    assert!(offer.contains("250-REQUIRETLS\r\n") && !offer.contains("STARTTLS"));
    let none = Settings {
        hold: None,
        ..settings()
    };
    assert!(
        !Script::new(none)
            .send("EHLO c\r\n")
            .contains("FUTURERELEASE")
    );
}

#[test]
fn r24_what_is_asked_for_comes_with_the_message() {
    let mut script = Script::new(encrypted());
    let replies = script.send(&format!(
        "EHLO c\r\nMAIL FROM: <a@b.example> RET=HDRS ENVID=x+2By BY=60;R HOLDFOR=5 MT-PRIORITY=3 \
         REQUIRETLS\r\n\
         RCPT TO:<plain@d.example>\r\n\
         RCPT TO: <c@d.example> NOTIFY=success,failure ORCPT=rfc822;C+2Bc@d.example\r\n\
         RCPT TO:<c@d.example> NOTIFY=NEVER\r\n{TRANSACTION_END}"
    ));
    assert_eq!(codes(&replies), [250, 250, 250, 250, 250, 354, 250]);
    let message = &script.messages[0];
    let options = &message.options;
    assert_eq!(options.give_back, Some(GiveBack::Headers));
    assert_eq!(options.envelope_id.as_deref(), Some("x+y"));
    assert_eq!(options.deliver_by.unwrap().mode, ByMode::Return);
    assert_eq!(options.hold, Some(Hold::For(5)));
    assert!(options.priority == 3 && options.require_tls);
    assert_eq!(message.recipients.len(), 2);
    assert_eq!(message.recipient_options.len(), 1);
    let second = &message.recipient_options[&1];
    assert_eq!(second.notify.unwrap().to_string(), "SUCCESS,FAILURE");
    assert_eq!(second.original.as_ref().unwrap().address, "C+c@d.example");
    // The next message starts without.
    script.send(&format!(
        "MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\n{TRANSACTION_END}"
    ));
    assert_eq!(
        script.messages[1].options,
        crate::options::MailOptions::default()
    );
    assert!(script.messages[1].recipient_options.is_empty());
}

#[test]
fn what_cannot_be_granted_is_refused_in_words() {
    let rows = [
        (
            "REQUIRETLS",
            "530 5.7.10 REQUIRETLS needs an encrypted connection",
        ),
        (
            "HOLDFOR=604801",
            "501 5.5.4 HOLDFOR is at most 604800 seconds here",
        ),
        (
            "HOLDUNTIL=2026-09-28T14:13:21Z",
            "501 5.5.4 HOLDUNTIL is at most 2026-09-28T14:13:20Z here",
        ),
        ("BY=0;R", "501 5.5.4 BY with mode R needs"),
        ("MT-PRIORITY=10", "501 5.5.4 MT-PRIORITY is"),
        ("SOLICIT=x", "555 5.5.4 MAIL has no parameter SOLICIT here"),
    ];
    for (parameter, expected) in rows {
        let mut script = Script::greeted();
        let reply = script.send(&format!("MAIL FROM:<a@b.example> {parameter}\r\n"));
        assert!(reply.starts_with(expected), "{reply}");
        assert_eq!(codes(&script.send("MAIL FROM:<a@b.example>\r\n")), [250]);
    }
    let mut script = Script::greeted();
    for allowed in [
        "HOLDFOR=604800",
        "HOLDUNTIL=2026-09-28T14:13:20Z",
        "HOLDUNTIL=1999-01-01T00:00:00Z",
    ] {
        let reply = script.send(&format!("MAIL FROM:<a@b.example> {allowed}\r\nRSET\r\n"));
        assert_eq!(codes(&reply), [250, 250], "{reply}");
    }
    let mut script = Script::new(Settings {
        hold: None,
        ..settings()
    });
    let reply = script.send("EHLO c\r\nMAIL FROM:<> HOLDFOR=1\r\n");
    assert!(
        reply.contains("\r\n555 5.5.4 HOLDFOR and HOLDUNTIL are not offered"),
        "{reply}"
    );
}

#[test]
fn r25_r28_a_strict_listener_says_how_to_write_it() {
    let mut script = Script::new(Settings {
        syntax: Syntax::Strict,
        ..settings()
    });
    let reply = script.send("EHLO [IPV6:2a01:cb06::1]\r\nMAIL FROM: <a@b.example>\r\n");
    assert_eq!(codes(&reply), [250, 501]);
    assert!(
        reply.contains("write MAIL FROM:<name@domain> with brackets"),
        "{reply}"
    );
    assert_eq!(codes(&script.send("MAIL FROM:<a@b.example>\r\n")), [250]);
}

#[test]
fn a_header_over_its_limit_is_refused_and_not_kept() {
    let mut script = Script::new(Settings {
        header_bytes: 100,
        ..settings()
    });
    let field = "X-Filler: 0123456789\r\n";
    script.send("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n");
    for _ in 0..40 {
        script.send(field);
        assert!(script.server.receiving() <= 100);
    }
    let reply = script.send("\r\n.\r\n");
    assert!(
        reply.starts_with("552 5.3.4 the header is larger than the 100 octets"),
        "{reply}"
    );
    assert_eq!(script.log, ["header_too_large"]);
    let reply = script.send(&format!(
        "MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 110\r\n{}",
        field.repeat(5)
    ));
    assert_eq!(codes(&reply), [250, 250, 552]);
}

#[test]
fn a_session_that_brings_no_mail_ends() {
    let limited = || Settings {
        commands: 10,
        ..settings()
    };
    let mut script = Script::new(limited());
    let replies = script.send(&format!("EHLO c\r\n{}", "NOOP\r\n".repeat(20)));
    assert_eq!(codes(&replies).len(), 11);
    assert!(
        replies.contains("421 4.7.0 too many commands without a message"),
        "{replies}"
    );
    assert_eq!(script.log, ["too_many_commands", "close"]);

    let mut script = Script::new(limited());
    script.send("EHLO c\r\n");
    for _ in 0..20 {
        let recipients = "RCPT TO:<c@d.example>\r\n".repeat(30);
        let replies = script.send(&format!(
            "RSET\r\nMAIL FROM:<>\r\n{recipients}{TRANSACTION_END}"
        ));
        assert_eq!(codes(&replies).last(), Some(&250));
    }
    assert_eq!(script.messages.len(), 20);
}

#[test]
fn r45_long_original_recipients_do_not_fill_the_memory() {
    let mut script = Script::greeted();
    script.send("MAIL FROM:<>\r\n");
    let long = "x".repeat(490);
    let mut taken = 0;
    let refused = loop {
        let reply = script.send(&format!(
            "RCPT TO:<r{taken}@d.example> ORCPT=rfc822;{long}\r\n"
        ));
        if !reply.starts_with("250") {
            break reply;
        }
        taken += 1;
    };
    assert_eq!(taken, 6400 / 496);
    assert!(
        refused.starts_with("452 4.5.3 the ORCPT parameters"),
        "{refused}"
    );
    assert_eq!(codes(&script.send("RCPT TO:<plain@d.example>\r\n")), [250]);
}
