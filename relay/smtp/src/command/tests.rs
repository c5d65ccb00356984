use super::*;
use proptest::prelude::*;

fn sender(line: &str) -> Option<String> {
    match Command::parse(line.as_bytes()) {
        Ok(Command::Mail(mail)) => mail.sender.map(|address| address.as_str().into()),
        other => panic!("{line:?}: {other:?}"),
    }
}

fn recipient(line: &str) -> String {
    match Command::parse(line.as_bytes()) {
        Ok(Command::Rcpt(Recipient::Address(address))) => address.as_str().into(),
        other => panic!("{line:?}: {other:?}"),
    }
}

fn refusal(line: &[u8]) -> (u16, &'static str) {
    match Command::parse(line) {
        Err(error) => (error.code, error.enhanced),
        Ok(command) => panic!("{:?}: {command:?}", String::from_utf8_lossy(line)),
    }
}

#[test]
fn r4_a_lone_return_or_line_feed_in_a_command_line_is_refused() {
    for line in [
        b"MAIL FROM:<a@b>\nRCPT TO:<c@d>".as_slice(),
        b"MAIL FROM:<a@b>\rRCPT TO:<c@d>",
        b"NOOP\r",
        b"\nNOOP",
        b"NOOP \0",
    ] {
        assert_eq!(refusal(line), (500, "5.5.2"));
    }
}

