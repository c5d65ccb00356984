//! Delivery without any policy: every server, what it offers and what it refuses.

use mailrelay_tests::peers::{Offer, dkim};
use mailrelay_tests::receiver::Delivered;
use serde_json::{Value, json};

use super::certificates::{Fault, Shown};
use super::draft::{Draft, GREYLISTED, SIZE_LIMIT, Who};
use super::stage::{Running, SENDER, stage};
use crate::authority::Authority;

/// A server as most tests use it.
struct Server {
    who: Who,
    domain: &'static str,
    /// Whether it offers SMTPUTF8, PIPELINING and a greylist that a second try passes.
    modern: bool,
    /// Code, enhanced code and words for a recipient that does not exist.
    unknown: (u16, &'static str, &'static str),
    /// Code for a recipient that is to be tried again.
    later: u16,
}

const SERVERS: [Server; 4] = [
    Server {
        who: Who::Postfix,
        domain: "postfix.plain.example",
        modern: true,
        unknown: (550, "5.1.1", "User unknown in virtual mailbox table"),
        later: 450,
    },
    Server {
        who: Who::Exim,
        domain: "exim.plain.example",
        modern: true,
        unknown: (550, "5.1.1", "nobody of that name lives here"),
        later: 451,
    },
    Server {
        who: Who::OpenSmtpd,
        domain: "opensmtpd.plain.example",
        modern: false,
        unknown: (550, "5.1.1", "Invalid recipient"),
        later: 451,
    },
    Server {
        who: Who::Haraka,
        domain: "haraka.plain.example",
        modern: true,
        unknown: (550, "5.1.1", "nobody of that name lives here"),
        later: 450,
    },
];

/// A host that is in some way not what a sender would wish.
struct Poor {
    who: Who,
    domain: &'static str,
    fault: Fault,
    offer: Offer,
    /// How mail gets there without a policy, as the log has it.
    tls: &'static str,
}

const fn poor(
    who: Who,
    domain: &'static str,
    fault: Fault,
    offer: Offer,
    tls: &'static str,
) -> Poor {
    Poor {
        who,
        domain,
        fault,
        offer,
        tls,
    }
}

const POOR: [Poor; 7] = [
    poor(
        Who::Postfix,
        "old.postfix.plain.example",
        Fault::None,
        Offer::Tls12,
        "TLSv1_2",
    ),
    poor(
        Who::Exim,
        "old.exim.plain.example",
        Fault::None,
        Offer::Tls12,
        "TLSv1_2",
    ),
    poor(
        Who::Postfix,
        "late.postfix.plain.example",
        Fault::Expired,
        Offer::Current,
        "TLSv1_3",
    ),
    poor(
        Who::Exim,
        "late.exim.plain.example",
        Fault::Expired,
        Offer::Current,
        "TLSv1_3",
    ),
    poor(
        Who::Postfix,
        "other.postfix.plain.example",
        Fault::OtherName,
        Offer::Current,
        "TLSv1_3",
    ),
    poor(
        Who::Exim,
        "clear.exim.plain.example",
        Fault::None,
        Offer::Nothing,
        "none",
    ),
    // Offers STARTTLS, and every handshake fails.
    poor(
        Who::OldOpenSmtpd,
        "old.opensmtpd.plain.example",
        Fault::Rsa,
        Offer::Current,
        "none",
    ),
];

/// Adds the domains of these tests.
pub(super) fn draft(draft: &mut Draft, authority: &Authority) {
    let mut add = |who, domain: &str, fault, offer| {
        let shown = Shown::new(authority, &format!("mx.{domain}"), fault);
        draft.domain(who, domain, &shown, offer, &[]);
    };
    for Server { who, domain, .. } in SERVERS {
        let fault = match who {
            Who::OpenSmtpd => Fault::Rsa,
            _ => Fault::None,
        };
        add(who, domain, fault, Offer::Current);
    }
    for Poor {
        who,
        domain,
        fault,
        offer,
        ..
    } in POOR
    {
        add(who, domain, fault, offer);
    }
}

/// A whole message that the relay has nothing to add to but its own header fields, with what is hard
/// on the way: dots, letters outside of ASCII, spaces at a line's end, an empty line at the end.
pub(super) fn message(to: &str, name: &str) -> String {
    format!(
        "Date: Fri, 27 Nov 2026 05:00:00 +0000\r\nFrom: Billing <{SENDER}>\r\nTo: <{to}>\r\n\
         Message-ID: <{name}@shop.example>\r\nSubject: {name}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         .\r\n..\r\n.dot\r\nGr\u{fc}\u{df}e \u{2014} \u{1f4ec}\r\ntrailing  \r\n\tTab\r\n\
         From here on\r\n{}\r\n\r\n",
        "x".repeat(998)
    )
}

