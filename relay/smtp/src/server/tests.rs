//! The server side as its caller sees it: octets in, replies and events out.

mod chunking;
mod extensions;
mod framing;
mod limits;
mod login;
mod properties;
mod transaction;

use super::*;
use crate::command::Syntax;

fn settings() -> Settings {
    Settings {
        hostname: "outbox.example".into(),
        banner: "mail/outbox outbox-0".into(),
        message_bytes: 2000,
        recipients: 100,
        start_tls: true,
        implicit_tls: false,
        login: LoginPolicy::Optional,
        login_without_tls: true,
        tokens: false,
        binary_mime: false,
        judge_recipients: false,
        syntax: Syntax::Lenient,
        hold: Some(HoldLimit {
            seconds: 604_800,
            until: 1_790_604_800,
        }),
        header_bytes: u64::MAX,
        commands: 3000,
    }
}

/// A session whose caller says yes to everything, with the one password `otter`.
struct Script {
    server: Server,
    input: BytesMut,
    /// What was told to the caller, `Flush` left out.
    log: Vec<String>,
    messages: Vec<Message>,
}

impl Script {
    fn new(settings: Settings) -> Self {
        let mut script = Self {
            server: Server::new(settings),
            input: BytesMut::new(),
            log: Vec::new(),
            messages: Vec::new(),
        };
        let greeting = script.take();
        assert_eq!(
            greeting,
            "220 outbox.example ESMTP mail/outbox outbox-0\r\n"
        );
        script
    }

    fn greeted() -> Self {
        let mut script = Self::new(settings());
        script.send("EHLO client.example\r\n");
        script
    }

    fn take(&mut self) -> String {
        let output = self.server.output().split();
        String::from_utf8(output.to_vec()).unwrap()
    }

    /// Feeds octets and returns the replies.
    fn octets(&mut self, octets: &[u8]) -> String {
        self.input.extend_from_slice(octets);
        let mut replies = String::new();
        while let Some(event) = self.server.next(&mut self.input) {
            match event {
                Event::Flush => replies += &self.take(),
                Event::Login(login) => {
                    self.log
                        .push(format!("login {} {}", login.mechanism, login.username));
                    self.server.answer_login(match login.password.expose() {
                        "otter" => LoginVerdict::Granted,
                        "broken" => LoginVerdict::Unavailable,
                        _ => LoginVerdict::Denied,
                    });
                }
                Event::Token(_) | Event::Scram(_) | Event::ScramDone(_) => {
                    unreachable!("tested with the mechanisms")
                }
                Event::Mail(sender) => {
                    let refused = sender.is_some_and(|sender| sender.local_part() == "mallory");
                    self.server.answer_mail(if refused {
                        Err(Answer::fixed(550, "5.7.1", "not you"))
                    } else {
                        Ok(())
                    });
                }
                Event::Recipient { sender, recipient } => {
                    self.log.push(format!("recipient {sender:?} {recipient}"));
                    let refused = recipient.local_part().starts_with("nobody");
                    self.server.answer_recipient(if refused {
                        Err(Answer::fixed(550, "5.1.1", "no such recipient"))
                    } else {
                        Ok(())
                    });
                }
                Event::Data { .. } => self.server.answer_data(Ok(0)),
                Event::Message(message) => {
                    self.log.push(format!(
                        "message {:?} {:?} {:?}",
                        message.sender, message.recipients, message.content
                    ));
                    self.messages.push(message);
                    self.server
                        .answer_message(&Answer::fixed(250, "2.0.0", "queued"));
                }
                Event::StartTls => {
                    self.log.push("starttls".into());
                    break;
                }
                // Its reply says all.
                Event::Refused(Refusal::Command) => {}
                Event::Refused(refusal) => self.log.push(refusal.name().into()),
                Event::Close => {
                    self.log.push("close".into());
                    break;
                }
            }
        }
        replies += &self.take();
        replies
    }

    fn send(&mut self, text: &str) -> String {
        self.octets(text.as_bytes())
    }

    fn is_closed(&self) -> bool {
        self.log.last().is_some_and(|last| last == "close")
    }
}

/// Codes of the last lines of replies.
fn codes(replies: &str) -> Vec<u16> {
    replies
        .lines()
        .filter(|line| line.as_bytes().get(3) == Some(&b' '))
        .map(|line| line[..3].parse().unwrap())
        .collect()
}

const OPEN: &str = "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";
