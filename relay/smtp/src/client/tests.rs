use super::*;
use crate::Address;

fn settings(starttls: StartTls) -> Settings {
    Settings {
        name: "relay.example".into(),
        starttls,
        implicit_tls: false,
        credentials: None,
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn sent(client: &mut Client) -> String {
    String::from_utf8(client.take_output()).unwrap()
}

/// A session that stands ready at a server with these offers.
fn ready(offers: &str) -> Client {
    let mut client = Client::new(settings(StartTls::Never));
    client.receive(b"220 mx.test ESMTP\r\n").unwrap();
    let reply = format!("250-mx.test\r\n{offers}250 HELP\r\n");
    assert_eq!(client.receive(reply.as_bytes()), Ok(Next::Ready));
    client.take_output();
    client
}

const PIPELINING: &str = "250-PIPELINING\r\n";

fn begin(client: &mut Client, recipients: &[&str]) -> String {
    let sender = address("sender@from.example");
    let recipients: Vec<Address> = recipients.iter().map(|one| address(one)).collect();
    let recipients: Vec<&Address> = recipients.iter().collect();
    client
        .begin(&Envelope {
            sender: Some(&sender),
            recipients: &recipients,
            size: 1234,
            eight_bit: false,
            smtputf8: false,
            ..Envelope::default()
        })
        .unwrap();
    sent(client)
}

/// Verdicts in short: stage and code.
fn short(verdicts: &[Verdict]) -> Vec<String> {
    verdicts
        .iter()
        .map(|verdict| match verdict {
            Verdict::Accepted(reply) => format!("accepted {}", reply.code()),
            Verdict::Refused(stage, reply) => format!("{stage:?} {}", reply.code()),
            Verdict::Undecided => "undecided".into(),
            Verdict::Unconfirmed => "unconfirmed".into(),
        })
        .collect()
}

#[test]
fn b1_each_recipient_has_its_own_verdict_pipelined_or_not() {
    let mut client = ready(PIPELINING);
    assert_eq!(
        begin(&mut client, &["a@x", "b@x", "c@x"]),
        "MAIL FROM:<sender@from.example>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\n"
    );
    let replies = b"250 ok\r\n250 ok\r\n550 no\r\n450 later\r\n354 go\r\n";
    assert_eq!(client.receive(replies), Ok(Next::SendContent));
    assert_eq!(client.content_sent(), Ok(Next::Read(Wait::Content)));
    assert_eq!(client.receive(b"250 queued\r\n"), Ok(Next::Finished));
    let expected = ["accepted 250", "Recipient 550", "Recipient 450"];
    assert_eq!(short(&client.take_verdicts()), expected);
    assert!(client.is_ready());

    let mut client = ready("");
    assert_eq!(
        begin(&mut client, &["a@x", "b@x", "c@x"]),
        "MAIL FROM:<sender@from.example>\r\n"
    );
    for (reply, command) in [
        ("250 ok", "RCPT TO:<a@x>\r\n"),
        ("250 ok", "RCPT TO:<b@x>\r\n"),
        ("550 no", "RCPT TO:<c@x>\r\n"),
        ("450 later", "DATA\r\n"),
    ] {
        client.receive(format!("{reply}\r\n").as_bytes()).unwrap();
        assert_eq!(sent(&mut client), command);
    }
    assert_eq!(client.receive(b"354 go\r\n"), Ok(Next::SendContent));
    client.content_sent().unwrap();
    assert_eq!(client.receive(b"250 queued\r\n"), Ok(Next::Finished));
    assert_eq!(short(&client.take_verdicts()), expected);
}

#[test]
fn b3_all_recipients_refused_but_content_asked_for_gets_a_lone_dot_and_counts_nothing() {
    for answer in ["250 queued\r\n", "554 no recipients\r\n"] {
        let mut client = ready(PIPELINING);
        begin(&mut client, &["a@x"]);
        client.receive(b"250 ok\r\n550 no\r\n354 go\r\n").unwrap();
        assert_eq!(sent(&mut client), ".\r\n");
        assert_eq!(client.receive(answer.as_bytes()), Ok(Next::Finished));
        assert_eq!(short(&client.take_verdicts()), ["Recipient 550"]);
    }
}

#[test]
fn b3_sender_refused_but_content_asked_for_gets_a_lone_dot() {
    let mut client = ready(PIPELINING);
    begin(&mut client, &["a@x"]);
    client.receive(b"550 no\r\n250 ok\r\n354 go\r\n").unwrap();
    assert_eq!(sent(&mut client), ".\r\n");
    assert_eq!(client.receive(b"250 queued\r\n"), Ok(Next::Finished));
    assert_eq!(short(&client.take_verdicts()), ["Mail 550"]);
}

#[test]
fn b6_a_refusal_at_the_end_of_the_content_goes_to_all_taken_recipients() {
    let mut client = ready(PIPELINING);
    begin(&mut client, &["a@x", "b@x", "c@x"]);
    client
        .receive(b"250 ok\r\n250 ok\r\n551 no\r\n250 ok\r\n354 go\r\n")
        .unwrap();
    client.content_sent().unwrap();
    client.receive(b"550 spam\r\n").unwrap();
    let expected = ["Content 550", "Recipient 551", "Content 550"];
    assert_eq!(short(&client.take_verdicts()), expected);
}

#[test]
fn b7_b9_b13_a_refusing_greeting_ends_the_session() {
    for reply in ["421 4.7.0 Try again later", "554 no", "521 no mail here"] {
        let mut client = Client::new(settings(StartTls::Opportunistic));
        let failure = client
            .receive(format!("{reply}\r\n").as_bytes())
            .unwrap_err();
        let Failure::Refused { stage, reply: got } = failure else {
            panic!("{failure}");
        };
        assert_eq!(stage, Stage::Greeting);
        assert_eq!(got.to_string(), reply);
        assert_eq!(sent(&mut client), "");
    }
}

#[test]
fn b8_an_older_421_ends_the_transaction_and_the_session() {
    let mut client = ready(PIPELINING);
    begin(&mut client, &["a@x", "b@x"]);
    assert_eq!(client.receive(b"421 idle too long\r\n"), Ok(Next::Finished));
    assert_eq!(short(&client.take_verdicts()), ["Mail 421", "Mail 421"]);
    assert!(!client.is_ready());
}

#[test]
fn a_421_at_any_stage_takes_the_recipients_before_it_too() {
    let rows = [
        ("250 ok\r\n421 bye\r\n", ["Recipient 421", "Recipient 421"]),
        (
            "250 ok\r\n250 ok\r\n421 bye\r\n",
            ["Recipient 421", "Recipient 421"],
        ),
        (
            "250 ok\r\n550 no\r\n250 ok\r\n421 bye\r\n",
            ["Recipient 550", "Data 421"],
        ),
    ];
    for (replies, expected) in rows {
        let mut client = ready(PIPELINING);
        begin(&mut client, &["a@x", "b@x"]);
        assert_eq!(client.receive(replies.as_bytes()), Ok(Next::Finished));
        assert_eq!(short(&client.take_verdicts()), expected, "{replies}");
        assert!(!client.is_ready());
    }
}

#[test]
fn b27_a_loss_after_the_content_is_told_apart_from_one_before() {
    let mut client = ready(PIPELINING);
    begin(&mut client, &["a@x", "b@x"]);
    client
        .receive(b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n")
        .unwrap();
    client.content_sent().unwrap();
    assert!(client.awaits_content_reply());
    assert_eq!(
        short(&client.take_verdicts()),
        ["unconfirmed", "Recipient 550"]
    );

    let mut client = ready(PIPELINING);
    begin(&mut client, &["a@x"]);
    client.receive(b"250 ok\r\n").unwrap();
    assert_eq!(short(&client.take_verdicts()), ["undecided"]);
}

#[test]
fn b30_what_a_given_up_transaction_left_is_reset_before_the_next() {
    let mut client = ready("");
    begin(&mut client, &["a@x"]);
    client.receive(b"250 ok\r\n").unwrap();
    assert_eq!(sent(&mut client), "RCPT TO:<a@x>\r\n");
    client.receive(b"550 no\r\n").unwrap();
    assert!(client.is_ready());
    assert_eq!(begin(&mut client, &["b@x"]), "RSET\r\n");
    assert_eq!(client.receive(b"503 what\r\n"), Ok(Next::Finished));
    assert_eq!(short(&client.take_verdicts()), ["Mail 503"]);
    assert!(!client.is_ready());
}

#[test]
fn a_reply_that_nothing_asked_for_ends_the_session_before_it_is_taken_for_another() {
    let mut client = ready(PIPELINING);
    client.receive(b"250 surprise\r\n").unwrap_err();
    let mut client = ready(PIPELINING);
    begin(&mut client, &["a@x"]);
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n").unwrap();
    client.content_sent().unwrap();
    client.receive(b"250 queued\r\n250 surprise\r\n").unwrap();
    assert!(!client.is_ready());
    let sender = address("a@b");
    let envelope = Envelope {
        sender: None,
        recipients: &[&sender],
        size: 1,
        eight_bit: false,
        smtputf8: false,
        ..Envelope::default()
    };
    assert_eq!(client.begin(&envelope), Err(Failure::Unasked));
}

#[test]
fn r17_replies_read_before_the_handshake_are_dropped() {
    let mut client = Client::new(settings(StartTls::Opportunistic));
    client.receive(b"220 mx\r\n").unwrap();
    client.receive(b"250-mx\r\n250 STARTTLS\r\n").unwrap();
    assert_eq!(
        client.receive(b"220 ready\r\n250-injected\r\n250 AUTH PLAIN\r\n"),
        Ok(Next::StartTls)
    );
    client.take_output();
    client.tls_established().unwrap();
    assert_eq!(sent(&mut client), "EHLO relay.example\r\n");
    client.receive(b"250-real\r\n250 SIZE 1000\r\n").unwrap();
    assert_eq!(client.capabilities().name, "real");
    assert!(!client.capabilities().auth_plain);
    assert!(client.encrypted());
}

#[test]
fn r18_no_helo_when_tls_is_required() {
    let mut client = Client::new(settings(StartTls::Required));
    client.receive(b"220 mx\r\n").unwrap();
    client.take_output();
    assert_eq!(client.receive(b"502 what\r\n"), Err(Failure::TlsNotOffered));
    assert_eq!(sent(&mut client), "");
}

#[test]
fn ehlo_refused_falls_back_to_helo_without_extensions() {
    let mut client = Client::new(settings(StartTls::Opportunistic));
    client.receive(b"220 mx\r\n").unwrap();
    client.take_output();
    client.receive(b"502 what\r\n").unwrap();
    assert_eq!(sent(&mut client), "HELO relay.example\r\n");
    assert_eq!(client.receive(b"250 mx.test hello\r\n"), Ok(Next::Ready));
    assert_eq!(client.capabilities().name, "mx.test");
}

#[test]
fn t7_t13_no_second_ehlo_without_starttls_and_no_delivery_when_required() {
    let mut client = Client::new(settings(StartTls::Opportunistic));
    client.receive(b"220 mx\r\n").unwrap();
    client.take_output();
    assert_eq!(client.receive(b"250 mx\r\n"), Ok(Next::Ready));
    assert_eq!(sent(&mut client), "");

    let mut client = Client::new(settings(StartTls::Required));
    client.receive(b"220 mx\r\n").unwrap();
    assert_eq!(client.receive(b"250 mx\r\n"), Err(Failure::TlsNotOffered));
}

#[test]
fn starttls_refused_goes_on_in_clear_text_unless_required() {
    for (starttls, good) in [(StartTls::Opportunistic, true), (StartTls::Required, false)] {
        let mut client = Client::new(settings(starttls));
        client.receive(b"220 mx\r\n").unwrap();
        client.receive(b"250-mx\r\n250 STARTTLS\r\n").unwrap();
        let next = client.receive(b"454 not now\r\n");
        assert_eq!(next.is_ok(), good);
    }
}

#[test]
fn r34_an_address_as_name_is_sent_as_a_literal() {
    for (name, expected) in [
        ("2001:db8::1", "EHLO [IPv6:2001:db8::1]\r\n"),
        ("192.0.2.1", "EHLO [192.0.2.1]\r\n"),
    ] {
        let mut client = Client::new(Settings {
            name: name.into(),
            ..settings(StartTls::Never)
        });
        client.receive(b"220 mx\r\n").unwrap();
        assert_eq!(sent(&mut client), expected);
    }
}

fn by_password(password: &str) -> Proof {
    Proof::Password {
        password: password.into(),
        nonce: "rOprNGfwEbeRWgbNEkqO".into(),
    }
}

/// A session under TLS with credentials, after the server's offers.
fn authenticating(offers: &str, password: &str) -> (Client, Result<Next, Failure>) {
    let mut client = Client::new(Settings {
        implicit_tls: true,
        credentials: Some(Credentials {
            username: "user".into(),
            proof: by_password(password),
        }),
        ..settings(StartTls::Never)
    });
    client.receive(b"220 mx\r\n").unwrap();
    client.take_output();
    let next = client.receive(format!("250-mx\r\n250 {offers}\r\n").as_bytes());
    (client, next)
}

#[test]
fn r39_login_waits_for_each_challenge() {
    let (mut client, _) = authenticating("AUTH LOGIN", "pass");
    assert_eq!(sent(&mut client), "AUTH LOGIN\r\n");
    client.receive(b"334 VXNlcm5hbWU6\r\n").unwrap();
    assert_eq!(sent(&mut client), "dXNlcg==\r\n");
    client.receive(b"334 UGFzc3dvcmQ6\r\n").unwrap();
    assert_eq!(sent(&mut client), "cGFzcw==\r\n");
    assert_eq!(client.receive(b"235 ok\r\n"), Ok(Next::Ready));
}

#[test]
fn plain_is_chosen_first_and_a_long_password_goes_in_a_line_of_its_own() {
    let (mut client, _) = authenticating("AUTH LOGIN PLAIN", "pass");
    assert_eq!(sent(&mut client), "AUTH PLAIN AHVzZXIAcGFzcw==\r\n");
    assert_eq!(client.receive(b"235 ok\r\n"), Ok(Next::Ready));

    let (mut client, _) = authenticating("AUTH=PLAIN", &"p".repeat(600));
    assert_eq!(sent(&mut client), "AUTH PLAIN\r\n");
    client.receive(b"334 \r\n").unwrap();
    assert!(sent(&mut client).starts_with("AHVzZXIAcHBw"));
}

#[test]
fn failed_and_impossible_authentication_end_the_session() {
    let (mut client, _) = authenticating("AUTH PLAIN", "pass");
    let failure = client.receive(b"535 5.7.8 no\r\n").unwrap_err();
    assert_eq!(failure.to_string(), "AUTH was answered 535 5.7.8 no");
    let (_, next) = authenticating("AUTH GSSAPI", "pass");
    assert_eq!(next, Err(Failure::NoMechanism));

    let mut client = Client::new(Settings {
        credentials: Some(Credentials {
            username: "user".into(),
            proof: by_password("pass"),
        }),
        ..settings(StartTls::Opportunistic)
    });
    client.receive(b"220 mx\r\n").unwrap();
    client.take_output();
    let next = client.receive(b"250-mx\r\n250 AUTH PLAIN\r\n");
    assert_eq!(next, Err(Failure::AuthenticationNeedsTls));
    assert_eq!(sent(&mut client), "");
    assert!(!format!("{client:?}").contains("pass"));
}

#[test]
fn l7_l8_l12_parameters_are_sent_when_offered_and_needed() {
    let sender = address("p\u{e5}l@from.example");
    let recipient = address("a@x");
    let line = |offers: &str, eight_bit, smtputf8| {
        let mut client = ready(offers);
        client
            .begin(&Envelope {
                sender: Some(&sender),
                recipients: &[&recipient],
                size: 42,
                eight_bit,
                smtputf8,
                ..Envelope::default()
            })
            .unwrap();
        sent(&mut client).lines().next().unwrap().to_owned()
    };
    let all = "250-8bitmime\r\n250-SMTPUTF8\r\n250-Size 1000\r\n";
    assert_eq!(line("", true, true), "MAIL FROM:<p\u{e5}l@from.example>");
    assert_eq!(
        line(all, false, false),
        "MAIL FROM:<p\u{e5}l@from.example> SIZE=42"
    );
    assert_eq!(
        line(all, true, true),
        "MAIL FROM:<p\u{e5}l@from.example> SIZE=42 BODY=8BITMIME SMTPUTF8"
    );
}

#[test]
fn the_null_path_is_empty_brackets_and_quotes_are_kept() {
    let mut client = ready(PIPELINING);
    let recipient = address(r#""a b"@x"#);
    client
        .begin(&Envelope {
            sender: None,
            recipients: &[&recipient],
            size: 1,
            eight_bit: false,
            smtputf8: false,
            ..Envelope::default()
        })
        .unwrap();
    assert_eq!(
        sent(&mut client),
        "MAIL FROM:<>\r\nRCPT TO:<\"a b\"@x>\r\nDATA\r\n"
    );
}

#[test]
fn a_reply_before_the_content_is_whole_ends_the_session() {
    let mut client = ready(PIPELINING);
    begin(&mut client, &["a@x"]);
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n").unwrap();
    assert_eq!(client.receive(b"552 too large\r\n"), Ok(Next::Finished));
    assert_eq!(short(&client.take_verdicts()), ["Content 552"]);
    assert!(!client.is_ready());
}

proptest::proptest! {
    #[test]
    fn any_server_leaves_one_verdict_for_each_recipient(
        replies in "(2[0-9]{2}|354|4[0-9]{2}|55[0-9]|x)( [a-z]{0,3}\r\n|-[a-z]{0,3}\r\n|\r\n){0,20}",
        pipelining in proptest::bool::ANY,
    ) {
        let mut client = ready(if pipelining { PIPELINING } else { "" });
        begin(&mut client, &["a@x", "b@x"]);
        if client.receive(replies.as_bytes()) == Ok(Next::SendContent) {
            client.content_sent().unwrap();
        }
        proptest::prop_assert_eq!(client.take_verdicts().len(), 2);
    }
}
