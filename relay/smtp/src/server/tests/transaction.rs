//! Commands in their order, senders and recipients.

use super::*;
use crate::address::Address;

#[test]
fn a_message_passes_and_each_reply_has_an_enhanced_code() {
    let mut script = Script::greeted();
    assert_eq!(
        script.send("MAIL FROM:<a@b.example>\r\n"),
        "250 2.1.0 sender ok\r\n"
    );
    assert_eq!(
        script.send("RCPT TO:<c@d.example>\r\n"),
        "250 2.1.5 recipient ok\r\n"
    );
    assert_eq!(codes(&script.send("DATA\r\n")), [354]);
    assert_eq!(
        script.send("Subject: x\r\n\r\n..\r\n.\r\n"),
        "250 2.0.0 queued\r\n"
    );
    assert!(!script.server.has_quit());
    assert_eq!(script.send("QUIT\r\n"), "221 2.0.0 goodbye\r\n");
    assert!(script.is_closed() && script.server.has_quit());
    assert_eq!(script.messages[0].content, "Subject: x\r\n\r\n.\r\n");
    assert_eq!(script.messages[0].longest_line, 10);
}

#[test]
fn ehlo_lists_what_is_offered_in_this_state_and_helo_nothing() {
    let mut script = Script::new(Settings {
        login_without_tls: false,
        ..settings()
    });
    assert_eq!(
        script.send("EHLO c\r\n"),
        "250-outbox.example\r\n250-PIPELINING\r\n250-SIZE 2000\r\n250-STARTTLS\r\n\
         250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-DSN\r\n\
         250-DELIVERBY\r\n250-MT-PRIORITY\r\n250-FUTURERELEASE 604800 2026-09-28T14:13:20Z\r\n\
         250-LIMITS RCPTMAX=100\r\n250 SMTPUTF8\r\n"
    );
    script.send("STARTTLS\r\n");
    script.server.tls_started();
    let replies = script.send("EHLO c\r\n");
    assert!(replies.contains("250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n"));
    assert!(!replies.contains("STARTTLS"));
    assert_eq!(script.send("HELO c\r\n"), "250 outbox.example\r\n");
}

#[test]
fn r43_order_arguments_and_unknown_commands() {
    let rows: [(&str, &[u16]); 13] = [
        ("MAIL FROM:<a@b.example>\r\n", &[503]),
        ("RCPT TO:<a@b.example>\r\n", &[503]),
        ("DATA\r\n", &[503]),
        ("FOO\r\n", &[500]),
        ("EHLO\r\n", &[501]),
        ("EHLO c\r\nRCPT TO:<a@b.example>\r\n", &[250, 503]),
        ("EHLO c\r\nDATA\r\n", &[250, 503]),
        (
            "EHLO c\r\nMAIL FROM:<a@b.example>\r\nMAIL FROM:<a@b.example>\r\n",
            &[250, 250, 503],
        ),
        (
            "EHLO c\r\nMAIL FROM:<a@b.example>\r\nDATA\r\n",
            &[250, 250, 503],
        ),
        (
            "EHLO c\r\nMAIL FROM:<a@b.example>\r\nRSET\r\nDATA\r\n",
            &[250, 250, 250, 503],
        ),
        (
            "EHLO c\r\nMAIL FROM:<a@b.example>\r\nEHLO c\r\nDATA\r\n",
            &[250, 250, 250, 503],
        ),
        (
            "EXPN list\r\nVRFY a\r\nHELP\r\nNOOP x\r\nBDAT 0\r\n",
            &[502, 252, 214, 250, 503],
        ),
        ("EHLO c\r\nMAIL FROM:<a@b.example> FOO=1\r\n", &[250, 555]),
    ];
    for (text, expected) in rows {
        assert_eq!(
            codes(&Script::new(settings()).send(text)),
            expected,
            "{text:?}"
        );
    }
}

#[test]
fn r26_r27_a_malformed_address_or_octet_is_a_501_and_the_session_goes_on() {
    let mut script = Script::greeted();
    script.send("MAIL FROM:<a@b.example>\r\n");
    assert_eq!(script.send("RCPT TO:<bob>\r\n")[..9], *"501 5.1.3");
    assert_eq!(
        codes(&script.octets(b"RCPT TO:<b\xff@d.example>\r\n")),
        [501]
    );
    assert_eq!(
        codes(&script.send("RCPT TO:<c@d.example>\r\nDATA\r\n")),
        [250, 354]
    );
}

#[test]
fn a_recipient_without_a_domain_is_refused_with_a_clear_text() {
    let mut script = Script::greeted();
    script.send("MAIL FROM:<a@b.example>\r\n");
    assert_eq!(
        script.send("RCPT TO:<bob>\r\n"),
        "501 5.1.3 the recipient address cannot be used: it has no domain; write name@domain\r\n"
    );
    assert_eq!(
        script.send("RCPT TO:<Postmaster>\r\n"),
        "550 5.1.3 this relay has no mailboxes; write postmaster@domain\r\n"
    );
    assert_eq!(codes(&script.send("DATA\r\n")), [503]);
}

