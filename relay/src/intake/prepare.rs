//! From received octets to the content that is signed and queued: pure, and without a copy of the
//! body.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry::trace::SpanContext;
use relay_smtp::Address;
use relay_smtp::server::{Answer, Message};

use crate::policy::{self, Denial, Permit, Request};
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
    let author = sole(&header, octets, "Sender")?;
    let mut resent = every(&header, octets, "Resent-From")?;
    resent.extend(every(&header, octets, "Resent-Sender")?);
    let request = Request {
        identity: origin.identity.as_deref(),
        sender: message.sender.as_ref(),
        from: &authors,
        author: author.as_ref(),
        resent: &resent,
    };
    let Permit {
        domain,
        rewrite_from,
    } = policy::decide(domains, request)?;
    let mut added = String::with_capacity(512);
    trace::received(&mut added, origin, stamp, &message.recipients);
    if count(&header, octets, "Date") == 0 {
        trace::date_field(&mut added, stamp.now);
    }
    if count(&header, octets, "Message-ID") == 0 {
        trace::message_id_field(&mut added, stamp.id, &domain.name);
    }
    if let Some(address) = &rewrite_from {
        put_author(&mut added, address, &header, octets);
    }
    let mut content = Vec::with_capacity(4);
    content.push(Bytes::from(added));
    push_kept(&mut content, &header, octets, rewrite_from.is_some());
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

/// The author in place of the message's own, which answers still reach.
fn put_author(added: &mut String, address: &Address, header: &Header, octets: &[u8]) {
    added.push_str("From: ");
    added.push_str(address.as_str());
    added.push_str("\r\n");
    if count(header, octets, "Reply-To") > 0 {
        return;
    }
    let mut fields = header.fields.iter();
    let original = fields.find(|field| field.is(octets, "From"));
    // It was read before, so that nothing but addresses stands in it.
    if let Some(original) = original.and_then(|field| str::from_utf8(field.value(octets)).ok()) {
        added.push_str("Reply-To: ");
        added.push_str(original.trim());
        added.push_str("\r\n");
    }
}

/// Case R50: who else got it is nobody's business. Everything around a field that goes is a slice.
/// `From` and `Sender` go when another author was put in their place.
fn push_kept(content: &mut Vec<Bytes>, header: &Header, octets: &Bytes, without_author: bool) {
    let mut kept = 0;
    for field in &header.fields {
        let is = |name| field.is(octets, name);
        if is("Bcc") || is("Resent-Bcc") || without_author && (is("From") || is("Sender")) {
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

/// All addresses of all fields of a name.
fn every(header: &Header, octets: &[u8], name: &str) -> Result<Vec<Address>, Denial> {
    let mut all = Vec::new();
    for field in header.fields.iter().filter(|field| field.is(octets, name)) {
        let addresses = authors::parse(field.value(octets)).map_err(|fault| {
            denial(
                "from_malformed",
                format!("the {name} header cannot be read: {fault}"),
            )
        })?;
        all.extend(addresses);
    }
    Ok(all)
}

/// The one address of a field of which there is at most one.
fn sole(header: &Header, octets: &[u8], name: &str) -> Result<Option<Address>, Denial> {
    let mut all = every(header, octets, name)?;
    if all.len() > 1 || count(header, octets, name) > 1 {
        return Err(denial(
            "from_malformed",
            format!("the {name} header must stand once and name one address"),
        ));
    }
    Ok(all.pop())
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
