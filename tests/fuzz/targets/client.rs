//! Our client against a server that says anything at all: no answer panics it, makes it send a
//! password in clear text or content that was not asked for, or count mail as delivered that was not
//! accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailrelay_fuzz::assert_lines;
use relay_smtp::Address;
use relay_smtp::client::{Client, Credentials, Envelope, Next, Proof, Settings, StartTls, Verdict};

const PASSWORD: &str = "correct horse battery staple";

fuzz_target!(|input: &[u8]| {
    let Some((&choice, input)) = input.split_first() else {
        return;
    };
    let mut client = Client::new(Settings {
        name: "outbox.example".into(),
        starttls: match choice & 3 {
            0 => StartTls::Never,
            1 => StartTls::Opportunistic,
            _ => StartTls::Required,
        },
        implicit_tls: choice & 4 != 0,
        credentials: (choice & 8 != 0).then(|| Credentials {
            username: "user".into(),
            proof: if choice & 64 == 0 {
                Proof::Password {
                    password: PASSWORD.into(),
                    nonce: "0123456789abcdef0123456789abcdef".into(),
                }
            } else {
                Proof::Token(PASSWORD.into())
            },
        }),
    });
    let sender = Address::parse("a@from.example").expect("an address");
    let recipients = [
        Address::parse("b@to.example").expect("an address"),
        Address::parse("c@to.example").expect("an address"),
    ];
    let (pieces, _) = mailrelay_fuzz::cut(input);
    let mut pieces = pieces.into_iter();
    let mut next = client.next();
    let mut content_sent = false;
    loop {
        let output = client.take_output();
        if !client.encrypted() {
            let text = String::from_utf8_lossy(&output);
            assert!(!text.contains("AUTH") && !text.contains(PASSWORD));
        }
        // A lone dot is an empty message, sent when nobody is to get it.
        assert_lines(&output);
        let step = match next {
            Next::Read(_) => {
                let Some(piece) = pieces.next() else { break };
                client.receive(piece)
            }
            Next::StartTls => client.tls_established(),
            Next::Ready => {
                assert!(choice & 3 < 2 || client.encrypted());
                content_sent = false;
                client.begin(&Envelope {
                    sender: Some(&sender),
                    recipients: &[&recipients[0], &recipients[1]],
                    size: 100,
                    eight_bit: choice & 16 != 0,
                    smtputf8: false,
                    ..Envelope::default()
                })
            }
            Next::SendContent => {
                assert!(!content_sent);
                content_sent = true;
                client.content_sent()
            }
            Next::Finished => {
                let verdicts = client.take_verdicts();
                assert_eq!(verdicts.len(), recipients.len());
                for verdict in verdicts {
                    if let Verdict::Accepted(reply) = verdict {
                        assert!(content_sent && reply.code() / 100 == 2);
                    }
                }
                if !client.is_ready() {
                    break;
                }
                Ok(Next::Ready)
            }
        };
        match step {
            Ok(more) => next = more,
            Err(_) => break,
        }
    }
    // The connection is lost: nothing is accepted that was not.
    for verdict in client.take_verdicts() {
        if let Verdict::Accepted(_) = verdict {
            assert!(content_sent);
        }
    }
});
