//! The project's own client against its own server, through whole logins.

use crate::client::{Client, Credentials, Failure, Next, Proof, Settings, StartTls};

use super::tests::{Session, bindings, settings};
use crate::server::ChannelBindings;

fn client(proof: Proof, bindings: ChannelBindings) -> Client {
    let mut client = Client::new(Settings {
        name: "relay.example".into(),
        starttls: StartTls::Never,
        implicit_tls: true,
        credentials: Some(Credentials {
            username: "user".into(),
            proof,
        }),
    });
    client.bind_channel(bindings);
    client
}

fn password(password: &str) -> Proof {
    Proof::Password {
        password: password.into(),
        nonce: "rOprNGfwEbeRWgbNEkqO".into(),
    }
}

/// Plays the login to its end, and says what the server noted.
fn play(mut client: Client, offers: &str) -> (Result<Next, Failure>, Vec<String>) {
    let mut session = Session::new(settings(), true);
    client.receive(b"220 outbox.example\r\n").unwrap();
    client.take_output();
    let offers = format!("250-outbox.example\r\n250 AUTH {offers}\r\n");
    let mut result = client.receive(offers.as_bytes());
    while let Ok(Next::Read(_)) = result {
        let output = String::from_utf8(client.take_output()).unwrap();
        let reply = session.send(output.strip_suffix("\r\n").unwrap());
        result = client.receive(format!("{reply}\r\n").as_bytes());
    }
    (result, session.log)
}

const ALL: &str = "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS OAUTHBEARER XOAUTH2";

#[test]
fn both_sides_agree_on_scram_with_and_without_binding() {
    let end_point = ChannelBindings {
        exporter: None,
        ..bindings()
    };
    let rows = [
        (ALL, bindings(), true),
        (ALL, end_point, true),
        // Without anything to bind to, and honest about it.
        (ALL, ChannelBindings::default(), true),
        // Somebody took the offer away.
        ("SCRAM-SHA-256 PLAIN", bindings(), false),
        // Somebody ends TLS in between.
        (
            ALL,
            ChannelBindings {
                exporter: Some([8; 32]),
                end_point: None,
            },
            false,
        ),
    ];
    for (offers, bindings, expected) in rows {
        let (result, log) = play(client(password("pencil"), bindings), offers);
        assert_eq!(result == Ok(Next::Ready), expected, "{result:?}");
        assert!(log[0].starts_with("user "), "{log:?}");
    }
    let (result, _) = play(client(password("eraserhead"), bindings()), ALL);
    let failure = result.unwrap_err().to_string();
    assert!(failure.starts_with("AUTH was answered 535"), "{failure}");
}

#[test]
fn both_sides_agree_on_tokens() {
    let token = |token: &str| client(Proof::Token(token.into()), bindings());
    for (offers, mechanism) in [(ALL, "OAUTHBEARER"), ("PLAIN XOAUTH2", "XOAUTH2")] {
        let (result, log) = play(token("good"), offers);
        assert_eq!(result, Ok(Next::Ready));
        assert!(log[0].starts_with(mechanism), "{log:?}");
        // The server explains in a challenge, and refuses once it was heard.
        let (result, _) = play(token("old"), offers);
        let failure = result.unwrap_err().to_string();
        assert!(failure.starts_with("AUTH was answered 535"), "{failure}");
        // Too long for one line with the command.
        let long = "x".repeat(2000);
        let (result, log) = play(token(&long), offers);
        assert!(result.is_err() && log.len() == 1, "{log:?}");
    }
}
