use super::*;
use proptest::prelude::*;

/// All replies in `octets`, given at once.
fn parse(octets: &[u8]) -> Result<Vec<Reply>, ReplyError> {
    let mut parser = ReplyParser::default();
    parser.feed(octets);
    let mut replies = Vec::new();
    while let Some(reply) = parser.next_reply()? {
        replies.push(reply);
    }
    Ok(replies)
}

fn one(octets: &[u8]) -> Reply {
    let mut replies = parse(octets).unwrap();
    assert_eq!(replies.len(), 1, "{replies:?}");
    replies.remove(0)
}

#[test]
fn b10_of_differing_codes_the_last_wins() {
    let reply = one(b"220-mx.example\r\n521 blocked\r\n");
    assert_eq!(reply.code(), 521);
    assert_eq!(reply.to_string(), "521 mx.example blocked");
}

#[test]
fn b11_a_last_line_without_text_is_a_reply() {
    for octets in [
        &b"220-mx.example\r\n220\r\n"[..],
        b"220-mx.example\r\n220 \r\n",
    ] {
        assert_eq!(one(octets).to_string(), "220 mx.example");
    }
    assert_eq!(one(b"250\r\n").code(), 250);
}

#[test]
fn b12_enhanced_codes_of_all_lines_become_one_and_the_texts_are_joined() {
    let reply = one(b"550-5.1.1 The account\r\n550-5.1.1 does not\r\n550 5.1.1 exist.\r\n");
    assert_eq!(reply.enhanced(), Some(EnhancedCode::new(5, 1, 1)));
    assert_eq!(reply.text(), "The account does not exist.");
    assert_eq!(reply.to_string(), "550 5.1.1 The account does not exist.");
}

#[test]
fn codes_outside_of_the_rfc_and_long_details_are_kept() {
    let reply = one(b"571 5.7.509 Access denied\r\n");
    assert_eq!(reply.code(), 571);
    assert_eq!(reply.enhanced(), Some(EnhancedCode::new(5, 7, 509)));
    assert_eq!(reply.to_string(), "571 5.7.509 Access denied");
}

#[test]
fn an_enhanced_code_of_another_class_does_not_count() {
    let reply = one(b"550 4.2.1 try later\r\n");
    assert_eq!(reply.enhanced(), None);
    assert_eq!(reply.to_string(), "550 4.2.1 try later");
}

#[test]
fn text_that_only_looks_like_an_enhanced_code_stays_text() {
    for text in [
        "5.1",
        "5.1.1.1 x",
        "3.1.1 x",
        "5.1111.1 x",
        "5..1 x",
        "5.1.1x",
    ] {
        let reply = one(format!("550 {text}\r\n").as_bytes());
        assert_eq!(reply.enhanced(), None, "{text}");
        assert_eq!(reply.text(), text);
    }
}

#[test]
fn what_cannot_be_printed_is_made_printable() {
    let reply = one(b"550 b\xe4d \x1b[31m\x00 \xe2\x80\xae name\r\n");
    assert_eq!(reply.text(), "b\u{fffd}d ?[31m? ? name");
}

#[test]
fn octets_may_come_one_by_one_and_lines_may_end_in_a_bare_line_feed() {
    let mut parser = ReplyParser::default();
    let mut replies = Vec::new();
    for octet in b"250-a\n250 b\r\n354 go\r\n" {
        parser.feed(&[*octet]);
        while let Some(reply) = parser.next_reply().unwrap() {
            replies.push(reply.to_string());
        }
    }
    assert_eq!(replies, ["250 a b", "354 go"]);
    assert!(parser.is_empty());
}

#[test]
fn what_is_no_reply_is_an_error() {
    for octets in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"\r\n",
        b"25\r\n",
        b"199 x\r\n",
        b"600 x\r\n",
        b"250\tx\r\n",
        b"2500 x\r\n",
        b"220-ok\r\nhello\r\n",
        b"\xff\xfe\r\n",
    ] {
        assert!(
            matches!(parse(octets), Err(ReplyError::Malformed(_))),
            "{octets:?}"
        );
    }
}

#[test]
fn a_reply_without_end_is_cut_off() {
    let mut parser = ReplyParser::default();
    parser.feed(&vec![b'2'; REPLY_LIMIT + 1]);
    assert_eq!(parser.next_reply(), Err(ReplyError::TooLong));

    let mut parser = ReplyParser::default();
    let endless = (0..).find_map(|_| {
        parser.feed(b"250-and more\r\n");
        parser.next_reply().err()
    });
    assert_eq!(endless, Some(ReplyError::TooLong));
}

#[test]
fn kept_text_is_bounded() {
    let line = format!("250 {}\r\n", "\u{e5}".repeat(10_000));
    let reply = one(line.as_bytes());
    assert!(reply.text().len() <= TEXT_LIMIT + 3);
}

#[test]
fn a_cleared_parser_forgets_all() {
    let mut parser = ReplyParser::default();
    parser.feed(b"250-half\r\n250 injected\r\n250");
    parser.clear();
    assert!(parser.is_empty());
    parser.feed(b"220 fresh\r\n");
    assert_eq!(
        parser.next_reply().unwrap().unwrap().to_string(),
        "220 fresh"
    );
}

proptest! {
    #[test]
    fn any_octets_are_refused_or_become_printable_replies(
        octets in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        if let Ok(replies) = parse(&octets) {
            for reply in replies {
                prop_assert!(!reply.to_string().chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn likely_octets_give_the_same_however_they_are_cut(
        text in "(25[0-9]|55[0-9])[ -][2459.a ]{0,9}\r?\n(25[0-9]|55[0-9]) [2459.a ]{0,9}\r\n",
        cut in 0_usize..20,
    ) {
        let octets = text.as_bytes();
        let cut = cut.min(octets.len());
        let mut parser = ReplyParser::default();
        let mut replies = Vec::new();
        for part in [&octets[..cut], &octets[cut..]] {
            parser.feed(part);
            while let Ok(Some(reply)) = parser.next_reply() {
                replies.push(reply);
            }
        }
        prop_assert_eq!(parse(octets).unwrap(), replies);
    }
}
