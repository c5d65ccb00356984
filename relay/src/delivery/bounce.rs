//! Reports to senders: RFC 3464 in the `multipart/report` of RFC 6522, built by lettre.
//!
//! One report per attempt names all recipients that failed in it, and those whose message went to a
//! server that will not report success although the sender asked for it (`relayed`, RFC 3461 section
//! 5.2.2). It has the null path (RFC 5321 section 4.5.5), a part that people read, a part that
//! programs read, and the headers of the message, or all of it where `RET=FULL` asked for it (case
//! B25). The server's words are given as they came.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use lettre::message::header::{
    ContentTransferEncoding, ContentType, Date, HeaderName, HeaderValue, Headers, InvalidHeaderName,
};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address as LettreAddress, Message, address};
use relay_queue::{Envelope, MessageId, NewMessage, Options, Timestamp, Work};
use relay_smtp::Address;
use relay_smtp::options::{GiveBack, OriginalRecipient, encode_unicode};

use super::outcome::{Fate, Kind};

/// Octets of a message that is given back whole; of a larger one only the headers are.
const WHOLE: usize = 1024 * 1024;
/// Octets of the original headers that are given back.
const HEADERS: usize = 64 * 1024;
/// Octets of one line of a diagnostic; RFC 5322 allows 998.
const DIAGNOSTIC: usize = 900;

/// Why a report cannot be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum BounceError {
    #[error("content type: {0}")]
    ContentType(#[from] lettre::message::header::ContentTypeErr),
    #[error("header name: {0}")]
    HeaderName(#[from] InvalidHeaderName),
    #[error("address: {0}")]
    Address(#[from] address::AddressError),
    #[error("message: {0}")]
    Message(#[from] lettre::error::Error),
}

/// A recipient and what became of it: failed, or relayed.
pub(super) struct Entry<'a> {
    pub(super) recipient: &'a Address,
    /// `ORCPT`.
    pub(super) original: Option<&'a OriginalRecipient>,
    pub(super) fate: &'a Fate,
}

impl Entry<'_> {
    pub(super) fn is_failure(&self) -> bool {
        self.fate.kind != Kind::Delivered
    }
}

/// What a report is made of.
pub(super) struct Report<'a> {
    /// Its own id.
    pub(super) id: MessageId,
    /// Name of this relay.
    pub(super) hostname: &'a str,
    /// Who is told.
    pub(super) sender: &'a Address,
    /// The message.
    pub(super) original: &'a Work,
    /// One or more.
    pub(super) entries: &'a [Entry<'a>],
    /// Content of the original.
    pub(super) content: &'a [Bytes],
    pub(super) now: Timestamp,
}

impl Report<'_> {
    fn has_failures(&self) -> bool {
        self.entries.iter().any(Entry::is_failure)
    }

    fn of(&self, failures: bool) -> impl Iterator<Item = &Entry<'_>> {
        let entries = self.entries.iter();
        entries.filter(move |entry| entry.is_failure() == failures)
    }
}

/// The report as a message for the queue.
pub(super) fn build(report: &Report<'_>) -> Result<NewMessage, BounceError> {
    // The address is only for people to see: nothing comes back to the null path.
    let daemon = LettreAddress::new("MAILER-DAEMON", report.hostname)
        .or_else(|_| LettreAddress::new("MAILER-DAEMON", "localhost"))?;
    let envelope = address::Envelope::new(None, vec![daemon.clone()])?;
    let parts = MultiPart::builder()
        .header(ContentType::parse(&format!(
            "multipart/report; report-type=delivery-status; boundary=\"{}\"",
            report.id
        ))?)
        .build()
        .singlepart(SinglePart::plain(for_people(report)))
        .singlepart(ascii_part("message/delivery-status", for_programs(report))?)
        .singlepart(given_back(report)?);
    let message = Message::builder()
        .from(Mailbox::new(Some("Mail Delivery System".into()), daemon))
        .raw_header(recipient_header(report.sender)?)
        .subject(if report.has_failures() {
            "Undelivered mail returned to sender"
        } else {
            "Mail relayed to the recipient's server"
        })
        .date(UNIX_EPOCH + Duration::from_millis(report.now.0))
        .message_id(Some(format!("<{}@{}>", report.id, report.hostname)))
        .raw_header(raw("Auto-Submitted", "auto-replied".into())?)
        .envelope(envelope)
        .multipart(parts)?;
    let content = Bytes::from(message.formatted());
    let utf8 = report.sender.is_utf8();
    Ok(NewMessage {
        id: report.id,
        envelope: Envelope {
            sender: None,
            recipients: vec![report.sender.clone()],
            accepted_at: report.now,
            eight_bit: !content.is_ascii(),
            smtputf8: utf8,
            identity: None,
            trace_parent: report.original.envelope.trace_parent.clone(),
            // RFC 8689 section 5: a report tells on the message.
            options: Options {
                require_tls: report.original.envelope.options.require_tls,
                ..Options::default()
            },
        },
        content: vec![content],
    })
}

