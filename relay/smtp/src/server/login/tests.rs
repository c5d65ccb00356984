//! Mechanisms within whole sessions: what clients of each kind send, and what attackers do.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;

use super::super::{
    Answer, ChannelBindings, Event, LONGEST_LINE, LoginPolicy, LoginVerdict, ScramChallenge,
    ScramFault, ScramKey, Server, Settings,
};

const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

pub(super) fn settings() -> Settings {
    Settings {
        hostname: "outbox.example".into(),
        banner: String::new(),
        message_bytes: 2000,
        recipients: 100,
        start_tls: true,
        implicit_tls: false,
        login: LoginPolicy::Required,
        login_without_tls: false,
        tokens: true,
        ..Settings::default()
    }
}

pub(super) fn bindings() -> ChannelBindings {
    ChannelBindings {
        exporter: Some([7; 32]),
        end_point: Some(vec![9; 32]),
    }
}

/// The keys of RFC 7677's user `user` with the password `pencil`.
fn keys(password: &str) -> ScramKey {
    let salted = salted(password);
    let client = mac(&salted, b"Client Key");
    ScramKey {
        stored: digest::digest(&digest::SHA256, &client)
            .as_ref()
            .try_into()
            .unwrap(),
        server: mac(&salted, b"Server Key"),
    }
}

fn salted(password: &str) -> [u8; 32] {
    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        4096.try_into().unwrap(),
        &BASE64.decode(SALT).unwrap(),
        password.as_bytes(),
        &mut salted,
    );
    salted
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().try_into().unwrap()
}

/// A session whose caller knows the user `user`, with an old and a new password, and the token
/// `good`.
pub(super) struct Session {
    server: Server,
    pub(super) log: Vec<String>,
}

impl Session {
    pub(super) fn new(settings: Settings, tls: bool) -> Self {
        let implicit_tls = tls;
        let mut server = Server::new(Settings {
            implicit_tls,
            ..settings
        });
        if tls {
            server.bind_channel(bindings());
        }
        let mut session = Self {
            server,
            log: Vec::new(),
        };
        session.send("EHLO c");
        session
    }

    fn encrypted() -> Self {
        Self::new(settings(), true)
    }

    pub(super) fn send(&mut self, line: &str) -> String {
        let mut input = BytesMut::from(format!("{line}\r\n").as_bytes());
        while let Some(event) = self.server.next(&mut input) {
            match event {
                Event::Token(login) => {
                    self.log.push(format!(
                        "{} {:?} {:?}",
                        login.mechanism, login.username, login.token
                    ));
                    self.server.answer_login(match login.token.expose() {
                        "good" => LoginVerdict::Granted,
                        _ => LoginVerdict::Refused(Answer::fixed(535, "5.7.8", "expired")),
                    });
                }
                Event::Scram(start) => {
                    let keys = match &*start.username {
                        "user" => vec![keys("eraser"), keys("pencil")],
                        _ => Vec::new(),
                    };
                    self.server.answer_scram(ScramChallenge {
                        nonce: SERVER_NONCE.into(),
                        salt: BASE64.decode(SALT).unwrap(),
                        iterations: 4096,
                        keys,
                    });
                }
                Event::ScramDone(login) => {
                    self.log
                        .push(format!("{} {:?}", login.username, login.outcome));
                    self.server.answer_login(match login.outcome {
                        Ok(_) => LoginVerdict::Granted,
                        Err(_) => LoginVerdict::Denied,
                    });
                }
                Event::Login(login) => {
                    self.log.push(login.mechanism.into());
                    self.server.answer_login(LoginVerdict::Granted);
                }
                Event::Mail(_) => self.server.answer_mail(Ok(())),
                Event::Refused(_) => {}
                Event::Close => break,
                other => panic!("{other:?}"),
            }
        }
        let output = self.server.output().split();
        let text = String::from_utf8(output.to_vec()).unwrap();
        text.lines().last().unwrap_or_default().to_owned()
    }

