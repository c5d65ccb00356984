//! Our server against a client that says anything at all: how its octets are cut changes nothing,
//! every reply is whole lines, nothing is accepted that was not asked for, and memory stays within
//! the limits.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mailrelay_fuzz::assert_lines;
use relay_smtp::server::{
    Answer, Event, LoginPolicy, LoginVerdict, ScramChallenge, ScramKey, Server, Settings,
};

const MESSAGE_BYTES: u64 = 1500;
const RECIPIENTS: usize = 3;

/// What a session came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Session {
    output: Vec<u8>,
    events: Vec<String>,
}

fn settings(choice: u8) -> Settings {
    Settings {
        hostname: "outbox.example".into(),
        banner: "mail/outbox outbox-0".into(),
        message_bytes: MESSAGE_BYTES,
        recipients: RECIPIENTS,
        start_tls: choice & 1 != 0,
        implicit_tls: choice & 2 != 0,
        login: match choice >> 2 & 3 {
            0 => LoginPolicy::None,
            1 => LoginPolicy::Optional,
            _ => LoginPolicy::Required,
        },
        login_without_tls: choice & 16 != 0,
        tokens: choice & 32 != 0,
        binary_mime: choice & 64 != 0,
        judge_recipients: choice & 128 != 0,
        ..Settings::default()
    }
}

fn run(choice: u8, pieces: &[&[u8]]) -> Session {
    let mut server = Server::new(settings(choice));
    let mut session = Session::default();
    let mut input = BytesMut::new();
    let mut logged_in = false;
    let mut mail = false;
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(event) = server.next(&mut input) {
            // `Flush` depends on how much was read at a time.
            if event != Event::Flush {
                session.events.push(format!("{event:?}"));
            }
            match event {
                Event::Flush => session.output.extend_from_slice(&server.output().split()),
                Event::Login(login) => {
                    let granted = login.password.expose().len() % 2 == 1;
                    logged_in |= granted;
                    server.answer_login(if granted {
                        LoginVerdict::Granted
                    } else {
                        LoginVerdict::Denied
                    });
                }
                Event::Token(_) => server.answer_login(LoginVerdict::Unavailable),
                Event::Scram(_) => server.answer_scram(ScramChallenge {
                    nonce: "3rfcNHYJY1ZVvWVs7j".into(),
                    salt: b"0123456789abcdef".to_vec(),
                    iterations: 4096,
                    keys: vec![ScramKey {
                        stored: [1; 32],
                        server: [2; 32],
                    }],
                }),
                Event::ScramDone(login) => {
                    // Nobody can guess what `stored` is the hash of.
                    assert!(login.outcome.is_err());
                    server.answer_login(LoginVerdict::Denied);
                }
                Event::Mail(sender) => {
                    assert!(choice >> 2 & 2 == 0 || logged_in, "MAIL before a login");
                    mail = sender.is_none_or(|sender| sender.local_part() != "mallory");
                    server.answer_mail(if mail {
                        Ok(())
                    } else {
                        Err(Answer::fixed(550, "5.7.1", "not you"))
                    });
                }
                Event::Recipient { recipient, .. } => {
                    assert!(mail && choice & 128 != 0);
                    server.answer_recipient(match recipient.local_part() {
                        "nobody" => Err(Answer::fixed(550, "5.1.1", "no such recipient")),
                        _ => Ok(()),
                    });
                }
                Event::Data { .. } => {
                    assert!(mail);
                    server.answer_data(Ok(0));
                }
                Event::Message(message) => {
                    assert!(mail && !message.recipients.is_empty());
                    assert!(message.recipients.len() <= RECIPIENTS);
                    // A chunk without its line end gets one.
                    assert!(message.content.len() as u64 <= MESSAGE_BYTES + 2);
                    assert!(message.binary || has_whole_lines(&message.content));
                    server.answer_message(&Answer::fixed(250, "2.0.0", "queued"));
                }
                Event::StartTls => {
                    assert!(input.is_empty(), "clear text would be run after TLS");
                    server.tls_started();
                    logged_in = false;
                    mail = false;
                }
                Event::Refused(_) => {}
                Event::Close => {
                    session.output.extend_from_slice(server.output());
                    return session;
                }
            }
            assert!(server.receiving() as u64 <= MESSAGE_BYTES + 2);
        }
    }
    session.output.extend_from_slice(server.output());
    session
}

fn has_whole_lines(content: &[u8]) -> bool {
    (0..content.len()).all(|at| match content[at] {
        b'\r' => content.get(at + 1) == Some(&b'\n'),
        b'\n' => at > 0 && content[at - 1] == b'\r',
        _ => true,
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, input)) = input.split_first() else {
        return;
    };
    let (pieces, whole) = mailrelay_fuzz::cut(input);
    let cut = run(choice, &pieces);
    assert_lines(&cut.output);
    // What follows STARTTLS in one packet ends the session, and in the next does not: there the cut
    // is part of what is said.
    if !whole
        .to_ascii_uppercase()
        .windows(8)
        .any(|part| part == b"STARTTLS")
    {
        assert_eq!(cut, run(choice, &[whole]));
    }
});
