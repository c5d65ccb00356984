//! Reports on a listener that takes nothing else.

use relay_queue::MessageId;
use relay_smtp::Address;

use crate::context::now;
use crate::returns::ReturnPaths;
use crate::suppression::{Cause, Entry, Mark, Source};

use super::*;

const RETURNS: &str = "- {name: news.example, senders: ['*'], bounces: {domain: bounces.news.example, \
    keys: ['AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=']}}\n";

/// Who sent the message.
const SENDER: &str = "desk@news.example";

/// The listener with `role: Bounces`.
const REPORTS: usize = 9;

async fn relay() -> Relay {
    Relay::start_with("", RETURNS).await
}

fn recipient() -> Address {
    Address::parse("to@dest.example").unwrap()
}

/// A return path of a message for that recipient, made so long ago.
fn path(relay: &Relay, age: u64) -> Address {
    path_for(relay, age, SENDER)
}

fn path_for(relay: &Relay, age: u64, sender: &str) -> Address {
    let snapshot = relay.context.snapshot.load();
    let paths: &ReturnPaths = snapshot.domains["news.example"].returns.as_ref().unwrap();
    let id = MessageId::new(Timestamp(now().0 - age), 7);
    let sender = Address::parse(sender).unwrap();
    paths
        .make(id, &recipient(), Some(Mark::of(&sender)))
        .unwrap()
}

/// The relay knows its sender, as after a delivery.
async fn send(relay: &Relay, sender: &str) {
    let desk = Address::parse(sender).unwrap();
    let holds = std::time::Duration::from_hours(720);
    let senders = &relay.context.senders;
    let mark = senders.remember("news.example", &desk, holds, now()).await;
    assert_eq!(mark, Some(Mark::of(&desk)));
}

fn entry(relay: &Relay) -> Option<Entry> {
    let lists = &relay.context.suppressions;
    lists.find("news.example", Mark::of(&recipient()), now())
}

fn bounce(words: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.dest.example\r\nContent-Type: multipart/report; boundary=b\r\n\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n\
         Final-Recipient: rfc822; To@dest.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 {words}\r\n--b--"
    )
}

fn complaint(original_mail_from: &str) -> String {
    format!(
        "From: loop@mailbox.example\r\nContent-Type: multipart/report; boundary=b\r\n\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n\
         Original-Mail-From: <{original_mail_from}>\r\n--b--"
    )
}

/// What `RCPT` is answered.
async fn rcpt(relay: &Relay, to: &str) -> String {
    let mut client = relay.greeted(REPORTS).await;
    assert_eq!(client.command("MAIL FROM:<>").await[..3], *"250");
    client.command(&format!("RCPT TO:<{to}>")).await
}

/// What a report is answered.
async fn report(relay: &Relay, to: &str, content: &str) -> String {
    let mut client = relay.greeted(REPORTS).await;
    client.command("MAIL FROM:<>").await;
    let taken = client.command(&format!("RCPT TO:<{to}>")).await;
    assert_eq!(taken[..3], *"250", "{taken}");
    client.command("DATA").await;
    client.send(format!("{content}\r\n.\r\n").as_bytes()).await;
    client.reply().await
}

#[tokio::test]
async fn a_bounce_that_comes_to_its_return_path_suppresses_the_recipient() {
    let relay = relay().await;
    let to = path(&relay, 3_600_000);
    assert_eq!(
        report(&relay, to.as_str(), &bounce("no such user")).await[..3],
        *"250"
    );
    let entry = entry(&relay).unwrap();
    assert_eq!(
        (entry.cause, entry.source),
        (Cause::HardBounce, Source::Report)
    );
    assert_eq!(entry.address.unwrap().as_str(), "To@dest.example");
    assert_eq!(entry.detail, "smtp; 550 5.1.1 no such user");
    assert!(entry.message.is_some());
    // Nobody knows who sent it, so nobody is told.
    assert!(relay.queued().is_empty());
}