/// The line by which a message of [`message`], or a report about it, is found.
pub(super) fn line(name: &str) -> String {
    format!("Message-ID: <{name}@shop.example>")
}

/// What arrived ends with exactly what was sent; servers store LF.
fn assert_same(arrived: &Delivered, sent: &str) {
    let sent = sent.replace("\r\n", "\n");
    let arrived = arrived.raw();
    let length = arrived
        .iter()
        .rev()
        .zip(sent.bytes().rev())
        .take_while(|(arrived, sent)| **arrived == *sent)
        .count();
    assert!(
        length == sent.len(),
        "the last {length} octets are as sent; before them {:?} was sent, {:?} arrived",
        String::from_utf8_lossy(&sent.as_bytes()[..sent.len() - length]),
        String::from_utf8_lossy(&arrived[..arrived.len() - length]),
    );
}

/// The machine-readable part of the report that came back about a message.
fn report(name: &str) -> String {
    let report = stage().arrived(Who::Postfix, SENDER, &line(name));
    // The second for a recipient that is not ASCII (RFC 6533 section 3).
    let part = report.part("message/delivery-status");
    part.or_else(|_| report.part("message/global-delivery-status"))
        .unwrap()
}

fn assert_outcome(outcome: &Value, code: Option<u16>, enhanced: &str, words: &str) {
    assert_eq!(outcome["code"], json!(code), "{outcome}");
    assert_eq!(outcome["enhanced"], enhanced, "{outcome}");
    let reply = outcome["reply"].as_str().unwrap();
    assert!(reply.contains(words), "{outcome}");
}

/// Submits a message for one recipient.
pub(super) fn send(running: &Running, recipient: &str, name: &str) -> String {
    running.submit(&[recipient], &message(recipient, name))
}

#[test]
fn every_server_gets_the_message_octet_for_octet_over_starttls_with_valid_signatures() {
    let running = stage().relay(|_| {});
    for Server { who, domain, .. } in SERVERS {
        let recipient = format!("ada@{domain}");
        let id = send(&running, &recipient, "whole");
        let outcome = running.outcome(&id, &recipient, "delivered");
        assert_eq!(outcome["tls"], "TLSv1_3", "{outcome}");
        assert_eq!(outcome["host"], format!("mx.{domain}"), "{outcome}");
        let arrived = stage().arrived(who, &recipient, &line("whole"));
        assert_same(&arrived, &message(&recipient, "whole"));
        let verify = dkim::verify(stage().resolver(), arrived.raw());
        let mut verdicts = vec![stage().block_on(verify).unwrap()];
        if matches!(who, Who::Postfix | Who::Exim) {
            // By the milter, and by Exim's own code.
            verdicts.push(arrived.verdicts());
        }
        for verdict in verdicts {
            let found: Vec<(&str, &str)> = verdict
                .iter()
                .map(|verdict| (&*verdict.selector, &*verdict.result))
                .collect();
            assert_eq!(found, [("winter", "pass"), ("autumn", "pass")], "{domain}");
        }
    }
}

#[test]
fn b1_a_known_recipient_gets_the_mail_and_only_the_unknown_one_is_reported() {
    let running = stage().relay(|_| {});
    for Server {
        who,
        domain,
        unknown: (code, enhanced, words),
        ..
    } in SERVERS
    {
        let (known, unknown) = (format!("bob@{domain}"), format!("nobody@{domain}"));
        let name = format!("mixed-{domain}");
        let id = running.submit(&[&known, &unknown], &message(&known, &name));
        let failed = running.outcome(&id, &unknown, "failed");
        assert_outcome(&failed, Some(code), enhanced, words);
        running.outcome(&id, &known, "delivered");
        stage().arrived(who, &known, &line(&name));
        let report = report(&name);
        assert!(
            report.contains(&format!("Final-Recipient: rfc822; {unknown}")),
            "{report}"
        );
        assert!(report.contains(words), "{report}");
        assert!(!report.contains(&known), "{report}");
    }
}

#[test]
fn a_message_over_a_servers_limit_is_reported_and_not_tried_again() {
    let running = stage().relay(|_| {});
    for Server { who, domain, .. } in SERVERS {
        let recipient = format!("ada@{domain}");
        let name = format!("large-{domain}");
        let large = message(&recipient, &name) + &"large\r\n".repeat(SIZE_LIMIT as usize / 6);
        let id = running.submit(&[&recipient], &large);
        let failed = running.outcome(&id, &recipient, "failed");
        assert_outcome(&failed, None, "5.3.4", &SIZE_LIMIT.to_string());
        let report = report(&name);
        assert!(report.contains("Status: 5.3.4"), "{report}");
        let line = line(&name);
        let is_there = |message: &Delivered| message.text().contains(&line);
        assert!(!stage().mailbox(who, &recipient).iter().any(is_there));
    }
}