#[test]
fn r30_the_null_sender_reaches_the_caller() {
    let mut script = Script::greeted();
    assert_eq!(
        codes(&script.send("MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n.\r\n")),
        [250, 250, 354, 250]
    );
    assert_eq!(script.messages[0].sender, None);
}

#[test]
fn r47_a_repeated_recipient_gets_one_copy_and_local_parts_differ_by_case() {
    let mut script = Script::greeted();
    script.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<Bob@D.example>\r\nRCPT TO:<Bob@d.EXAMPLE>\r\nRCPT TO:<bob@d.example>\r\nDATA\r\n.\r\n");
    let recipients: Vec<_> = script.messages[0]
        .recipients
        .iter()
        .map(Address::as_str)
        .collect();
    assert_eq!(recipients, ["Bob@d.example", "bob@d.example"]);
    assert_eq!(script.messages[0].content, "");
}

#[test]
fn non_ascii_addresses_need_smtputf8_and_are_marked_in_the_trace() {
    let mut script = Script::greeted();
    script.send("MAIL FROM:<a@b.example>\r\n");
    assert_eq!(
        script.send("RCPT TO:<p\u{e5}l@d.example>\r\n")[..9],
        *"553 5.6.7"
    );
    assert_eq!(
        codes(&script.send("RCPT TO:<info@gr\u{e5}.org>\r\n")),
        [250]
    );
    let replies = script.send(
        "RSET\r\nMAIL FROM:<a@b.example> SMTPUTF8\r\nRCPT TO:<p\u{e5}l@d.example>\r\nDATA\r\n.\r\n",
    );
    assert_eq!(codes(&replies), [250, 250, 250, 354, 250]);
    assert!(script.messages[0].smtputf8);
    assert_eq!(script.server.protocol(true), "UTF8SMTP");
}

#[test]
fn a_pipelined_batch_after_a_refused_mail_does_no_harm() {
    let mut script = Script::greeted();
    let recipients = "RCPT TO:<c@d.example>\r\n".repeat(90);
    let replies = script.send(&format!(
        "MAIL FROM:<mallory@b.example>\r\n{recipients}DATA\r\nNOOP\r\n"
    ));
    let codes = codes(&replies);
    assert_eq!(
        (codes[0], codes[1], codes[91], codes[92]),
        (550, 503, 503, 250)
    );
}

#[test]
fn shutdown_ends_idle_sessions_only_by_the_callers_word() {
    let mut script = Script::greeted();
    assert!(script.server.is_idle());
    script.send("MAIL FROM:<a@b.example>\r\n");
    assert!(!script.server.is_idle());
    script
        .server
        .end(&Answer::fixed(421, "4.3.2", "shutting down"));
    assert_eq!(script.send("NOOP\r\n"), "421 4.3.2 shutting down\r\n");
}

/// A session whose caller is asked about recipients.
fn judging() -> Script {
    let mut script = Script::new(Settings {
        judge_recipients: true,
        ..settings()
    });
    script.send("EHLO client.example\r\n");
    script
}

#[test]
fn the_caller_judges_each_recipient_in_its_turn_pipelined_or_not() {
    let commands = [
        "MAIL FROM:<a@b.example>\r\n",
        "RCPT TO:<c@d.example>\r\n",
        "RCPT TO:<nobody@d.example> NOTIFY=NEVER\r\n",
        "RCPT TO:<e@d.example> NOTIFY=NEVER\r\n",
        "DATA\r\n",
        "x\r\n.\r\n",
    ];
    for pipelined in [false, true] {
        let mut script = judging();
        let replies = if pipelined {
            script.send(&commands.concat())
        } else {
            commands.map(|command| script.send(command)).concat()
        };
        assert_eq!(codes(&replies), [250, 250, 550, 250, 354, 250]);
        assert!(script.log[1].starts_with("recipient Some(\"a@b.example\") nobody@"));
        let message = &script.messages[0];
        let expected = ["c@d.example", "e@d.example"].map(|text| Address::parse(text).unwrap());
        assert_eq!(message.recipients, expected);
        assert_eq!(message.recipient_options.keys().collect::<Vec<_>>(), [&1]);
    }
}

#[test]
fn recipients_that_the_caller_refuses_are_counted_and_end_the_session() {
    let mut script = judging();
    script.send("MAIL FROM:<>\r\n");
    let refused = "RCPT TO:<nobody@d.example>\r\n".repeat(1001);
    assert!(
        script
            .send(&refused)
            .ends_with("421 4.7.0 too many refused recipients; closing\r\n")
    );
    assert!(script.is_closed());
}