#[tokio::test]
async fn a_report_goes_on_to_the_sender_with_the_null_path_and_as_it_came() {
    let relay = relay().await;
    send(&relay, SENDER).await;
    let to = path(&relay, 3_600_000);
    let content = bounce("no such user");
    assert_eq!(report(&relay, to.as_str(), &content).await[..3], *"250");
    let queued = relay.queued();
    assert_eq!(queued.len(), 1);
    let (work, text) = &queued[0];
    let envelope = &work.envelope;
    assert_eq!(envelope.sender, None);
    assert_eq!(envelope.recipients, [Address::parse(SENDER).unwrap()]);
    let (trace, rest) = text.split_at(text.find("From: MAILER").unwrap());
    assert!(
        trace.starts_with("Received: from ") && trace.contains("by outbox.example "),
        "{trace}"
    );
    assert_eq!(rest, format!("{content}\r\n"));
    assert!(entry(&relay).is_some());
}

#[tokio::test]
async fn a_message_gives_its_sender_three_reports_and_a_complaint_none() {
    let relay = relay().await;
    send(&relay, SENDER).await;
    let to = path(&relay, 0);
    let about = complaint(to.as_str());
    assert_eq!(report(&relay, to.as_str(), &about).await[..3], *"250");
    assert!(relay.queued().is_empty());
    for number in 1..=5 {
        let reply = report(&relay, to.as_str(), &bounce("no such user")).await;
        assert_eq!(reply[..3], *"250");
        assert_eq!(relay.context.queue.status().0, number.min(3));
    }
    // Other messages are not held against it.
    let other = path(&relay, 1000);
    report(&relay, other.as_str(), &bounce("no such user")).await;
    assert_eq!(relay.context.queue.status().0, 4);
}

#[tokio::test]
async fn a_report_never_goes_on_to_a_bounce_domain() {
    let relay = relay().await;
    let sender = "complaints@bounces.news.example";
    send(&relay, sender).await;
    let to = path_for(&relay, 0, sender);
    let reply = report(&relay, to.as_str(), &bounce("no such user")).await;
    assert_eq!(reply[..3], *"250");
    assert!(relay.queued().is_empty());
}

#[tokio::test]
async fn a_report_that_goes_in_a_circle_or_is_large_feeds_the_list_and_stays_here() {
    for head in [
        "Received: from a by outbox.example with SMTP; x\r\n".repeat(6),
        format!("Subject: {}\r\n", "x".repeat(900)).repeat(400),
    ] {
        let relay = relay().await;
        send(&relay, SENDER).await;
        let to = path(&relay, 0);
        let body = if head.starts_with("Subject") {
            "x\r\n".repeat(400_000)
        } else {
            String::new()
        };
        let content = format!("{head}{}\r\n{body}", bounce("no such user"));
        assert_eq!(report(&relay, to.as_str(), &content).await[..3], *"250");
        assert!(relay.queued().is_empty());
        assert!(entry(&relay).is_some());
    }
}

#[tokio::test]
async fn a_report_of_a_block_is_taken_and_suppresses_nobody() {
    let relay = relay().await;
    let to = path(&relay, 0);
    let content = bounce("blocked using zen.spamhaus.org");
    assert_eq!(report(&relay, to.as_str(), &content).await[..3], *"250");
    assert_eq!(entry(&relay), None);
}

#[tokio::test]
async fn a_complaint_is_matched_by_the_return_path_of_its_message() {
    let relay = relay().await;
    let about = path(&relay, 0);
    let to = "Complaints@bounces.news.example";
    let reply = report(&relay, to, &complaint(about.as_str())).await;
    assert_eq!(reply[..3], *"250", "{reply}");
    let entry = entry(&relay).unwrap();
    // Whom the mark stands for nobody said.
    assert_eq!((entry.cause, entry.address), (Cause::Complaint, None));
    let forged = about.as_str().replacen("b-0", "b-1", 1);
    let reply = report(&relay, to, &complaint(&forged)).await;
    assert!(
        reply.starts_with("550 5.1.1 the complaint names no message"),
        "{reply}"
    );
    let reply = report(&relay, to, &bounce("no such user")).await;
    assert!(reply.starts_with("550 5.6.0"), "{reply}");
}

