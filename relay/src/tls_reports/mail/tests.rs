//! The mail around a report.

use super::*;

#[test]
fn hostile_addresses_and_domains_put_nothing_into_the_header() {
    let submitter = Submitter {
        organization: "The Shop\r\nBcc: x@y.test".into(),
        contact: "postmaster@shop.example".into(),
        domain: "shop.example".into(),
    };
    let document = Document {
        id: "1@shop.example".into(),
        file: "x.json.gz".into(),
        gzip: vec![0x1f, 0x8b, 0, 0xff],
        sessions: (1, 2),
    };
    let from = Address::parse("tls@shop.example").unwrap();
    let to = [
        Address::parse("\"a b\"@a.test").unwrap(),
        Address::parse("tls@a.test").unwrap(),
    ];
    let letter = Letter {
        id: MessageId::new(Timestamp(1_790_000_000_000), 7),
        from: &from,
        to: &to,
        submitter: &submitter,
        domain: "a.test",
        document: &document,
        now: Timestamp(1_790_000_000_000),
    };
    let message = build(&letter).unwrap();
    assert_eq!(message.envelope.sender, None);
    assert_eq!(message.envelope.recipients, to);
    assert!(message.envelope.options.tls_report && message.envelope.options.tls_optional);
    let text = String::from_utf8(message.content.concat()).unwrap();
    let (header, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(!header.contains("Bcc"), "{header}");
    assert!(
        header.contains("\r\nTLS-Report-Domain: a.test\r\n"),
        "{header}"
    );
    assert!(
        body.contains("Content-Type: application/tlsrpt+gzip\r\n"),
        "{body}"
    );
    assert!(body.contains("filename=\"x.json.gz\""), "{body}");
    // Base 64 of the four octets.
    assert!(body.contains("\r\n\r\nH4sA/w==\r\n"), "{body}");
}