#[test]
fn b14_a_greylisted_recipient_gets_the_mail_once_at_a_later_try() {
    let running = stage().relay(|_| {});
    for Server {
        who,
        domain,
        later,
        modern,
        ..
    } in SERVERS
    {
        let recipient = format!("{GREYLISTED}@{domain}");
        let id = send(&running, &recipient, "later");
        let deferred = running.outcome(&id, &recipient, "deferred");
        assert_eq!(deferred["code"], later, "{deferred}");
        assert!(
            deferred["reply"]
                .as_str()
                .unwrap()
                .contains("greylisted, come back"),
            "{deferred}"
        );
        // OpenSMTPD has no memory here.
        if modern {
            running.outcome(&id, &recipient, "delivered");
            stage().arrived(who, &recipient, &line("later"));
            assert_eq!(stage().mailbox(who, &recipient).len(), 1);
        }
    }
}

#[test]
fn l9_l11_international_mail_goes_to_servers_that_take_it_and_is_reported_otherwise() {
    let running = stage().relay(|_| {});
    for Server {
        who,
        domain,
        modern,
        ..
    } in SERVERS
    {
        let recipient = format!("gr\u{fc}n@{domain}");
        let name = format!("utf8-{domain}");
        let sent = message(&recipient, &name);
        let id = running.submit(&[&recipient], &sent);
        if modern {
            running.outcome(&id, &recipient, "delivered");
            let arrived = stage().arrived(who, &recipient, &line(&name));
            assert_same(&arrived, &sent);
        } else {
            let failed = running.outcome(&id, &recipient, "failed");
            assert_outcome(&failed, None, "5.6.7", "SMTPUTF8");
            assert!(report(&name).contains("Status: 5.6.7"));
        }
    }
}

#[test]
fn every_one_of_many_messages_at_once_arrives_once() {
    const NUMBER: usize = 40;
    let running = stage().relay(|_| {});
    for number in 0..NUMBER {
        for Server { domain, .. } in SERVERS {
            let recipients = [format!("ada@{domain}"), format!("bob@{domain}")];
            let content = message(&recipients[0], &format!("many-{number}"));
            running.submit(&[&recipients[0], &recipients[1]], &content);
        }
    }
    for Server { who, domain, .. } in SERVERS {
        for local in ["ada", "bob"] {
            let recipient = format!("{local}@{domain}");
            for number in 0..NUMBER {
                stage().arrived(who, &recipient, &line(&format!("many-{number}")));
            }
            let messages = stage().mailbox(who, &recipient);
            let many = |message: &&Delivered| message.text().contains("\nSubject: many-");
            assert_eq!(messages.iter().filter(many).count(), NUMBER, "{recipient}");
        }
    }
}

#[test]
fn t1_t4_t7_poor_or_no_tls_is_no_obstacle_without_a_policy() {
    let running = stage().relay(|_| {});
    for Poor {
        who, domain, tls, ..
    } in POOR
    {
        let recipient = format!("ada@{domain}");
        let id = send(&running, &recipient, "poor");
        let outcome = running.outcome(&id, &recipient, "delivered");
        assert_eq!(outcome["tls"], tls, "{outcome}");
        let attempt = running.relay.wait_for("the attempt", |line| {
            line["message"] == "delivery attempt" && line["message_id"] == id
        });
        assert_eq!(attempt["attempt"], 1, "{domain}: not at the first attempt");
        let arrived = stage().arrived(who, &recipient, &line("poor"));
        assert_same(&arrived, &message(&recipient, "poor"));
    }
}

#[test]
fn nothing_goes_out_in_clear_where_tls_is_required() {
    let running = stage().relay(|delivery| delivery["tls"] = json!("Required"));
    for Poor {
        who, domain, tls, ..
    } in POOR
    {
        let recipient = format!("bob@{domain}");
        let id = send(&running, &recipient, "required");
        if tls == "none" {
            let deferred = running.outcome(&id, &recipient, "deferred");
            assert!(
                deferred["enhanced"].as_str().unwrap().starts_with("4.7."),
                "{deferred}"
            );
            assert!(stage().mailbox(who, &recipient).is_empty());
        } else {
            let outcome = running.outcome(&id, &recipient, "delivered");
            assert_eq!(outcome["tls"], tls, "{outcome}");
        }
    }
}
