use proptest::prelude::*;
use relay_queue::{MessageId, Timestamp};

use super::*;

mod author;

fn domains() -> HashMap<String, Arc<SendingDomain>> {
    let domain = SendingDomain::for_test("shop.example", &["credential:shop/checkout"]);
    [("shop.example".into(), Arc::new(domain))].into()
}

fn origin() -> Origin {
    Origin {
        session: crate::session::SessionId::random(),
        listener: "submission".into(),
        peer: "192.0.2.7:4711".parse().unwrap(),
        client_name: "app".into(),
        protocol: "ESMTPA",
        identity: Some("credential:shop/checkout".into()),
        tls: None,
    }
}

fn draft(content: &str) -> Result<Draft, Denial> {
    let message = message(content);
    let stamp = Stamp {
        hostname: "outbox.example",
        instance: "outbox-0",
        hide_clients: false,
        id: MessageId::new(Timestamp(1_790_000_000_000), 5),
        now: Timestamp(1_790_000_000_000),
    };
    prepare(&message, &origin(), &domains(), stamp)
}

/// With clients hidden.
fn hidden(received: &str) -> String {
    let message = message(received);
    let stamp = Stamp {
        hostname: "outbox.example",
        instance: "outbox-0",
        hide_clients: true,
        id: MessageId(1),
        now: Timestamp(0),
    };
    let draft = prepare(&message, &origin(), &domains(), stamp)
        .ok()
        .unwrap();
    let pieces = pieces(&message.content, draft).unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

fn message(content: &str) -> Message {
    let longest_line = content
        .split("\r\n")
        .map(str::len)
        .max()
        .unwrap_or_default();
    Message {
        sender: Some(Address::parse("orders@shop.example").unwrap()),
        recipients: vec![Address::parse("bob@dest.example").unwrap()],
        eight_bit: false,
        smtputf8: false,
        content: Bytes::from(content.to_owned()),
        longest_line,
        ..Message::default()
    }
}

/// All pieces, converted as far as it needs.
fn pieces(received: &Bytes, draft: Draft) -> Result<Vec<Bytes>, Obstacle> {
    let conversion = match draft.need {
        Some(need) => mime::convert(received, need)?,
        None => Vec::new(),
    };
    Ok(draft.content(received, conversion))
}

/// The content after the `Received` field.
fn content(received: &str) -> String {
    let draft = draft(received)
        .map_err(|denial| denial.answer.to_string())
        .unwrap();
    let pieces = pieces(&Bytes::from(received.to_owned()), draft).unwrap();
    let whole = String::from_utf8(pieces.concat()).unwrap();
    let (trace, rest) = whole.split_once("+0000\r\n").unwrap();
    assert!(trace.starts_with("Received: from app ([192.0.2.7])\r\n"));
    rest.to_owned()
}

fn refusal(received: &str) -> (&'static str, String) {
    match draft(received) {
        Ok(_) => panic!("accepted: {received:?}"),
        Err(denial) => (denial.reason, denial.answer.to_string()),
    }
}

const COMPLETE: &str = "From: a@shop.example\r\nDate: Mon, 21 Sep 2026 14:13:20 +0000\r\nMessage-ID: <1@shop.example>\r\n";

#[test]
fn a_complete_message_gets_a_trace_and_nothing_else() {
    let message = format!("{COMPLETE}\r\nhello\r\n");
    assert_eq!(content(&message), message);
}

#[test]
fn white_space_before_a_colon_goes_since_not_every_verifier_reads_it() {
    let message = format!("{COMPLETE}Subject \t: a : b\r\nX-Mark : \r\n : c\r\n\r\nd : e\r\n");
    let tidy = format!("{COMPLETE}Subject: a : b\r\nX-Mark: \r\n : c\r\n\r\nd : e\r\n");
    assert_eq!(content(&message.replacen("From:", "From :", 1)), tidy);
}

#[test]
fn the_body_is_not_copied() {
    let received = Bytes::from(format!("{COMPLETE}\r\nhello\r\n"));
    let message = Message {
        sender: None,
        recipients: vec![Address::parse("bob@dest.example").unwrap()],
        eight_bit: false,
        smtputf8: false,
        content: received.clone(),
        longest_line: 50,
        ..Message::default()
    };
    let stamp = Stamp {
        hostname: "h",
        instance: "i",
        hide_clients: false,
        id: MessageId(1),
        now: Timestamp(0),
    };
    let draft = prepare(&message, &origin(), &domains(), stamp)
        .ok()
        .unwrap();
    let pieces = pieces(&received, draft).unwrap();
    assert_eq!(pieces.last().unwrap().as_ptr(), received.as_ptr());
}

#[test]
fn r48_k13_a_missing_date_and_message_id_are_added() {
    assert_eq!(
        content("From: a@shop.example\r\n\r\nhello\r\n"),
        format!(
            "Date: Mon, 21 Sep 2026 14:13:20 +0000\r\nMessage-ID: <{}@shop.example>\r\nFrom: \
             a@shop.example\r\n\r\nhello\r\n",
            MessageId::new(Timestamp(1_790_000_000_000), 5)
        )
    );
    assert!(content("from: a@shop.example\r\nDATE: x\r\n\r\n").starts_with("Message-ID: "));
}

#[test]
fn r50_bcc_is_removed_wherever_and_however_it_stands() {
    for message in [
        format!("Bcc: x@y.example\r\n{COMPLETE}\r\nBcc: body\r\n"),
        format!("{COMPLETE}BCC : x@y.example,\r\n\tz@y.example\r\n\r\nBcc: body\r\n"),
        format!(
            "bcc:\r\n{COMPLETE}Bcc: x@y.example\r\nResent-Bcc: q@y.example\r\n\r\nBcc: body\r\n"
        ),
    ] {
        assert_eq!(content(&message), format!("{COMPLETE}\r\nBcc: body\r\n"));
    }
}

#[test]
fn a_message_that_is_all_header_gets_its_empty_line() {
    assert_eq!(content(COMPLETE), format!("{COMPLETE}\r\n"));
    assert_eq!(
        content(&format!("{COMPLETE}Bcc: x@y\r\n")),
        format!("{COMPLETE}\r\n")
    );
    assert_eq!(
        content(&format!("{COMPLETE}\r\n")),
        format!("{COMPLETE}\r\n")
    );
}

#[test]
fn l1_l2_a_body_line_over_998_octets_is_encoded_and_no_other_line_changes() {
    let at_limit = format!("{COMPLETE}\r\n{}\r\n", "x".repeat(998));
    assert_eq!(content(&at_limit), at_limit);
    let out = content(&format!("{COMPLETE}\r\n{}\r\n", "x".repeat(999)));
    let start = format!(
        "{COMPLETE}Content-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n\r\nxxx"
    );
    assert!(out.starts_with(&start), "{out}");
    assert!(
        out.lines()
            .all(|line| line.len() <= 76 || COMPLETE.contains(line))
    );
}

#[test]
fn l3_k12_header_lines_over_998_octets_are_folded_and_others_stay_octet_for_octet() {
    let references = "<1@shop.example> ".repeat(70);
    let others = format!("Cc:A <a@x>,B <b@x>\r\nSubject: {}\r\n", "w ".repeat(494));
    let received = format!("{others}References: {references}x\r\n{COMPLETE}\r\nhello\r\n");
    let out = content(&received);
    assert!(out.starts_with(&others) && out.ends_with(&format!("{COMPLETE}\r\nhello\r\n")));
    assert_eq!(out.replace("\r\n ", " "), received);
    // A Bcc goes, however long.
    let bcc = format!("Bcc:{}\r\n{COMPLETE}\r\n", "x".repeat(2000));
    assert_eq!(content(&bcc), format!("{COMPLETE}\r\n"));
}

#[test]
fn l1_l3_what_cannot_be_encoded_anew_is_refused_with_the_remedy() {
    let long = "x".repeat(1200);
    for (text, cause) in [
        (
            format!(
                "Content-Type: multipart/signed; boundary=b\r\n{COMPLETE}\r\n--b\r\n\r\n{long}\r\n--b--\r\n"
            ),
            "multipart/signed",
        ),
        (
            format!("X-Token: {long}\r\n{COMPLETE}\r\n"),
            "header field X-Token",
        ),
    ] {
        let obstacle = pieces(&Bytes::from(text.clone()), draft(&text).ok().unwrap()).unwrap_err();
        let denial = unconvertible(&message(&text), &obstacle);
        let reply = denial.answer.to_string();
        assert_eq!(denial.reason, "line_too_long");
        assert!(reply.starts_with("554 5.6.0 a line has 12"), "{reply}");
        assert!(
            reply.contains(cause) && reply.contains("quoted-printable"),
            "{reply}"
        );
    }
}

#[test]
fn l4_a_long_message_of_short_lines_is_left_alone() {
    let message = format!(
        "{COMPLETE}\r\n{}",
        format!("{}\r\n", "x".repeat(98)).repeat(20)
    );
    assert_eq!(content(&message), message);
}

#[test]
fn a_loop_is_seen_after_a_hundred_servers() {
    let hops = |number: usize| format!("{}{COMPLETE}\r\n", "Received: by x; y\r\n".repeat(number));
    assert!(draft(&hops(100)).is_ok());
    let (reason, reply) = refusal(&hops(101));
    assert_eq!((reason, &reply[..9]), ("mail_loop", "554 5.4.6"));
}

#[test]
fn a_circle_through_this_relay_is_seen_after_five_times() {
    let returns = |number: usize| {
        let hop = "Received: from x\r\n\tby Outbox.example (outbox-1) with SMTP; y\r\n";
        format!(
            "{}Received: by other.example; y\r\n{COMPLETE}\r\n",
            hop.repeat(number)
        )
    };
    assert!(draft(&returns(5)).is_ok());
    let (reason, reply) = refusal(&returns(6));
    assert_eq!((reason, &reply[..9]), ("mail_loop", "554 5.4.6"));
    assert!(
        reply.contains("outbox.example more than 5 times"),
        "{reply}"
    );
}

#[test]
fn hidden_clients_are_named_nowhere_and_their_hops_still_count() {
    let received = format!(
        "Received: from pod-7 ([10.1.2.3])\r\n\tby sidecar; Mon, 21 Sep 2026 14:13:20 +0000\r\n\
         X-Originating-IP: [10.1.2.3]\r\nReceived: by outbox.example with ESMTPA id 7;\r\n\tx\r\n{COMPLETE}\r\nhello\r\n"
    );
    let out = hidden(&received);
    let (trace, rest) = out.split_once("+0000\r\n").unwrap();
    assert!(
        trace.starts_with("Received: by outbox.example with ESMTPA id "),
        "{trace}"
    );
    assert!(!trace.contains("outbox-0") && !trace.contains("192.0.2.7"));
    assert_eq!(
        rest,
        format!(
            "Received: by hidden.invalid;\r\n\tMon, 21 Sep 2026 14:13:20 +0000\r\n\
             Received: by outbox.example with ESMTPA id 7;\r\n\tx\r\n{COMPLETE}\r\nhello\r\n"
        )
    );
}

#[test]
fn authors_are_judged_and_malformed_headers_refused() {
    for (message, reason, reply) in [
        (
            "From: a@bank.example\r\n\r\n",
            "domain_unknown",
            "550 5.7.1 header From: bank.example",
        ),
        (
            "From: a@shop.example, b@bank.example\r\n\r\n",
            "domain_unknown",
            "550 5.7.1",
        ),
        (
            "Subject: x\r\n\r\nFrom: a@shop.example\r\n",
            "from_missing",
            "554 5.6.0",
        ),
        ("", "from_missing", "554 5.6.0"),
        (
            "From: a@shop.example\r\nFrom: b@shop.example\r\n\r\n",
            "from_malformed",
            "554 5.6.0",
        ),
        (
            "From: b@bank.example <a@shop.example>\r\n\r\n",
            "from_malformed",
            "554 5.6.0",
        ),
        (
            "From: a@shop.example\r\nhello\r\n",
            "header_malformed",
            "554 5.6.0 line 2 of the header",
        ),
    ] {
        let (found, text) = refusal(message);
        assert_eq!(found, reason, "{message:?}");
        assert!(text.starts_with(reply), "{text}");
    }
}

#[test]
fn a_trace_context_of_the_application_is_taken_over() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let message = format!("{COMPLETE}Traceparent: {parent}\r\n\r\n");
    let found = draft(&message).ok().unwrap().parent.unwrap();
    assert_eq!(found.span_id().to_string(), "b7ad6b7169203331");
    assert!(
        draft(&format!("{COMPLETE}\r\n"))
            .ok()
            .unwrap()
            .parent
            .is_none()
    );
}