/// `To`. Written as it is: encoded words may not stand in an address.
fn recipient_header(sender: &Address) -> Result<HeaderValue, BounceError> {
    let name = HeaderName::new_from_ascii("To".into())?;
    let text = format!("<{sender}>");
    Ok(HeaderValue::dangerous_new_pre_encoded(
        name,
        text.clone(),
        text,
    ))
}

fn raw(name: &str, value: String) -> Result<HeaderValue, BounceError> {
    Ok(HeaderValue::new(
        HeaderName::new_from_ascii(name.into())?,
        value,
    ))
}

fn ascii_part(kind: &str, text: String) -> Result<SinglePart, BounceError> {
    let body = Body::dangerous_pre_encoded(text.into_bytes(), ContentTransferEncoding::SevenBit);
    Ok(SinglePart::builder()
        .header(ContentType::parse(kind)?)
        .body(body))
}

/// The last part. `RET` is about failures alone (RFC 3461 section 4.3), and what must not go in clear
/// text does not go back whole (RFC 8689 section 5).
fn given_back(report: &Report<'_>) -> Result<SinglePart, BounceError> {
    let options = &report.original.envelope.options;
    let size: usize = report.content.iter().map(Bytes::len).sum();
    let whole = options.give_back == Some(GiveBack::Full)
        && !options.require_tls
        && report.has_failures()
        && size <= WHOLE;
    if !whole {
        return Ok(SinglePart::builder()
            .header(ContentType::parse("text/rfc822-headers")?)
            .body(Body::new(original_headers(report.content))));
    }
    let content = report.content.concat();
    // A message may not be encoded (RFC 2046 section 5.2.1); its headers may only be UTF-8 in one of
    // RFC 6532.
    let (kind, encoding) = if content.is_ascii() {
        ("message/rfc822", ContentTransferEncoding::SevenBit)
    } else if report.original.envelope.smtputf8 {
        ("message/global", ContentTransferEncoding::EightBit)
    } else {
        ("message/rfc822", ContentTransferEncoding::EightBit)
    };
    Ok(SinglePart::builder()
        .header(ContentType::parse(kind)?)
        .body(Body::dangerous_pre_encoded(content, encoding)))
}

fn for_people(report: &Report<'_>) -> String {
    let mut text = format!("This is the mail relay at {}.\r\n", report.hostname);
    if report.has_failures() {
        text.push_str(
            "\r\nYour message could not be delivered to the recipients below, and it will not be tried\r\n\
             again. The headers of the message are attached.\r\n",
        );
        for entry in report.of(true) {
            describe(entry, &mut text);
        }
    }
    if report.of(false).next().is_some() {
        text.push_str(
            "\r\nYour message was handed over for the recipients below, as you asked to be told. The\r\n\
             server that took it reports no delivery, so you may hear nothing more of it.\r\n",
        );
        for entry in report.of(false) {
            describe(entry, &mut text);
        }
    }
    // Writing to memory does not fail.
    let _ = write!(
        text,
        "\r\nThe relay knows the message as {}.\r\n",
        report.original.id
    );
    text
}

