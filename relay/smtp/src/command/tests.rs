use super::*;
use proptest::prelude::*;

fn sender(line: &str) -> Option<String> {
    match Command::parse(line.as_bytes(), Syntax::Lenient) {
        Ok(Command::Mail(mail)) => mail.sender.map(|address| address.as_str().into()),
        other => panic!("{line:?}: {other:?}"),
    }
}

fn recipient(line: &str) -> String {
    match Command::parse(line.as_bytes(), Syntax::Lenient) {
        Ok(Command::Rcpt(Recipient::Address(address), _)) => address.as_str().into(),
        other => panic!("{line:?}: {other:?}"),
    }
}

fn refusal(line: &[u8]) -> (u16, &'static str) {
    match Command::parse(line, Syntax::Lenient) {
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
        assert_eq!(
            Command::parse(line.as_bytes(), Syntax::Lenient),
            Ok(Command::Ehlo(name))
        );
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
        ("MAIL FROM:<a@b> BODY=BASE64", (501, "5.5.4")),
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
    let Ok(Command::Mail(mail)) = Command::parse(line.as_bytes(), Syntax::Lenient) else {
        panic!("not a MAIL");
    };
    assert_eq!(mail.sender.unwrap().as_str(), "p\u{e5}l@xn--gr-zia.org");
    assert_eq!(
        (mail.size, mail.eight_bit, mail.smtputf8),
        (Some(1000), true, true)
    );
    assert_eq!(
        Command::parse(b"MAIL FROM:<> SIZE=99999999999999999999", Syntax::Lenient),
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
        (
            "RCPT TO:<PostMaster>",
            Command::Rcpt(Recipient::Postmaster, RecipientOptions::default()),
        ),
    ] {
        assert_eq!(
            Command::parse(line.as_bytes(), Syntax::Lenient),
            Ok(expected),
            "{line}"
        );
    }
}

proptest! {
    #[test]
    fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::parse(&line, Syntax::Lenient);
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
            | Command::Rcpt(Recipient::Address(address), _),
        ) = Command::parse(line.as_bytes(), Syntax::Lenient)
        {
            prop_assert_eq!(Address::parse(address.as_str()), Ok(address));
        }
    }
}

#[test]
fn r24_dsn_parameters_are_parsed_in_any_case() {
    let line = b"RCPT TO: <a@b> NOTIFY=success,failure orcpt=rfc822;Bob+2Bx@b";
    let Ok(Command::Rcpt(_, options)) = Command::parse(line, Syntax::Lenient) else {
        panic!("not a RCPT");
    };
    assert_eq!(options.notify.unwrap().to_string(), "SUCCESS,FAILURE");
    assert_eq!(options.original.unwrap().address, "Bob+x@b");
    let line = b"MAIL FROM:<a@b> ret=hdrs ENVID=x+3Dy SIZE=5 by=60;n MT-Priority=-3";
    let Ok(Command::Mail(mail)) = Command::parse(line, Syntax::Strict) else {
        panic!("not a MAIL");
    };
    assert_eq!(mail.options.envelope_id.as_deref(), Some("x=y"));
    assert_eq!((mail.size, mail.options.priority), (Some(5), -3));
    for line in [
        "RCPT TO:<a@b> NOTIFY=NEVER NOTIFY=DELAY",
        "RCPT TO:<a@b> NOTIFY",
        "RCPT TO:<a@b> ORCPT=rfc822",
        "MAIL FROM:<a@b> ENVID=",
        "MAIL FROM:<a@b> RET=ALL",
        "MAIL FROM:<a@b> HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z",
    ] {
        assert_eq!(refusal(line.as_bytes()), (501, "5.5.4"), "{line}");
    }
    assert_eq!(refusal(b"RCPT TO:<a@b> RET=FULL"), (555, "5.5.4"));
    assert_eq!(refusal(b"MAIL FROM:<a@b> NOTIFY=NEVER"), (555, "5.5.4"));
}

#[test]
fn r24_r25_r28_strict_syntax_forgives_no_white_space_and_wants_brackets() {
    for line in [
        "MAIL FROM: <a@b>",
        "MAIL FROM :<a@b>",
        "MAIL  FROM:<a@b>",
        "MAIL FROM:< a@b>",
        "MAIL FROM:<a@b >",
        "MAIL FROM:a@b",
        "MAIL FROM:<a@b>\tSIZE=1",
        "RCPT TO: <a@b>",
        "RCPT TO:a@b",
    ] {
        match Command::parse(line.as_bytes(), Syntax::Strict) {
            Err(error) => assert_eq!((error.code, error.enhanced), (501, "5.5.4"), "{line:?}"),
            Ok(command) => panic!("{line:?}: {command:?}"),
        }
        assert!(
            Command::parse(line.as_bytes(), Syntax::Lenient).is_ok(),
            "{line:?}"
        );
    }
    for line in [
        "mail from:<a@b> size=1 ",
        "MAIL FROM:<>",
        "RCPT TO:<\"a> b\"@c> NOTIFY=NEVER",
        "RCPT TO:<a@[IPV6:::1]>",
        "EHLO [IPV6:2a01:cb06::1]",
        "EHLO cabinet-maitre-.domain",
    ] {
        assert!(
            Command::parse(line.as_bytes(), Syntax::Strict).is_ok(),
            "{line:?}"
        );
    }
}

#[test]
fn a_chunk_has_a_size_and_may_be_the_last() {
    let bdat = |line: &str| match Command::parse(line.as_bytes(), Syntax::Strict) {
        Ok(Command::Bdat { size, last }) => (size, last.ok()),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(bdat("BDAT 86400"), (86400, Some(false)));
    assert_eq!(bdat("bdat 0 last"), (0, Some(true)));
    assert_eq!(bdat("BDAT 99999999999999999999"), (u64::MAX, Some(false)));
    assert_eq!(bdat("BDAT 5 FIRST"), (5, None));
    assert_eq!(bdat("BDAT 5 LAST LAST"), (5, None));
    for line in ["BDAT", "BDAT x", "BDAT -1", "BDAT 1.5", "BDAT LAST"] {
        assert_eq!(refusal(line.as_bytes()), (501, "5.5.4"), "{line}");
    }
}
