//! Reports to senders: RFC 3464 in the `multipart/report` of RFC 6522, built by lettre.
//!
//! One report per attempt names the recipients that failed in it, those whose message is late (once
//! per message), and those whose message went to a server that will not report success although the
//! sender asked for it (`relayed`, RFC 3461 section 5.2.2). There is no `delivered`: the relay has no
//! mailboxes. A report has the null path (RFC 5321 section 4.5.5), a part that people read, a part
//! that programs read, and the headers of the message, or all of it where `RET=FULL` asked for it
//! (case B25). The server's words are given as they came.
//!
//! A message that needed SMTPUTF8 is reported in the forms of RFC 6533, in which addresses, words and
//! headers stand in UTF-8; any other in ASCII, so that every server on the way back takes it.

mod original;
mod people;
mod programs;

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use lettre::message::header::{
    ContentTransferEncoding, ContentType, Date, HeaderName, HeaderValue, Headers, InvalidHeaderName,
};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address as LettreAddress, Message, address};
use relay_queue::{Envelope, MessageId, NewMessage, Options, Timestamp, Work};
use relay_smtp::Address;
use relay_smtp::options::OriginalRecipient;

use super::outcome::{Fate, Kind};
use original::Original;

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

/// What a report says of a recipient (RFC 3464 section 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Failed,
    Delayed,
    Relayed,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Relayed => "relayed",
        }
    }
}

/// A recipient and what became of it.
pub(super) struct Entry<'a> {
    pub(super) recipient: &'a Address,
    /// `ORCPT`.
    pub(super) original: Option<&'a OriginalRecipient>,
    pub(super) fate: &'a Fate,
}

impl Entry<'_> {
    pub(super) fn action(&self) -> Action {
        match self.fate.kind {
            Kind::Failed => Action::Failed,
            Kind::Deferred => Action::Delayed,
            Kind::Delivered => Action::Relayed,
        }
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
    /// Until when late recipients are tried.
    pub(super) retried_until: Timestamp,
    pub(super) now: Timestamp,
}

impl Report<'_> {
    fn of(&self, action: Action) -> impl Iterator<Item = &Entry<'_>> {
        let entries = self.entries.iter();
        entries.filter(move |entry| entry.action() == action)
    }

    fn has(&self, action: Action) -> bool {
        self.of(action).next().is_some()
    }

    /// The gravest thing that it says.
    pub(super) fn gravest(&self) -> Action {
        if self.has(Action::Failed) {
            Action::Failed
        } else if self.has(Action::Delayed) {
            Action::Delayed
        } else {
            Action::Relayed
        }
    }
}

/// The report as a message for the queue.
pub(super) fn build(report: &Report<'_>) -> Result<NewMessage, BounceError> {
    // The address is only for people to see: nothing comes back to the null path.
    let daemon = LettreAddress::new("MAILER-DAEMON", report.hostname)
        .or_else(|_| LettreAddress::new("MAILER-DAEMON", "localhost"))?;
    let envelope = address::Envelope::new(None, vec![daemon.clone()])?;
    let original = Original::of(report);
    let parts = MultiPart::builder()
        .header(ContentType::parse(&format!(
            "multipart/report; report-type=delivery-status; boundary=\"{}\"",
            report.id
        ))?)
        .build()
        .singlepart(SinglePart::plain(people::text(report)))
        .singlepart(for_programs(report, original.is_global())?)
        .singlepart(original.part()?);
    let message = Message::builder()
        .from(Mailbox::new(Some("Mail Delivery System".into()), daemon))
        .raw_header(recipient_header(report.sender)?)
        .subject(match report.gravest() {
            Action::Failed => "Undelivered mail returned to sender",
            Action::Delayed => "Delayed mail, still being tried",
            Action::Relayed => "Mail relayed to the recipient's server",
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

fn for_programs(report: &Report<'_>, global: bool) -> Result<SinglePart, BounceError> {
    let (kind, encoding) = if global {
        (
            "message/global-delivery-status",
            ContentTransferEncoding::EightBit,
        )
    } else {
        ("message/delivery-status", ContentTransferEncoding::SevenBit)
    };
    let body = Body::dangerous_pre_encoded(programs::text(report, global).into_bytes(), encoding);
    Ok(SinglePart::builder()
        .header(ContentType::parse(kind)?)
        .body(body))
}

/// RFC 5322 date in UTC.
fn date(timestamp: Timestamp) -> String {
    let mut headers = Headers::new();
    headers.set(Date::new(UNIX_EPOCH + Duration::from_millis(timestamp.0)));
    headers.get_raw("Date").unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
