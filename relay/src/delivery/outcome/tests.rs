//! What replies and faults mean.

use super::*;

fn remote() -> Remote {
    Remote {
        host: "mx.remote.test".into(),
        address: "192.0.2.25:25".parse().unwrap(),
        encryption: None,
        policy: None,
    }
}

fn reply(text: &str) -> Arc<Reply> {
    let (code, text) = text.split_once(' ').unwrap_or((text, ""));
    let (enhanced, text) =
        EnhancedCode::split(text).map_or((None, text), |(code, text)| (Some(code), text));
    Arc::new(Reply::new(code.parse().unwrap(), enhanced, text))
}

#[test]
fn b1_b4_b6_b10_b13_b16_b19_the_reply_code_decides_per_recipient() {
    use Kind::{Deferred, Delivered, Failed};
    let rows = [
        (Stage::Recipient, "550 5.1.1 no such user", Failed, "5.1.1"),
        (Stage::Recipient, "550 no such user", Failed, "5.1.1"),
        (Stage::Recipient, "450 4.2.0 greylisted", Deferred, "4.2.0"),
        (
            Stage::Recipient,
            "450 4.1.2 domain not found",
            Deferred,
            "4.1.2",
        ),
        (Stage::Recipient, "452 too many", Deferred, "4.5.3"),
        (Stage::Recipient, "552 5.2.2 full", Deferred, "4.2.2"),
        (Stage::Recipient, "552 too many", Deferred, "4.5.3"),
        (Stage::Recipient, "556 no mail", Failed, "5.1.10"),
        (Stage::Recipient, "571 5.7.509 denied", Failed, "5.7.509"),
        (Stage::Content, "550 5.7.1 spam", Failed, "5.7.1"),
        (Stage::Content, "552 too large", Failed, "5.3.4"),
        (Stage::Content, "451 4.3.0 try again", Deferred, "4.3.0"),
        (Stage::Content, "250 what", Deferred, "4.0.0"),
        (Stage::Mail, "450 4.7.1 slow down", Deferred, "4.7.1"),
        (Stage::Mail, "553 no", Failed, "5.0.0"),
        (
            Stage::Mail,
            "530 5.7.0 authenticate first",
            Deferred,
            "4.7.0",
        ),
        (Stage::Data, "554 no", Failed, "5.0.0"),
        (Stage::Authentication, "535 5.7.8 bad", Deferred, "4.7.8"),
    ];
    for (stage, text, kind, status) in rows {
        let fate = of_verdict(&Verdict::Refused(stage, reply(text)), &remote());
        assert_eq!(
            (fate.kind, fate.status.to_string()),
            (kind, status.into()),
            "{text}"
        );
        assert_eq!(fate.diagnostic(), text);
        assert!(!fate.host_fault, "{text}");
    }
    let fate = of_verdict(&Verdict::Accepted(reply("250 2.6.0 queued")), &remote());
    assert_eq!(
        (fate.kind, fate.status.to_string()),
        (Delivered, "2.6.0".into())
    );
}

#[test]
fn b4_only_too_many_recipients_goes_on_at_once() {
    let rows = [
        ("452 4.5.3 too many", true),
        ("452 too many", true),
        ("552 too many", true),
        ("552 5.5.3 too many", true),
        ("452 4.2.2 full", false),
        ("452 4.3.1 no space", false),
        ("450 later", false),
    ];
    for (text, expected) in rows {
        let verdict = Verdict::Refused(Stage::Recipient, reply(text));
        assert_eq!(too_many_recipients(&verdict), expected, "{text}");
    }
    assert!(!too_many_recipients(&Verdict::Refused(
        Stage::Mail,
        reply("452 x")
    )));
}

#[test]
fn b7_b9_b13_a_refused_session_is_a_fault_of_the_host() {
    let rows = [
        ("421 4.7.0 Try again later", Kind::Deferred, "4.7.0"),
        ("554 go away", Kind::Failed, "5.3.2"),
        ("521 no mail", Kind::Failed, "5.3.2"),
    ];
    for (text, kind, status) in rows {
        let failure = Failure::Refused {
            stage: Stage::Greeting,
            reply: (*reply(text)).clone(),
        };
        let fate = of_failure(&failure, &remote());
        assert_eq!((fate.kind, fate.status.to_string()), (kind, status.into()));
        assert!(fate.host_fault);
    }
}

