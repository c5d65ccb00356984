//! Reports of failure: RFC 3464 in the `multipart/report` of RFC 6522, built by lettre.
//!
//! One report per attempt names all recipients that failed in it. It has the null path (RFC 5321
//! section 4.5.5), a part that people read, a part that programs read, and the headers of the
//! message (case B25). The server's words are given as they came.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use lettre::message::header::{
    ContentTransferEncoding, ContentType, Date, HeaderName, HeaderValue, Headers, InvalidHeaderName,
};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address as LettreAddress, Message, address};
use relay_queue::{Envelope, MessageId, NewMessage, Timestamp, Work};
use relay_smtp::Address;

use super::outcome::Fate;

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

/// A recipient that failed, and why.
pub(super) struct Failed<'a> {
    pub(super) recipient: &'a Address,
    pub(super) fate: &'a Fate,
}

/// What a report is made of.
pub(super) struct Report<'a> {
    /// Its own id.
    pub(super) id: MessageId,
    /// Name of this relay.
    pub(super) hostname: &'a str,
    /// Who is told.
    pub(super) sender: &'a Address,
    /// What failed.
    pub(super) original: &'a Work,
    pub(super) failed: &'a [Failed<'a>],
    /// Content of the original.
    pub(super) content: &'a [Bytes],
    pub(super) now: Timestamp,
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
        .singlepart(
            SinglePart::builder()
                .header(ContentType::parse("text/rfc822-headers")?)
                .body(Body::new(original_headers(report.content))),
        );
    let message = Message::builder()
        .from(Mailbox::new(Some("Mail Delivery System".into()), daemon))
        .raw_header(recipient_header(report.sender)?)
        .subject("Undelivered mail returned to sender")
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

fn for_people(report: &Report<'_>) -> String {
    let mut text = String::new();
    // Writing to memory does not fail.
    let _ = write!(
        text,
        "This is the mail relay at {}.\r\n\r\n\
         Your message could not be delivered to the recipients below, and it will not be tried\r\n\
         again. The headers of the message are attached.\r\n",
        report.hostname
    );
    for Failed { recipient, fate } in report.failed {
        let _ = write!(text, "\r\n<{recipient}>\r\n");
        if fate.expired {
            let _ = write!(
                text,
                "    The message was tried for as long as the relay is set to. The last attempt:\r\n"
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
    let _ = write!(
        text,
        "\r\nThe relay knows the message as {}.\r\n",
        report.original.id
    );
    text
}

/// RFC 3464 section 2: one block about the message, then one per recipient.
fn for_programs(report: &Report<'_>) -> String {
    let arrival = date(report.original.envelope.accepted_at);
    let mut text = format!(
        "Reporting-MTA: dns; {}\r\nX-Queue-Id: {}\r\nArrival-Date: {arrival}\r\n",
        report.hostname, report.original.id
    );
    for Failed { recipient, fate } in report.failed {
        let _ = write!(
            text,
            "\r\nFinal-Recipient: {}\r\nAction: failed\r\nStatus: {}\r\n",
            typed_address(recipient),
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
            "Diagnostic-Code: {kind}; {}\r\n",
            ascii(&fate.diagnostic())
        );
        let _ = write!(text, "Last-Attempt-Date: {}\r\n", date(report.now));
    }
    text
}

/// RFC 6533 section 3 for addresses that are not ASCII, in the form that fits a 7-bit part.
fn typed_address(address: &Address) -> String {
    let text = address.as_str();
    if text.is_ascii() {
        return format!("rfc822; {text}");
    }
    let mut typed = String::from("utf-8; ");
    for character in text.chars() {
        if matches!(character, '!'..='~') && !matches!(character, '\\' | '+' | '=') {
            typed.push(character);
        } else {
            let _ = write!(typed, "\\x{{{:X}}}", u32::from(character));
        }
    }
    typed
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
