//! From received octets to the content that is signed and queued: pure, and without a copy of the
//! body.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry::trace::SpanContext;
use relay_smtp::Address;
use relay_smtp::server::{Answer, Message};

use crate::policy::{self, Denial, Request};
use crate::snapshot::SendingDomain;

use super::fields::{self, Header, HeaderFault};
use super::trace::{self, Origin, Stamp};
use super::{authors, joined};

/// RFC 5321 section 4.5.3.1.6, without the CRLF.
const LONGEST_LINE: usize = 998;
/// RFC 5321 section 6.3 asks for at least 100 before a loop is seen.
const MOST_HOPS: usize = 100;

/// A message that may go out, complete but for its signatures.
pub(super) struct Draft {
    /// Pieces in order: added fields first, then what was received.
    pub(super) content: Vec<Bytes>,
    /// Whose keys sign it.
    pub(super) domain: Arc<SendingDomain>,
    /// Trace context that the application put into the message.
    pub(super) parent: Option<SpanContext>,
}

/// Judges and completes a message.
pub(super) fn prepare(
    message: &Message,
    origin: &Origin,
    domains: &HashMap<String, Arc<SendingDomain>>,
    stamp: Stamp<'_>,
) -> Result<Draft, Denial> {
    let octets = &message.content;
    // Cases L1 to L3: whoever breaks the line later breaks the signature with it.
    if message.longest_line > LONGEST_LINE {
        return Err(denial(
            "line_too_long",
            format!(
                "a line has {} octets and mail allows {LONGEST_LINE}; encode the part as quoted-printable or base64, and fold long header fields",
                message.longest_line
            ),
        ));
    }
    let header = fields::parse(octets).map_err(header_denial)?;
    if count(&header, octets, "Received") > MOST_HOPS {
        return Err(Denial {
            reason: "mail_loop",
            answer: Answer::fixed(
                554,
                "5.4.6",
                "the message went through more than 100 servers; some route leads back here",
            ),
        });
    }
    let authors = authors(&header, octets)?;
    let request = Request {
        identity: origin.identity.as_deref(),
        sender: message.sender.as_ref(),
        from: &authors,
    };
    let domain = policy::decide(domains, request)?;
    let mut added = String::with_capacity(512);
    trace::received(&mut added, origin, stamp, &message.recipients);
    if count(&header, octets, "Date") == 0 {
        trace::date_field(&mut added, stamp.now);
    }
    if count(&header, octets, "Message-ID") == 0 {
        trace::message_id_field(&mut added, stamp.id, &domain.name);
    }
    let mut content = Vec::with_capacity(4);
    content.push(Bytes::from(added));
    push_without_bcc(&mut content, &header, octets);
    Ok(Draft {
        content,
        domain,
        parent: header
            .fields
            .iter()
            .find(|field| field.is(octets, "traceparent"))
            .and_then(|field| joined::parse(field.value(octets))),
    })
}

/// Case R50: who else got it is nobody's business. Everything around a `Bcc` is a slice.
fn push_without_bcc(content: &mut Vec<Bytes>, header: &Header, octets: &Bytes) {
    let mut kept = 0;
    for field in &header.fields {
        if field.is(octets, "Bcc") || field.is(octets, "Resent-Bcc") {
            if field.whole.start > kept {
                content.push(octets.slice(kept..field.whole.start));
            }
            kept = field.whole.end;
        }
    }
    if kept < octets.len() {
        content.push(octets.slice(kept..));
    }
    // A message that is all header gets the empty line, so that nothing after it is taken for one.
    if header.end == octets.len() {
        content.push(Bytes::from_static(b"\r\n"));
    }
}

fn count(header: &Header, octets: &[u8], name: &str) -> usize {
    let named = |field: &&fields::Field| field.is(octets, name);
    header.fields.iter().filter(named).count()
}

fn authors(header: &Header, octets: &[u8]) -> Result<Vec<Address>, Denial> {
    let mut from = header
        .fields
        .iter()
        .filter(|field| field.is(octets, "From"));
    let Some(field) = from.next() else {
        return Ok(Vec::new());
    };
    if from.next().is_some() {
        return Err(denial(
            "from_malformed",
            "the message has several From header fields; put all authors into one".into(),
        ));
    }
    authors::parse(field.value(octets)).map_err(|fault| {
        denial(
            "from_malformed",
            format!("the From header cannot be read: {fault}"),
        )
    })
}

fn header_denial(fault: HeaderFault) -> Denial {
    let text = match fault {
        HeaderFault::NotAField(line) => format!(
            "line {line} of the header is not of the form Name: value; an empty line must come before the body"
        ),
        HeaderFault::Nul(line) => format!("line {line} of the header has a NUL"),
        HeaderFault::TooLong => format!(
            "the header is longer than {} octets",
            fields::LONGEST_HEADER
        ),
    };
    denial("header_malformed", text)
}

fn denial(reason: &'static str, text: String) -> Denial {
    Denial {
        reason,
        answer: Answer::new(554, "5.6.0", text),
    }
}

#[cfg(test)]
mod tests;