#[test]
fn b9_hope_is_kept_when_another_host_refuses_for_good() {
    let fate = |kind| Fate::host(kind, EnhancedCode::new(4, 4, 1), None, format!("{kind:?}"));
    let (deferred, failed) = (fate(Kind::Deferred), fate(Kind::Failed));
    assert_eq!(deferred.clone().or(failed.clone()), deferred);
    assert_eq!(failed.clone().or(deferred.clone()), deferred);
    assert_eq!(failed.clone().or(failed.clone()), failed);
    let refused = Fate::local(Kind::Failed, EnhancedCode::new(5, 1, 1), "no");
    assert_eq!(deferred.or(refused.clone()), refused);
}

#[test]
fn b27_a_lost_reply_is_flagged_and_not_tried_at_the_next_host() {
    let fate = of_verdict(&Verdict::Unconfirmed, &remote());
    assert!(fate.unconfirmed && !fate.host_fault);
    assert_eq!(fate.kind, Kind::Deferred);
    let fate = of_verdict(&Verdict::Undecided, &remote());
    assert!(!fate.unconfirmed && fate.host_fault);
}

#[test]
fn a_421_in_a_transaction_is_a_fault_of_the_host_unless_the_content_was_sent() {
    for (stage, expected) in [
        (Stage::Mail, true),
        (Stage::Data, true),
        (Stage::Content, false),
    ] {
        let fate = of_verdict(&Verdict::Refused(stage, reply("421 bye")), &remote());
        assert_eq!(fate.host_fault, expected);
    }
}