#[tokio::test]
async fn a_return_path_at_another_domain_is_none_of_ours() {
    let relay = relay().await;
    let about = format!("{}@elsewhere.example", path(&relay, 0).local_part());
    let reply = report(
        &relay,
        "complaints@bounces.news.example",
        &complaint(&about),
    )
    .await;
    assert!(
        reply.starts_with("550 5.1.1 the complaint names no message"),
        "{reply}"
    );
    assert_eq!(entry(&relay), None);
}

#[tokio::test]
async fn who_says_that_a_message_is_no_spam_does_not_complain() {
    let relay = relay().await;
    let about = path(&relay, 0);
    let content = complaint(about.as_str()).replace("Type: abuse", "Type: not-spam");
    let reply = report(&relay, "complaints@bounces.news.example", &content).await;
    assert_eq!(reply[..3], *"250", "{reply}");
    assert_eq!(entry(&relay), None);
}

#[tokio::test]
async fn a_domain_that_wants_no_suppression_has_none() {
    let domain = RETURNS.replace(
        "senders:",
        "suppression: {hardBounces: 0s, complaints: 0s}, senders:",
    );
    let relay = Relay::start_with("", &domain).await;
    let to = path(&relay, 0);
    for content in [bounce("no such user"), complaint(to.as_str())] {
        let reply = report(&relay, to.as_str(), &content).await;
        assert_eq!(reply[..3], *"250", "{reply}");
        assert_eq!(entry(&relay), None);
    }
    assert_eq!(relay.context.suppressions.len(), 0);
}

#[tokio::test]
async fn the_address_on_the_list_is_the_one_that_the_return_path_was_made_for() {
    let relay = relay().await;
    let to = path(&relay, 0);
    // The recipient has forwarded the message to where it bounced.
    let elsewhere = bounce("no such user").replace("To@dest.example", "them@elsewhere.example");
    assert_eq!(report(&relay, to.as_str(), &elsewhere).await[..3], *"250");
    let entry = entry(&relay).unwrap();
    assert_eq!((entry.cause, entry.address), (Cause::HardBounce, None));
}

#[tokio::test]
async fn everything_that_is_no_return_path_of_ours_is_refused() {
    let relay = relay().await;
    let good = path(&relay, 0);
    let short = good
        .as_str()
        .replacen('@', "", 1)
        .replacen("bounces", "@bounces", 1)
        .replacen("b-0", "b-", 1);
    let changed = format!("b-{}{}", "0".repeat(20), &good.as_str()[22..]);
    let old = path(&relay, 31 * 24 * 3_600_000);
    for (to, expected) in [
        (short.as_str(), "there is no such mailbox"),
        (&changed, "this return path was not made here"),
        (old.as_str(), "the time of this return path is over"),
        (
            "postmaster@bounces.news.example",
            "there is no such mailbox",
        ),
        ("desk@news.example", "relays nothing"),
        ("bob@dest.example", "relays nothing"),
    ] {
        let reply = rcpt(&relay, to).await;
        assert!(
            reply.starts_with("550 5.1.1 ") && reply.contains(expected),
            "{to}: {reply}"
        );
    }
    assert_eq!(rcpt(&relay, good.as_str()).await[..3], *"250");
    // Nor does a listener for clients take reports.
    let reply = report(
        &relay,
        good.as_str(),
        "Subject: I am away\r\n\r\nBack on Monday",
    )
    .await;
    assert!(
        reply.starts_with("550 5.6.0 only delivery reports"),
        "{reply}"
    );
    assert!(relay.queued().is_empty());
    assert_eq!(relay.context.suppressions.len(), 0);
}

#[tokio::test]
async fn no_login_is_offered_and_none_is_needed_where_reports_come_in() {
    let relay = relay().await;
    let mut client = relay.connect(REPORTS).await;
    client.reply().await;
    assert!(
        !client
            .command("EHLO mx.dest.example")
            .await
            .contains("AUTH")
    );
    assert_eq!(client.command("AUTH PLAIN AAAA").await[..3], *"503");
}