fn describe(
    Entry {
        recipient, fate, ..
    }: &Entry<'_>,
    text: &mut String,
) {
    let _ = write!(text, "\r\n<{recipient}>\r\n");
    if fate.is_late() {
        text.push_str(
            "    The time is over by which the message was to be delivered. The last attempt:\r\n",
        );
    } else if fate.expired {
        text.push_str(
            "    The message was tried for as long as the relay is set to. The last attempt:\r\n",
        );
    }
    match (&fate.remote, &fate.reply) {
        (Some(remote), Some((stage, reply))) => {
            let _ = write!(
                text,
                "    {} [{}] said in reply to {}:\r\n    {reply}\r\n",
                remote.host,
                remote.address.ip(),
                stage.name()
            );
        }
        (Some(remote), None) => {
            let _ = write!(
                text,
                "    {} [{}]: {}\r\n",
                remote.host,
                remote.address.ip(),
                fate.text
            );
        }
        (None, _) => {
            let _ = write!(text, "    {}\r\n", fate.diagnostic());
        }
    }
}

/// RFC 3464 section 2: one block about the message, then one per recipient.
fn for_programs(report: &Report<'_>) -> String {
    let envelope = &report.original.envelope;
    let arrival = date(envelope.accepted_at);
    let mut text = String::new();
    if let Some(id) = &envelope.options.envelope_id {
        let _ = write!(text, "Original-Envelope-Id: {}\r\n", ascii(id));
    }
    let _ = write!(
        text,
        "Reporting-MTA: dns; {}\r\nX-Queue-Id: {}\r\nArrival-Date: {arrival}\r\n",
        report.hostname, report.original.id
    );
    for entry in report.entries {
        text.push_str("\r\n");
        about_recipient(entry, report.now, &mut text);
    }
    text
}

/// RFC 3464 section 2.3.
fn about_recipient(entry: &Entry<'_>, now: Timestamp, text: &mut String) {
    let fate = entry.fate;
    if let Some(original) = entry.original {
        let _ = write!(
            text,
            "Original-Recipient: {}\r\n",
            ascii(&original.to_field())
        );
    }
    let action = if entry.is_failure() {
        "failed"
    } else {
        "relayed"
    };
    let _ = write!(
        text,
        "Final-Recipient: {}\r\nAction: {action}\r\nStatus: {}\r\n",
        typed_address(entry.recipient),
        fate.status
    );
    if let Some(remote) = &fate.remote {
        let _ = write!(text, "Remote-MTA: dns; {}\r\n", remote.host);
    }
    let kind = if fate.reply.is_some() {
        "smtp"
    } else {
        "x-relay"
    };
    let _ = write!(
        text,
        "Diagnostic-Code: {kind}; {}\r\nLast-Attempt-Date: {}\r\n",
        ascii(&fate.diagnostic()),
        date(now)
    );
}

/// RFC 6533 section 3 for addresses that are not ASCII, in the form that fits a 7-bit part.
fn typed_address(address: &Address) -> String {
    let text = address.as_str();
    if text.is_ascii() {
        return format!("rfc822; {text}");
    }
    format!("utf-8; {}", encode_unicode(text))
}

/// One line of ASCII.
fn ascii(text: &str) -> String {
    text.chars()
        .take(DIAGNOSTIC)
        .map(|character| match character {
            ' '..='~' => character,
            _ => '?',
        })
        .collect()
}

/// RFC 5322 date in UTC.
fn date(timestamp: Timestamp) -> String {
    let mut headers = Headers::new();
    headers.set(Date::new(UNIX_EPOCH + Duration::from_millis(timestamp.0)));
    headers.get_raw("Date").unwrap_or_default().to_owned()
}

/// The headers, without the empty line after them; cut between two lines if there are too many.
fn original_headers(content: &[Bytes]) -> String {
    let mut headers = Vec::new();
    for piece in content {
        headers.extend_from_slice(piece);
        if headers.len() > HEADERS || memchr::memmem::find(&headers, b"\r\n\r\n").is_some() {
            break;
        }
    }
    let end = memchr::memmem::find(&headers, b"\r\n\r\n").map_or(headers.len(), |end| end + 2);
    headers.truncate(end);
    if headers.len() > HEADERS {
        let end =
            memchr::memmem::rfind(&headers[..HEADERS], b"\r\n").map_or(HEADERS, |end| end + 2);
        headers.truncate(end);
    }
    String::from_utf8_lossy(&headers).into_owned()
}

#[cfg(test)]
mod tests;