    /// Sends text in base 64 and returns the challenge, or the reply when it is none.
    fn say(&mut self, text: &str) -> String {
        let reply = self.send(&BASE64.encode(text));
        match reply.strip_prefix("334 ") {
            Some(challenge) => String::from_utf8(BASE64.decode(challenge).unwrap()).unwrap(),
            None => reply,
        }
    }

    /// A whole SCRAM exchange as a client makes it; the reply to its proof, or to its end.
    fn scram(&mut self, mechanism: &str, header: &str, data: &[u8], password: &str) -> String {
        let first = "n=user,r=rOprNGfwEbeRWgbNEkqO";
        assert_eq!(self.send(&format!("AUTH {mechanism}"))[..3], *"334");
        let server_first = self.say(&format!("{header}{first}"));
        if !server_first.starts_with("r=") {
            return server_first;
        }
        let binding = BASE64.encode([header.as_bytes(), data].concat());
        let last = format!("c={binding},r=rOprNGfwEbeRWgbNEkqO{SERVER_NONCE}");
        let text = format!("{first},{server_first},{last}");
        let client = mac(&salted(password), b"Client Key");
        let mut proof = mac(&keys(password).stored, text.as_bytes());
        proof.iter_mut().zip(client).for_each(|(p, c)| *p ^= c);
        let reply = self.say(&format!("{last},p={}", BASE64.encode(proof)));
        if !reply.starts_with("v=") {
            return reply;
        }
        let server = mac(&keys(password).server, text.as_bytes());
        assert_eq!(reply, format!("v={}", BASE64.encode(server)));
        assert_eq!(self.send("MAIL FROM:<a@b.example>")[..3], *"501");
        reply
    }
}

#[test]
fn each_mechanism_is_offered_where_it_is_possible() {
    let offered = |tls: bool, change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        let mut session = Session::new(settings, tls);
        session.server.output().clear();
        let mut input = BytesMut::from("EHLO c\r\n");
        assert_eq!(session.server.next(&mut input), None);
        let output = String::from_utf8(session.server.output().to_vec()).unwrap();
        let line = output.lines().find(|line| line.contains("AUTH "));
        line.map(|line| line[9..].to_owned()).unwrap_or_default()
    };
    let all = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN";
    assert_eq!(offered(true, &|_| ()), all);
    assert_eq!(
        offered(true, &|settings| settings.tokens = false),
        "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"
    );
    assert_eq!(offered(false, &|_| ()), "");
    assert_eq!(
        offered(false, &|settings| settings.start_tls = false),
        "SCRAM-SHA-256"
    );
    assert_eq!(
        offered(false, &|settings| settings.login_without_tls = true),
        &all[19..]
    );
    assert_eq!(
        offered(true, &|settings| settings.login = LoginPolicy::None),
        ""
    );
}

#[test]
fn what_is_not_offered_is_refused_with_what_is() {
    let mut session = Session::encrypted();
    assert_eq!(
        session.send("AUTH CRAM-MD5"),
        "504 5.5.4 this mechanism is not offered; use one of SCRAM-SHA-256-PLUS SCRAM-SHA-256 \
         OAUTHBEARER XOAUTH2 PLAIN LOGIN"
    );
    let mut clear = Session::new(settings(), false);
    for mechanism in ["OAUTHBEARER", "XOAUTH2", "PLAIN", "SCRAM-SHA-256-PLUS"] {
        assert_eq!(
            clear.send(&format!("AUTH {mechanism}"))[..10],
            *"538 5.7.11"
        );
    }
}

