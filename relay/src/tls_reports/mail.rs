//! A report as a mail (RFC 8460 section 5.3). Pure.
//!
//! It has the null path and asks that no TLS policy holds it up (`TLS-Required: No`, RFC 8689 section
//! 4.2): a report about broken TLS must arrive although TLS is broken (RFC 8460 section 3). Its own
//! sessions are in no report (case L13).

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use lettre::message::header::{
    ContentDisposition, ContentTransferEncoding, ContentType, HeaderName, HeaderValue,
};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address as LettreAddress, Message, address};
use relay_queue::{Envelope, MessageId, NewMessage, Options, Timestamp};
use relay_smtp::Address;

use super::document::{Document, Submitter};

/// Why a report cannot be a mail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MailError {
    #[error("content type: {0}")]
    ContentType(#[from] lettre::message::header::ContentTypeErr),
    #[error("header name: {0}")]
    HeaderName(#[from] lettre::message::header::InvalidHeaderName),
    #[error("address: {0}")]
    Address(#[from] address::AddressError),
    #[error("message: {0}")]
    Message(#[from] lettre::error::Error),
}

/// What a mail is made of.
pub(crate) struct Letter<'a> {
    pub(crate) id: MessageId,
    pub(crate) from: &'a Address,
    pub(crate) to: &'a [Address],
    pub(crate) submitter: &'a Submitter,
    /// Whom the report is about.
    pub(crate) domain: &'a str,
    pub(crate) document: &'a Document,
    pub(crate) now: Timestamp,
}

/// The message, without signatures.
pub(crate) fn build(letter: &Letter<'_>) -> Result<NewMessage, MailError> {
    let Letter {
        id,
        submitter,
        domain,
        document,
        now,
        ..
    } = *letter;
    let from: LettreAddress = letter.from.as_str().parse()?;
    let mut to = Vec::with_capacity(letter.to.len());
    for address in letter.to {
        to.push(address.as_str().parse::<LettreAddress>()?);
    }
    let mut builder = Message::builder()
        .from(Mailbox::new(None, from))
        .subject(format!(
            "Report Domain: {domain} Submitter: {} Report-ID: <{}>",
            submitter.domain, document.id
        ))
        .date(UNIX_EPOCH + Duration::from_millis(now.0))
        .message_id(Some(format!("<{id}@{}>", submitter.domain)))
        .raw_header(raw("TLS-Report-Domain", domain)?)
        .raw_header(raw("TLS-Report-Submitter", &submitter.domain)?)
        .raw_header(raw("TLS-Required", "No")?)
        .raw_header(raw("Auto-Submitted", "auto-generated")?)
        .envelope(address::Envelope::new(None, to.clone())?);
    for address in to {
        builder = builder.to(Mailbox::new(None, address));
    }
    let parts = MultiPart::builder()
        .header(ContentType::parse(&format!(
            "multipart/report; report-type=\"tlsrpt\"; boundary=\"{id}\""
        ))?)
        .build()
        .singlepart(SinglePart::plain(people(submitter, domain, document)))
        .singlepart(programs(document)?);
    let content = Bytes::from(builder.multipart(parts)?.formatted());
    Ok(NewMessage {
        id,
        envelope: Envelope {
            sender: None,
            recipients: letter.to.to_vec(),
            accepted_at: now,
            eight_bit: !content.is_ascii(),
            smtputf8: letter.to.iter().any(Address::is_utf8),
            identity: None,
            trace_parent: None,
            options: Options {
                tls_optional: true,
                tls_report: true,
                ..Options::default()
            },
        },
        content: vec![content],
    })
}

fn people(submitter: &Submitter, domain: &str, document: &Document) -> String {
    let (successful, failed) = document.sessions;
    format!(
        "This is an aggregate TLS report from {} about mail to {domain}\r\n\
         (RFC 8460). Sessions with TLS as the policy asks: {successful}. Others: {failed}.\r\n\
         The details are in the attached file.\r\n\
         \r\n\
         Questions: {}\r\n",
        submitter.organization, submitter.contact
    )
}

fn programs(document: &Document) -> Result<SinglePart, MailError> {
    let body = Body::new_with_encoding(document.gzip.clone(), ContentTransferEncoding::Base64);
    // Base 64 takes every octet.
    let body = body.unwrap_or_else(Body::new);
    Ok(SinglePart::builder()
        .header(ContentType::parse("application/tlsrpt+gzip")?)
        .header(ContentDisposition::attachment(&document.file))
        .body(body))
}

fn raw(name: &str, value: &str) -> Result<HeaderValue, MailError> {
    let name = HeaderName::new_from_ascii(name.into())?;
    Ok(HeaderValue::new(name, value.into()))
}

#[cfg(test)]
mod tests;
