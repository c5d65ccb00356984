//! Reports as other systems write them, and what only looks like one.

use super::*;

fn delivery(status: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.dest.example\r\nTo: <b-x@bounces.shop.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"b1\"\r\n\r\n\
         --b1\r\nContent-Type: text/plain\r\n\r\nIt did not work.\r\n\
         --b1\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n\
         --b1\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: order\r\n\r\n--b1--\r\n"
    )
}

fn statuses(text: &str) -> Vec<Status> {
    match read(text.as_bytes()) {
        Some(Report::Delivery(statuses)) => statuses,
        other => panic!("{other:?}"),
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

const POSTFIX: &str = "Reporting-MTA: dns; mx.dest.example\r\nX-Postfix-Queue-ID: 4F\r\n\
    Arrival-Date: Fri, 27 Nov 2026 04:00:00 +0000\r\n\r\n\
    Final-Recipient: rfc822; to@dest.example\r\nOriginal-Recipient: rfc822;To@dest.example\r\n\
    Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; box.dest.example\r\n\
    Diagnostic-Code: smtp; 550 5.1.1 <to@dest.example>: Recipient address rejected:\r\n\
    \x20   User unknown in virtual mailbox table\r\n";

#[test]
fn a_report_of_postfix_is_a_hard_bounce_with_the_server_s_words() {
    let statuses = statuses(&delivery(POSTFIX));
    assert_eq!(
        statuses,
        [Status {
            addresses: vec![address("To@dest.example"), address("to@dest.example")],
            failed: Some(Category::Bounced),
            detail:
                "smtp; 550 5.1.1 <to@dest.example>: Recipient address rejected: User unknown in \
                     virtual mailbox table"
                    .into(),
        }]
    );
}

#[test]
fn code_and_words_of_a_report_are_judged_as_those_of_a_reply() {
    use Category::{Blocked, Bounced, Deferred, Policy, Quota, Rejected};
    for (action, status, diagnostic, expected) in [
        (
            "failed",
            "5.1.1",
            "smtp; 550 5.1.1 no such user",
            Some(Bounced),
        ),
        (
            "failed",
            "5.1.10",
            "smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found",
            Some(Bounced),
        ),
        (
            "failed",
            "5.0.0",
            "smtp; 550-5.1.1 The email account that you tried to reach does not exist",
            Some(Bounced),
        ),
        // The words of the server are nearer to the cause than what the reporter made of them, and what
        // either of them calls temporary is no hard bounce.
        (
            "failed",
            "5.2.2",
            "smtp; 550 5.1.1 no such user",
            Some(Bounced),
        ),
        ("failed", "5.1.1", "smtp; 450 no such user", Some(Deferred)),
        ("failed", "4.1.1", "x-unix; no such user", Some(Deferred)),
        ("failed", "5.1.1", "", Some(Bounced)),
        ("failed", "5.1.1", "x-unix; user unknown", Some(Bounced)),
        ("failed (bounced)", "5.1.1", "", Some(Bounced)),
        (
            "failed",
            "5.1.1",
            "smtp; 550 5.1.1 blocked using zen.spamhaus.org",
            Some(Blocked),
        ),
        ("failed", "5.7.1", "smtp; 550 5.7.1 spam", Some(Blocked)),
        (
            "failed",
            "5.2.2",
            "smtp; 552 5.2.2 mailbox full",
            Some(Quota),
        ),
        ("failed", "5.7.26", "smtp; 550 5.7.26 DMARC", Some(Policy)),
        (
            "failed",
            "5.4.7",
            "smtp; 451 4.2.0 greylisted",
            Some(Deferred),
        ),
        (
            "failed",
            "4.4.7",
            "smtp; 450 4.1.1 user unknown",
            Some(Deferred),
        ),
        (
            "failed",
            "5.3.4",
            "smtp; 552 5.3.4 too large",
            Some(Rejected),
        ),
        ("failed", "", "", Some(Rejected)),
        ("delayed", "4.4.1", "", None),
        ("delivered", "2.0.0", "", None),
        ("relayed", "2.0.0", "", None),
        ("expanded", "2.0.0", "", None),
    ] {
        let text = format!(
            "Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\nAction: {action}\r\n\
             Status: {status}\r\nDiagnostic-Code: {diagnostic}\r\n"
        );
        let found = statuses(&delivery(&text))[0].failed;
        assert_eq!(found, expected, "{action} {status} {diagnostic}");
    }
}

#[test]
fn our_own_reports_and_those_of_rfc_6533_are_understood() {
    let text = delivery(
        "Reporting-MTA: dns; x\r\n\r\nOriginal-Recipient: utf-8; p\u{e5}l@dest.example\r\n\
         Final-Recipient: utf-8; p\u{e5}l@dest.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
    );
    let text = text.replace("message/delivery-status", "message/global-delivery-status");
    let statuses = statuses(&text);
    assert_eq!(statuses[0].addresses[0], address("p\u{e5}l@dest.example"));
    assert_eq!(statuses[0].failed, Some(Category::Bounced));
}

#[test]
fn a_status_that_is_encoded_for_its_way_is_read() {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(POSTFIX);
    let text = delivery(&encoded).replace(
        "message/delivery-status\r\n",
        "message/delivery-status\r\nContent-Transfer-Encoding: base64\r\n",
    );
    assert_eq!(statuses(&text)[0].failed, Some(Category::Bounced));
}

fn feedback(kind: &str, original: &str) -> String {
    format!(
        "From: <feedback@mailbox.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=\"b2\"\r\n\r\n\
         --b2\r\nContent-Type: text/plain\r\n\r\nA complaint.\r\n\
         --b2\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: {kind}\r\nUser-Agent: Loop/1.0\r\nVersion: 1\r\n\
         Original-Mail-From: <b-one@bounces.shop.example>\r\nOriginal-Rcpt-To: <to@dest.example>\r\n\r\n\
         --b2\r\n{original}\r\n--b2--\r\n"
    )
}

#[test]
fn a_complaint_names_the_return_path_in_its_fields_or_in_the_original() {
    for original in [
        "Content-Type: message/rfc822\r\n\r\nReturn-Path: <b-two@bounces.shop.example>\r\nSubject: x\r\n\r\nhello\r\n",
        "Content-Type: text/rfc822-headers\r\n\r\nReturn-Path: <b-two@bounces.shop.example>\r\nSubject: x\r\n",
    ] {
        let Some(Report::Complaint(complaint)) = read(feedback("abuse", original).as_bytes())
        else {
            panic!("no complaint");
        };
        let paths = ["b-one@bounces.shop.example", "b-two@bounces.shop.example"].map(address);
        assert_eq!(complaint.paths, paths, "{original}");
        assert_eq!(complaint.addresses, [address("to@dest.example")]);
        assert!(complaint.unwanted);
        assert_eq!(complaint.detail, "abuse Loop/1.0");
    }
}

#[test]
fn only_some_kinds_of_feedback_mean_that_mail_is_unwanted() {
    for (kind, expected) in [
        ("abuse", true),
        ("Fraud", true),
        ("opt-out", true),
        ("not-spam", false),
        ("auth-failure", false),
        ("virus", false),
        ("", false),
    ] {
        let text = feedback(kind, "Content-Type: text/plain\r\n\r\nx\r\n");
        let Some(Report::Complaint(complaint)) = read(text.as_bytes()) else {
            panic!("no complaint");
        };
        assert_eq!(complaint.unwanted, expected, "{kind}");
    }
}

#[test]
fn what_is_no_report_is_none() {
    let whole = delivery(POSTFIX);
    for text in [
        String::new(),
        "\r\n\r\n".into(),
        "Subject: I am away\r\nAuto-Submitted: auto-replied\r\n\r\nBack on Monday.\r\n".into(),
        whole.replace("multipart/report", "multipart/mixed"),
        whole.replace("message/delivery-status", "text/plain"),
        whole.replace("Action:", "X-Action:"),
        delivery("Reporting-MTA: dns; x\r\n"),
        delivery(""),
    ] {
        assert_eq!(read(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn what_is_said_of_the_whole_message_is_said_of_no_recipient() {
    let whole =
        "Reporting-MTA: dns; x\r\nFinal-Recipient: rfc822; a@b.example\r\nAction: failed\r\n";
    assert_eq!(read(delivery(whole).as_bytes()), None);
    let both = format!("{whole}\r\nFinal-Recipient: rfc822; c@d.example\r\nAction: failed\r\n");
    assert_eq!(statuses(&delivery(&both)).len(), 1);
}

#[test]
fn what_comes_after_half_a_mebibyte_is_not_read() {
    let late = |octets: usize| {
        let text = delivery(POSTFIX).replace("It did not work.", &"x\r\n".repeat(octets / 3));
        read(text.as_bytes())
    };
    assert!(late(LONGEST / 2).is_some());
    assert_eq!(late(LONGEST), None);
}

#[test]
fn hostile_reports_cost_little_and_say_nothing_they_should_not() {
    let started = std::time::Instant::now();
    let blocks = "Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n";
    let many = delivery(&format!("X: y\r\n\r\n{}", blocks.repeat(50_000)));
    assert!(statuses(&many).len() <= MOST_BLOCKS);
    let endless = delivery(&format!(
        "X: y\r\n\r\nAction: failed\r\nDiagnostic-Code: smtp; {}{}",
        "x".repeat(100_000),
        "\r\n y".repeat(100_000)
    ));
    let read_endless = read(endless.as_bytes());
    if let Some(Report::Delivery(statuses)) = read_endless {
        assert!(
            statuses
                .iter()
                .all(|one| one.detail.len() <= 2 * LONGEST_FIELD)
        );
    }
    let open = "--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n".repeat(20_000);
    let nested = format!("Content-Type: multipart/report; boundary=x\r\n\r\n{open}");
    let _ = read(nested.as_bytes());
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(20_000);
    let _ = read(
        format!("Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n{messages}").as_bytes(),
    );
    let whole = delivery(POSTFIX);
    for end in 0..whole.len() {
        let _ = read(&whole.as_bytes()[..end]);
    }
    let octets: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let _ = read(&octets);
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}