#[test]
fn the_exchange_of_rfc_7677_is_played_to_the_octet() {
    let mut session = Session::new(
        Settings {
            start_tls: false,
            ..settings()
        },
        false,
    );
    session.send("AUTH SCRAM-SHA-256");
    assert_eq!(
        session.say("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    assert_eq!(
        session.say(
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        ),
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
    assert!(session.log.is_empty(), "nobody is told before the end");
    assert_eq!(session.send(""), "235 2.7.0 authentication succeeded");
    assert_eq!(session.log, ["user Ok(1)"]);
    assert_eq!(session.send("MAIL FROM:<a@b.example>")[..3], *"250");
}

#[test]
fn a_session_is_logged_in_only_after_the_client_has_judged_the_server() {
    let mut session = Session::encrypted();
    let reply = session.scram("SCRAM-SHA-256", "n,,", b"", "pencil");
    assert!(reply.starts_with("v="));
    // The helper breaks off with a command in place of the empty line.
    assert!(session.log.is_empty());
    assert_eq!(session.send("MAIL FROM:<a@b.example>")[..9], *"530 5.7.0");
}

#[test]
fn a_proof_holds_for_its_password_and_its_connection_only() {
    let (exporter, end_point) = ([7; 32], [9; 32]);
    let plus = "SCRAM-SHA-256-PLUS";
    let exported = "p=tls-exporter,,";
    for (mechanism, header, data, password, expected) in [
        ("SCRAM-SHA-256", "n,,", &[][..], "pencil", Ok(())),
        ("SCRAM-SHA-256", "n,,", &[], "eraser", Ok(())),
        ("SCRAM-SHA-256", "n,a=user,", &[], "pencil", Ok(())),
        (
            "SCRAM-SHA-256",
            "n,,",
            &[],
            "pencils",
            Err(ScramFault::Proof),
        ),
        (plus, exported, &exporter, "pencil", Ok(())),
        (
            plus,
            "p=tls-server-end-point,,",
            &end_point,
            "pencil",
            Ok(()),
        ),
        // Another connection's value, or the wrong kind of one.
        (
            plus,
            exported,
            &[8; 32],
            "pencil",
            Err(ScramFault::ChannelBinding),
        ),
        (
            plus,
            exported,
            &end_point,
            "pencil",
            Err(ScramFault::ChannelBinding),
        ),
        (
            plus,
            exported,
            &[],
            "pencil",
            Err(ScramFault::ChannelBinding),
        ),
        (
            plus,
            "p=tls-unique,,",
            &exporter,
            "pencil",
            Err(ScramFault::ChannelBinding),
        ),
        // No binding where it is promised, and the other way round.
        (plus, "n,,", &[], "pencil", Err(ScramFault::ChannelBinding)),
        (
            "SCRAM-SHA-256",
            exported,
            &exporter,
            "pencil",
            Err(ScramFault::ChannelBinding),
        ),
        // The list of mechanisms was shortened on its way to the client.
        (
            "SCRAM-SHA-256",
            "y,,",
            &[],
            "pencil",
            Err(ScramFault::ChannelBinding),
        ),
    ] {
        let mut session = Session::encrypted();
        let reply = session.scram(mechanism, header, data, password);
        match expected {
            Ok(()) => assert!(reply.starts_with("v="), "{mechanism} {header} {reply}"),
            Err(fault) => {
                assert_eq!(session.log, [format!("user Err({fault:?})")], "{header}");
                assert!(reply.starts_with("535 5.7.8"), "{reply}");
            }
        }
    }
}

#[test]
fn a_client_that_could_bind_is_right_where_no_binding_is_offered() {
    let mut clear = Session::new(
        Settings {
            start_tls: false,
            ..settings()
        },
        false,
    );
    let reply = clear.scram("SCRAM-SHA-256", "y,,", b"", "pencil");
    assert!(reply.starts_with("v="), "{reply}");
}

#[test]
fn an_unknown_user_is_challenged_like_a_known_one_and_refused_at_the_end() {
    let mut session = Session::encrypted();
    session.send("AUTH SCRAM-SHA-256");
    let challenge = session.say("n,,n=nobody,r=abc");
    assert_eq!(challenge, format!("r=abc{SERVER_NONCE},s={SALT},i=4096"));
    let proof = BASE64.encode([0; 32]);
    let reply = session.say(&format!("c=biws,r=abc{SERVER_NONCE},p={proof}"));
    assert_eq!(reply, "535 5.7.8 the user name or the password is wrong");
    assert_eq!(session.log, ["nobody Err(Proof)"]);
}

#[test]
fn scram_messages_of_another_form_are_malformed() {
    let proof = BASE64.encode([0; 32]);
    for message in [
        "",
        "n,,",
        "n,,n=user",
        "n,,r=abc,n=user",
        "n,,n=,r=abc",
        "n,,n=us=er,r=abc",
        "n,,n=us=2Der,r=abc",
        "n,,n=user,r=",
        "n,,n=user,r=a b",
        "n,,m=ext,n=user,r=abc",
        "x,,n=user,r=abc",
        "n,user,n=user,r=abc",
    ] {
        let mut session = Session::encrypted();
        session.send("AUTH SCRAM-SHA-256");
        let reply = session.say(message);
        assert!(reply.starts_with("501 5.5.2"), "{message} {reply}");
    }
    for message in [
        String::new(),
        format!("r=abc{SERVER_NONCE},c=biws,p={proof}"),
        format!("c=biws,r=abc{SERVER_NONCE}"),
        format!("c=biws,r=abc{SERVER_NONCE},p=AAAA"),
        format!("c=?,r=abc{SERVER_NONCE},p={proof}"),
    ] {
        let mut session = Session::encrypted();
        session.send("AUTH SCRAM-SHA-256");
        session.say("n,,n=user,r=abc");
        let reply = session.say(&message);
        assert!(reply.starts_with("501 5.5.2"), "{message} {reply}");
    }
    let mut session = Session::encrypted();
    session.send("AUTH SCRAM-SHA-256");
    let reply = session.say("n,a=root,n=user,r=abc");
    assert!(reply.starts_with("535 5.7.8 nobody may act"), "{reply}");
}

#[test]
fn user_names_are_unescaped() {
    let rows = [
        ("a=2Cb=3Dc", Some("a,b=c")),
        ("=2C", Some(",")),
        ("plain", Some("plain")),
        ("", None),
        ("a=", None),
        ("a=2c", None),
        ("a=\u{e5}\u{e5}", None),
    ];
    for (text, expected) in rows {
        assert_eq!(super::scram::saslname(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn tokens_come_by_both_mechanisms_at_once_or_in_a_line_of_their_own() {
    let bearer = "n,a=me@shop.example,\u{1}host=outbox\u{1}port=587\u{1}auth=Bearer good\u{1}\u{1}";
    let old = "user=me@shop.example\u{1}auth=Bearer good\u{1}\u{1}";
    for (mechanism, message) in [("OAUTHBEARER", bearer), ("XOAUTH2", old)] {
        let encoded = BASE64.encode(message);
        let mut session = Session::encrypted();
        let reply = session.send(&format!("AUTH {mechanism} {encoded}"));
        assert_eq!(reply[..3], *"235");
        let mut session = Session::encrypted();
        assert_eq!(session.send(&format!("AUTH {mechanism}")), "334 ");
        assert_eq!(session.send(&encoded)[..3], *"235");
        let shown = format!("{mechanism} \"me@shop.example\" [redacted]");
        assert_eq!(session.log, [shown]);
    }
    for message in [
        "n,,\u{1}auth=Bearer good\u{1}\u{1}",
        "y,,\u{1}auth=bearer good\u{1}\u{1}",
        "n,a=a=2Cb,\u{1}auth=Bearer good\u{1}\u{1}",
    ] {
        let mut session = Session::encrypted();
        let reply = session.send(&format!("AUTH OAUTHBEARER {}", BASE64.encode(message)));
        assert_eq!(reply[..3], *"235", "{message:?}");
    }
}

#[test]
fn a_refused_token_is_explained_in_a_challenge_and_then_in_the_reply() {
    let message = "n,,\u{1}auth=Bearer stale\u{1}\u{1}";
    for (dummy, mechanism, message, json) in [
        (
            "AQ==",
            "OAUTHBEARER",
            message,
            r#"{"status":"invalid_token"}"#,
        ),
        ("*", "OAUTHBEARER", message, r#"{"status":"invalid_token"}"#),
        (
            "",
            "XOAUTH2",
            "user=\u{1}auth=Bearer stale\u{1}\u{1}",
            r#"{"status":"401","schemes":"bearer"}"#,
        ),
    ] {
        let mut session = Session::encrypted();
        let reply = session.send(&format!("AUTH {mechanism} {}", BASE64.encode(message)));
        let challenge = BASE64.decode(reply.strip_prefix("334 ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(challenge).unwrap(), json);
        assert_eq!(session.send(dummy), "535 5.7.8 expired");
        assert_eq!(session.send("MAIL FROM:<a@b.example>")[..3], *"530");
    }
    // Whoever goes on guessing is sent away.
    let mut session = Session::encrypted();
    let attempt = format!("AUTH OAUTHBEARER {}", BASE64.encode(message));
    let codes: Vec<_> = (0..3)
        .map(|_| {
            session.send(&attempt);
            session.send("AQ==")[..3].to_owned()
        })
        .collect();
    assert_eq!(codes, ["535", "535", "421"]);
}

#[test]
fn token_messages_of_another_form_are_malformed() {
    for (mechanism, message) in [
        ("OAUTHBEARER", ""),
        ("OAUTHBEARER", "\u{1}"),
        ("OAUTHBEARER", "n,,\u{1}auth=Bearer good\u{1}"),
        ("OAUTHBEARER", "n,,\u{1}host=x\u{1}\u{1}"),
        ("OAUTHBEARER", "n,,\u{1}auth=Basic good\u{1}\u{1}"),
        ("OAUTHBEARER", "n,,\u{1}auth=Bearer\u{1}\u{1}"),
        ("OAUTHBEARER", "n,,\u{1}auth=Bearer a b\u{1}\u{1}"),
        (
            "OAUTHBEARER",
            "n,,\u{1}auth=Bearer a\u{1}auth=Bearer b\u{1}\u{1}",
        ),
        (
            "OAUTHBEARER",
            "p=tls-exporter,,\u{1}auth=Bearer good\u{1}\u{1}",
        ),
        ("OAUTHBEARER", "n,me,\u{1}auth=Bearer good\u{1}\u{1}"),
        ("XOAUTH2", "auth=Bearer good\u{1}\u{1}"),
        ("XOAUTH2", "user=me\u{1}auth=Bearer good"),
    ] {
        let mut session = Session::encrypted();
        session.send(&format!("AUTH {mechanism}"));
        let reply = session.say(message);
        assert!(reply.starts_with("501 5.5.2"), "{message:?} {reply}");
        assert!(session.log.is_empty());
    }
}

#[test]
fn a_token_may_fill_the_longest_line() {
    let room = LONGEST_LINE - "AUTH XOAUTH2 \r\n".len();
    let overhead = "user=\u{1}auth=Bearer \u{1}\u{1}".len();
    let token = "t".repeat(room / 4 * 3 - overhead);
    let message = format!("user=\u{1}auth=Bearer {token}\u{1}\u{1}");
    let mut session = Session::encrypted();
    let line = format!("AUTH XOAUTH2 {}", BASE64.encode(message));
    assert!(line.len() > LONGEST_LINE - 8);
    assert_eq!(session.send(&line)[..3], *"334");
    assert_eq!(session.log.len(), 1);
}

proptest::proptest! {
    /// Whatever is said in whatever order, nobody is logged in who has shown nothing.
    #[test]
    fn no_exchange_panics_or_lets_somebody_in(
        mechanism in proptest::sample::select(vec!["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2"]),
        messages in proptest::collection::vec("[np=,a-z0-9\u{1}]{0,40}|n,,n=user,r=abc|c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj\\)hNlF\\$k0,p=[A-Za-z0-9]{43}=|n,,\u{1}auth=Bearer [a-z]{0,3}\u{1}\u{1}", 0..5),
    ) {
        let mut session = Session::encrypted();
        session.send(&format!("AUTH {mechanism}"));
        for message in messages {
            session.say(&message);
        }
        session.send("*");
        let reply = session.send("MAIL FROM:<a@b.example>");
        proptest::prop_assert!(!reply.starts_with("250"), "{}", reply);
    }
}