/// What servers really say: stage, reply, category, and whether it is a hard bounce of a recipient
/// who is alone in the transaction.
const SAID: &[(Stage, &str, Category, bool)] = {
    use Category::{Blocked, Bounced, Deferred, Policy, Quota, Rejected};
    use Stage::{Content, Greeting, Mail, Recipient};
    &[
        // Gmail
        (
            Recipient,
            "550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking the recipient's email address for typos or unnecessary spaces. For more information, go to https://support.google.com/mail/?p=NoSuchUser a1-20si",
            Bounced,
            true,
        ),
        (
            Recipient,
            "550 5.2.1 The email account that you tried to reach is inactive. For more information, go to https://support.google.com/mail/?p=DisabledUser a1",
            Bounced,
            true,
        ),
        (
            Recipient,
            "552 5.2.2 The recipient's inbox is out of storage space and inactive. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaPerm a1",
            Quota,
            false,
        ),
        (
            Recipient,
            "452 4.2.2 The recipient's inbox is out of storage space. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaTemp a1",
            Quota,
            false,
        ),
        (
            Recipient,
            "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered.",
            Deferred,
            false,
        ),
        (
            Content,
            "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.",
            Blocked,
            false,
        ),
        (
            Content,
            "550 5.7.1 Gmail has detected that this message is likely suspicious due to the very low reputation of the sending domain.",
            Blocked,
            false,
        ),
        (
            Content,
            "550 5.7.1 Our system has detected that this message is likely unsolicited mail. To reduce the amount of spam sent to Gmail, this message has been blocked.",
            Blocked,
            false,
        ),
        (
            Content,
            "550 5.7.26 Your email has been blocked because the sender is unauthenticated. Gmail requires all senders to authenticate with either SPF or DKIM.",
            Policy,
            false,
        ),
        (
            Content,
            "550 5.7.26 Unauthenticated email from shop.example is not accepted due to domain's DMARC policy.",
            Policy,
            false,
        ),
        (
            Content,
            "550 5.7.25 The IP address sending this message does not have a PTR record setup, or the corresponding forward DNS entry does not match the sending IP.",
            Policy,
            false,
        ),
        (
            Content,
            "552 5.3.4 Your message exceeded Google's message size limits.",
            Rejected,
            false,
        ),
        // Microsoft
        (
            Recipient,
            "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). [x.prod.protection.outlook.com]",
            Bounced,
            true,
        ),
        (
            Recipient,
            "550 5.4.1 Recipient address rejected: Access denied. [x.prod.protection.outlook.com]",
            Bounced,
            true,
        ),
        (
            Content,
            "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
            Bounced,
            true,
        ),
        (
            Mail,
            "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3140).",
            Blocked,
            false,
        ),
        (
            Recipient,
            "550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list please visit https://sender.office.com/",
            Blocked,
            false,
        ),
        (
            Recipient,
            "550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus. To request removal from this list see https://www.spamhaus.org/query/ip/192.0.2.1 (AS16012611)",
            Blocked,
            false,
        ),
        (
            Mail,
            "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.",
            Blocked,
            false,
        ),
        (
            Recipient,
            "451 4.7.500 Server busy. Please try again later from [192.0.2.1].",
            Deferred,
            false,
        ),
        (
            Content,
            "550 5.7.509 Access denied, sending domain shop.example does not pass DMARC verification and has a DMARC policy of reject.",
            Policy,
            false,
        ),
        (
            Content,
            "550 5.1.8 Access denied, bad outbound sender AS(42003)",
            Blocked,
            false,
        ),
        (
            Recipient,
            "452 4.5.3 Too many recipients (AS780090)",
            Deferred,
            false,
        ),
        // Yahoo, AOL
        (
            Content,
            "554 delivery error: dd This user doesn't have a yahoo.com account (to@yahoo.com) [0] - mta1.mail",
            Bounced,
            true,
        ),
        (
            Content,
            "552 1 Requested mail action aborted, mailbox not found",
            Bounced,
            true,
        ),
        (
            Mail,
            "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1",
            Blocked,
            false,
        ),
        (
            Greeting,
            "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list",
            Blocked,
            false,
        ),
        (
            Content,
            "554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
            Policy,
            false,
        ),
        (
            Content,
            "554 5.7.5 Permanent error evaluating DMARC policy",
            Policy,
            false,
        ),
        // Apple
        (
            Recipient,
            "550 5.1.1 <to@icloud.com>: user lookup success but no user record found",
            Bounced,
            true,
        ),
        (
            Content,
            "554 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
            Policy,
            false,
        ),
        (
            Recipient,
            "552 5.2.2 <to@icloud.com>: user is over quota",
            Quota,
            false,
        ),
        // Postfix
        (
            Recipient,
            "550 5.1.1 <spam-blocked@dest.example>: Recipient address rejected: User unknown in virtual mailbox table",
            Bounced,
            true,
        ),
        (
            Recipient,
            "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1",
            Blocked,
            false,
        ),
        (
            Recipient,
            "554 5.7.1 <to@dest.example>: Relay access denied",
            Policy,
            false,
        ),
        (
            Recipient,
            "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]",
            Policy,
            false,
        ),
        (
            Recipient,
            "550 5.1.8 <a@shop.example>: Sender address rejected: Domain not found",
            Rejected,
            false,
        ),
        (
            Recipient,
            "450 4.1.8 <a@shop.example>: Sender address rejected: Domain not found",
            Deferred,
            false,
        ),
        (
            Recipient,
            "450 4.2.0 <to@dest.example>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/dest.example.html",
            Deferred,
            false,
        ),
        (
            Recipient,
            "450 4.1.1 <to@dest.example>: Recipient address rejected: unverified address: Address verification in progress",
            Deferred,
            false,
        ),
        (
            Content,
            "552 5.3.4 Error: message file too big",
            Rejected,
            false,
        ),
        // Exim and cPanel
        (Recipient, "550 Unknown user", Bounced, true),
        (Recipient, "550 Unrouteable address", Bounced, true),
        (Recipient, "550 No Such User Here\"", Bounced, true),
        (Recipient, "550 relay not permitted", Policy, false),
        (Recipient, "550 Sender verify failed", Rejected, false),
        (
            Recipient,
            "451 Temporary local problem - please try later",
            Deferred,
            false,
        ),
        (
            Content,
            "550 The mail server detected your message as spam and has prevented delivery.",
            Blocked,
            false,
        ),
        // Others
        (
            Recipient,
            "550 Requested action not taken: mailbox unavailable",
            Bounced,
            true,
        ),
        (
            Greeting,
            "554 web.de (mxweb011) Nemesis ESMTP Service not available",
            Blocked,
            false,
        ),
        (
            Greeting,
            "554 IP=192.0.2.1 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de to clarify.)",
            Blocked,
            false,
        ),
        (
            Greeting,
            "554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1",
            Blocked,
            false,
        ),
        (
            Greeting,
            "554 Your access to this mail system has been rejected due to the sending MTA's poor reputation.",
            Blocked,
            false,
        ),
        (
            Recipient,
            "550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550",
            Bounced,
            true,
        ),
        (
            Content,
            "554 Email rejected due to security policies - https://community.mimecast.com/docs/DOC-1369#554",
            Rejected,
            false,
        ),
        (
            Content,
            "550 Rejected by header based Anti-Spoofing policy: shop.example",
            Policy,
            false,
        ),
        (
            Content,
            "550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=x",
            Blocked,
            false,
        ),
        (
            Recipient,
            "550 5.1.1 rejected by our blacklist",
            Blocked,
            false,
        ),
        (Recipient, "550 5.1.1", Bounced, true),
        (Recipient, "550", Rejected, false),
        (Mail, "550 5.1.1 no such user", Rejected, false),
        (Recipient, "554 5.7.1 virus found", Policy, false),
    ]
};