#[test]
fn r19_r20_r21_quoted_local_parts_are_whole() {
    assert_eq!(
        recipient(r#"RCPT TO:<"odd user"@example.com>"#),
        r#""odd user"@example.com"#
    );
    assert_eq!(
        sender(r#"MAIL FROM:<"Patrycja Rosa"@x> SIZE=9"#).unwrap(),
        r#""Patrycja Rosa"@x"#
    );
    for path in [
        r#""a b"@example.org"#,
        r#""@"@example.org"#,
        r#"" "@example.org"#,
        r#""a>\"b"@c"#,
    ] {
        assert_eq!(recipient(&format!("RCPT TO:<{path}> NOTIFY=NEVER")), path);
    }
}

#[test]
fn r24_spaces_before_the_path_and_dsn_parameters_are_accepted() {
    assert_eq!(recipient("RCPT TO: <a@b> NOTIFY=success,failure"), "a@b");
    assert_eq!(
        recipient("RCPT TO:<a@b> ORCPT=rfc822;a+2Bx@b NOTIFY=NEVER"),
        "a@b"
    );
    assert_eq!(
        sender("MAIL FROM:<a@b> RET=HDRS ENVID=QQ314159").unwrap(),
        "a@b"
    );
}

#[test]
fn r25_r28_white_space_is_no_obstacle() {
    for line in [
        "MAIL FROM: <a@b>",
        "MAIL  FROM:<a@b>",
        "mail from :\t<a@b>  ",
        "MAIL FROM:< a@b >",
        "  MAIL FROM:<a@b> ",
        "MAIL FROM:a@b",
        "MAIL FROM: a@b SIZE=12",
        "MAIL FROM:<@relay.example,@other.example:a@b>",
    ] {
        assert_eq!(sender(line).as_deref(), Some("a@b"), "{line:?}");
    }
}

#[test]
fn r26_an_invalid_address_is_a_501() {
    for path in [
        "<>",
        "<bob>",
        "<a b@c>",
        "<a..b@c>",
        "<a@b",
        "a@b>",
        "<a@b>x",
        "<a@b>SIZE=1",
        "",
        "<a@b,c@d>",
        "Bob <a@b>",
        "<<a@b>>",
        "<a@127.0.0.1>",
        "<@a.example>",
        "<\"a@b>",
    ] {
        assert_eq!(
            refusal(format!("RCPT TO:{path}").as_bytes()).0,
            501,
            "{path}"
        );
    }
    assert_eq!(refusal(b"RCPT TO:<bob>"), (501, "5.1.3"));
    assert_eq!(refusal(b"MAIL FROM:<bob>"), (501, "5.1.7"));
    for line in [
        "MAIL",
        "MAIL FROM",
        "MAIL TO:<a@b>",
        "RCPT FROM:<a@b>",
        "RCPT <a@b>",
    ] {
        assert_eq!(refusal(line.as_bytes()), (501, "5.5.4"), "{line}");
    }
}

#[test]
fn r27_octets_that_are_not_utf8_are_a_501() {
    assert_eq!(refusal(b"RCPT TO:<b\xf6b@example.org>"), (501, "5.5.2"));
}

#[test]
fn r30_the_null_sender_is_no_error() {
    assert_eq!(sender("MAIL FROM:<>"), None);
    assert_eq!(sender("MAIL FROM:<> BODY=8BITMIME"), None);
}

#[test]
fn r32_r33_a_client_may_call_itself_what_it_likes() {
    for name in [
        "[IPv6:2001:db8::1]",
        "[IPV6:2a01:cb06::1]",
        "cabinet-maitre-.domain",
        "localhost",
        "under_score",
        "gr\u{e5}",
    ] {
        let line = format!("EHLO {name} and more");
        assert_eq!(Command::parse(line.as_bytes()), Ok(Command::Ehlo(name)));
    }
    assert_eq!(refusal(b"EHLO"), (501, "5.5.4"));
    assert_eq!(refusal(b"HELO \t "), (501, "5.5.4"));
    assert_eq!(refusal(b"EHLO a\x1b[2J"), (501, "5.5.4"));
}

#[test]
fn r43_unknown_commands_arguments_and_parameters_have_their_codes() {
    for (line, expected) in [
        ("", (500, "5.5.1")),
        ("FOO", (500, "5.5.1")),
        ("MAILFROM:<a@b>", (500, "5.5.1")),
        ("DATA now", (501, "5.5.4")),
        ("RSET x", (501, "5.5.4")),
        ("QUIT x", (501, "5.5.4")),
        ("STARTTLS x", (501, "5.5.4")),
        ("AUTH", (501, "5.5.4")),
        ("AUTH PLAIN a b", (501, "5.5.4")),
        ("VRFY", (501, "5.5.4")),
        ("MAIL FROM:<a@b> FOO=1", (555, "5.5.4")),
        ("MAIL FROM:<a@b> NOTIFY=NEVER", (555, "5.5.4")),
        ("RCPT TO:<a@b> FOO", (555, "5.5.4")),
        ("MAIL FROM:<a@b> SIZE", (501, "5.5.4")),
        ("MAIL FROM:<a@b> SIZE=", (501, "5.5.4")),
        ("MAIL FROM:<a@b> SIZE=-1", (501, "5.5.4")),
        ("MAIL FROM:<a@b> SIZE=1 size=2", (501, "5.5.4")),
        ("MAIL FROM:<a@b> BODY=BINARYMIME", (501, "5.5.4")),
        ("MAIL FROM:<a@b> SMTPUTF8=yes", (501, "5.5.4")),
        ("MAIL FROM:<a@b> RET=ALL", (501, "5.5.4")),
        ("RCPT TO:<a@b> NOTIFY=NEVER,SUCCESS", (501, "5.5.4")),
        ("RCPT TO:<a@b> ORCPT=a@b", (501, "5.5.4")),
        ("MAIL FROM:<p\u{e5}l@b.example>", (553, "5.6.7")),
    ] {
        assert_eq!(refusal(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn parameters_of_mail_are_read() {
    let line = "MAIL FROM:<p\u{e5}l@gr\u{e5}.org> size=1000 Body=8bitmime SMTPUTF8 AUTH=<>";
    let Ok(Command::Mail(mail)) = Command::parse(line.as_bytes()) else {
        panic!("not a MAIL");
    };
    assert_eq!(mail.sender.unwrap().as_str(), "p\u{e5}l@xn--gr-zia.org");
    assert_eq!(
        (mail.size, mail.eight_bit, mail.smtputf8),
        (Some(1000), true, true)
    );
    assert_eq!(
        Command::parse(b"MAIL FROM:<> SIZE=99999999999999999999"),
        Ok(Command::Mail(Mail {
            size: Some(u64::MAX),
            ..Mail::default()
        }))
    );
}

#[test]
fn the_other_commands_are_known_in_any_case() {
    for (line, expected) in [
        ("data", Command::Data),
        ("Rset ", Command::Rset),
        ("noop whatever", Command::Noop),
        ("quit", Command::Quit),
        ("vrfy x", Command::Vrfy),
        ("help me", Command::Help),
        ("expn list", Command::NotImplemented("expn")),
        ("BDAT 5 LAST", Command::NotImplemented("BDAT")),
        ("StartTLS", Command::StartTls),
        (
            "auth plain",
            Command::Auth {
                mechanism: "plain",
                initial: None,
            },
        ),
        (
            "AUTH LOGIN  dXNlcg==",
            Command::Auth {
                mechanism: "LOGIN",
                initial: Some("dXNlcg=="),
            },
        ),
        ("GET / HTTP/1.1", Command::Foreign),
        ("RCPT TO:<PostMaster>", Command::Rcpt(Recipient::Postmaster)),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Ok(expected), "{line}");
    }
}

proptest! {
    #[test]
    fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::parse(&line);
    }

    #[test]
    fn no_likely_line_panics_or_yields_an_unsafe_address(
        words in prop::collection::vec(prop::sample::select(vec![
            "MAIL", "RCPT", " ", "FROM:", "TO:", "<", ">", "\"", "\\", "@", "a", ":", "\t", "=", "SIZE",
            "\u{e5}", ",", "SMTPUTF8", "[", "]", "1",
        ]), 0..16),
    ) {
        let line = words.concat();
        if let Ok(
            Command::Mail(Mail { sender: Some(address), .. })
            | Command::Rcpt(Recipient::Address(address)),
        ) = Command::parse(line.as_bytes())
        {
            prop_assert_eq!(Address::parse(address.as_str()), Ok(address));
        }
    }
}
