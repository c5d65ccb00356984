//! `From`, `Sender` and `Resent-` fields: who may stand there, and who is put there.

use super::*;

/// What goes out of a message where the domain says whether authors are replaced, without the trace.
fn sent(rewrite: bool, header: &str) -> Result<String, String> {
    let mut domain = SendingDomain::for_test("shop.example", &["credential:shop/checkout"]);
    domain.rewrite_from = rewrite.then(|| Address::parse("noreply@shop.example").unwrap());
    let domains = [("shop.example".into(), Arc::new(domain))].into();
    let message = Message {
        sender: Some(Address::parse("orders@shop.example").unwrap()),
        recipients: vec![Address::parse("bob@dest.example").unwrap()],
        eight_bit: false,
        smtputf8: false,
        content: Bytes::from(format!("{header}{DATED}\r\nhello\r\n")),
        longest_line: 80,
        ..Message::default()
    };
    let stamp = Stamp {
        hostname: "outbox.example",
        instance: "outbox-0",
        hide_clients: false,
        id: MessageId::new(Timestamp(1_790_000_000_000), 5),
        now: Timestamp(1_790_000_000_000),
    };
    let draft = prepare(&message, &origin(), &domains, stamp)
        .map_err(|denial| denial.answer.to_string())?;
    let whole = String::from_utf8(draft.content(&message.content, Vec::new()).concat()).unwrap();
    let (_, rest) = whole.split_once("+0000\r\n").unwrap();
    Ok(rest.replace(DATED, ""))
}

const DATED: &str = "Date: Mon, 21 Sep 2026 14:13:20 +0000\r\nMessage-ID: <1@shop.example>\r\n";

#[test]
fn an_author_who_may_not_stands_in_reply_to_where_the_domain_replaces_him() {
    let foreign = "From: Root <root@web-7.local.example>\r\nSubject: x\r\n";
    assert_eq!(
        sent(true, foreign).as_deref(),
        Ok(
            "From: noreply@shop.example\r\nReply-To: Root <root@web-7.local.example>\r\n\
             Subject: x\r\n\r\nhello\r\n"
        )
    );
    // Answers go where the application says.
    let answered = format!("{foreign}Reply-To: desk@shop.example\r\nSender: a@bank.example\r\n");
    assert_eq!(
        sent(true, &answered).as_deref(),
        Ok(
            "From: noreply@shop.example\r\nSubject: x\r\nReply-To: desk@shop.example\r\n\
             \r\nhello\r\n"
        )
    );
    assert!(sent(false, foreign).unwrap_err().starts_with("550 5.7.1"));
    // Who may stand there stays.
    let own = "From: desk@shop.example\r\n";
    for rewrite in [true, false] {
        assert_eq!(sent(rewrite, own), Ok(format!("{own}\r\nhello\r\n")));
    }
    // What cannot be read is not replaced either.
    let two = "From: a@shop.example\r\nFrom: b@bank.example\r\n";
    assert!(sent(true, two).unwrap_err().starts_with("554 5.6.0"));
}

#[test]
fn senders_and_those_who_send_again_are_judged_like_authors() {
    let with = |fields: &str| sent(false, &format!("From: desk@shop.example\r\n{fields}"));
    for good in [
        "Sender: Robot <robot@shop.example>\r\n",
        "Resent-From: desk@shop.example\r\nResent-Sender: robot@shop.example\r\n",
        "Resent-From: a@shop.example\r\nResent-From: b@shop.example\r\n",
    ] {
        assert!(with(good).is_ok(), "{good}");
    }
    for (bad, reply) in [
        (
            "Sender: boss@bank.example\r\n",
            "550 5.7.1 header Sender: bank.example",
        ),
        (
            "Resent-From: a@shop.example\r\nResent-From: boss@bank.example\r\n",
            "550 5.7.1 header Resent-From: bank.example",
        ),
        (
            "Resent-Sender: boss@bank.example\r\n",
            "550 5.7.1 header Resent-From: bank.example",
        ),
        ("Sender: a@shop.example, b@shop.example\r\n", "554 5.6.0"),
        (
            "Sender: a@shop.example\r\nSender: b@shop.example\r\n",
            "554 5.6.0",
        ),
        (
            "Sender: a@shop.example <boss@bank.example>\r\n",
            "554 5.6.0",
        ),
    ] {
        let refusal = with(bad).unwrap_err();
        assert!(refusal.starts_with(reply), "{bad} {refusal}");
    }
}