#[test]
fn what_big_receivers_and_common_servers_say_is_put_into_its_category() {
    for (stage, text, category, hard) in SAID {
        let fate = of_verdict(&Verdict::Refused(*stage, reply(text)), &remote());
        assert_eq!(fate.category(), *category, "{stage:?} {text}");
        assert_eq!(fate.is_hard_bounce(true), *hard, "{stage:?} {text}");
        let at_recipient = *hard && *stage == Stage::Recipient;
        assert_eq!(fate.is_hard_bounce(false), at_recipient, "{stage:?} {text}");
        // A message that was given up for its age says nothing about a mailbox.
        assert!(!fate.expire().is_hard_bounce(true), "{text}");
    }
}

#[test]
fn a_reputation_block_never_suppresses_a_mailbox_whatever_its_code() {
    for words in words::REPUTATION {
        for code in ["5.1.1", "5.1.6", "5.1.10", "5.2.1", "5.0.0", "5.7.1"] {
            let text = format!("550 {code} {words}: user unknown, recipient does not exist");
            let fate = of_verdict(&Verdict::Refused(Stage::Recipient, reply(&text)), &remote());
            assert_eq!(fate.category(), Category::Blocked, "{text}");
            assert!(!fate.is_hard_bounce(true));
        }
    }
}

#[test]
fn phrases_that_a_reply_breaks_over_lines_or_writes_large_are_found() {
    let mut parser = relay_smtp::reply::ReplyParser::default();
    parser.feed(
        b"550-5.7.1 Service unavailable, client host BLOCKED\r\n550 5.7.1   Using a list\r\n",
    );
    let reply = Arc::new(parser.next_reply().unwrap().unwrap());
    let fate = of_verdict(&Verdict::Refused(Stage::Recipient, reply), &remote());
    assert_eq!(fate.category(), Category::Blocked);
}

#[test]
fn words_beyond_the_limit_and_hostile_octets_do_no_harm() {
    for text in [
        "x".repeat(5000),
        "spam@".repeat(900),
        " ".repeat(4000),
        "\u{fffd}".repeat(1300),
    ] {
        let fate = of_verdict(
            &Verdict::Refused(Stage::Recipient, reply(&format!("550 5.1.1 {text}"))),
            &remote(),
        );
        assert_eq!(fate.category(), Category::Bounced);
    }
}

#[test]
fn faults_without_a_reply_have_a_category_too() {
    use Kind::{Deferred, Failed};
    for (kind, status, category) in [
        (Deferred, EnhancedCode::new(4, 4, 1), Category::Deferred),
        (Deferred, EnhancedCode::new(4, 7, 5), Category::Policy),
        (Failed, EnhancedCode::new(5, 1, 2), Category::Bounced),
        (Failed, EnhancedCode::new(5, 4, 6), Category::Rejected),
        (Failed, EnhancedCode::new(5, 7, 30), Category::Policy),
    ] {
        let fate = Fate::local(kind, status, "");
        assert_eq!(fate.category(), category, "{status}");
        // Only a server knows its mailboxes: a name may be gone by mistake.
        assert!(!fate.is_hard_bounce(true));
    }
}

/// For each recipient a fate may cost its place in a list and nothing more.
#[test]
fn what_becomes_of_a_recipient_costs_no_memory_of_its_own() {
    let remote = remote();
    let refused = |stage, text| Verdict::Refused(stage, reply(text));
    let verdicts = [
        Verdict::Accepted(reply("250 2.6.0 queued")),
        refused(Stage::Recipient, "550 5.1.1 no such user"),
        refused(Stage::Recipient, "452 4.5.3 too many"),
        refused(Stage::Content, "554 5.7.1 blocked using zen.spamhaus.org"),
        Verdict::Undecided,
        Verdict::Unconfirmed,
    ];
    let mut fates = Vec::with_capacity(1000);
    let counted = allocation_counter::measure(|| {
        for verdict in verdicts.iter().cycle().take(1000) {
            let fate = of_verdict(verdict, &remote);
            let _ = (
                fate.category(),
                too_many_recipients(verdict),
                fate.is_hard_bounce(true),
            );
            fates.push(fate);
        }
    });
    assert_eq!((fates.len(), counted.count_total), (1000, 0));
}