proptest! {
    #[test]
    fn any_message_is_refused_or_keeps_all_but_bcc(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "From: a@shop.example\r\n", "Bcc: x@y.example\r\n", "Date: now\r\n", "X: 1\r\n", "\t2\r\n",
            " bcc: 3\r\n", "\r\n", "text\r\n", "From: \"a\" <b@shop.example>\r\n", "resent-bcc:\r\n",
        ]), 0..12),
    ) {
        let received = pieces.concat();
        if draft(&received).is_ok() {
            // What is left, read the slow way: fields without Bcc and its folds, then the body.
            let (header, body) = match received.find("\r\n\r\n") {
                Some(end) => received.split_at(end + 2),
                None => (received.as_str(), "\r\n"),
            };
            let mut expected = String::new();
            let mut kept = true;
            for line in header.split_inclusive("\r\n") {
                if !line.starts_with([' ', '\t']) {
                    let name = line.split(':').next().unwrap().to_lowercase();
                    kept = name != "bcc" && name != "resent-bcc";
                }
                if kept {
                    expected += line;
                }
            }
            prop_assert!(content(&received).ends_with(&(expected + body)));
        }
    }
}

#[test]
fn a_tag_is_read_and_does_not_go_on() {
    let message = format!("{COMPLETE}X-MailRelay-Tag: bulk.2026-11\r\n\r\nhello\r\n");
    assert_eq!(content(&message), format!("{COMPLETE}\r\nhello\r\n"));
    let draft = draft(&message).ok().unwrap();
    assert_eq!(draft.tag.as_deref(), Some("bulk.2026-11"));
}

#[test]
fn a_tag_that_no_route_could_name_is_refused() {
    let long = "x".repeat(65);
    for value in [
        "",
        "two words",
        "gr\u{e5}",
        "a,b",
        &long,
        "a\r\nX-Mailrelay-Tag: b",
    ] {
        let message = format!("{COMPLETE}X-Mailrelay-Tag: {value}\r\n\r\nhello\r\n");
        let (reason, reply) = refusal(&message);
        assert_eq!(reason, "tag_malformed", "{value:?}");
        assert!(
            reply.contains("X-Mailrelay-Tag header must stand once"),
            "{reply}"
        );
    }
}
