//! From received octets to the content that is signed and queued: pure, and without a copy of the
//! body.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry::trace::SpanContext;
use relay_smtp::Address;
use relay_smtp::server::{Answer, Message};

use crate::edit::{self, Edit};
use crate::fields::{self, Header, HeaderFault};
use crate::mime::{self, Need, Obstacle};
use crate::policy::{self, Denial, Permit, Request};
use crate::snapshot::SendingDomain;

use super::trace::{self, Origin, Stamp};
use super::{authors, joined};

/// RFC 5321 section 6.3 asks for at least 100 before a loop is seen.
const MOST_HOPS: usize = 100;
/// Times that a message may come by here. More is a circle between few servers, which would take long
/// to reach [`MOST_HOPS`].
const MOST_RETURNS: usize = 5;
/// With the value `No`: the message goes whatever the TLS policies of its recipients' domains say (RFC
/// 8689 section 4.2). It goes on with the message, for the servers after this one.
const TLS_REQUIRED: &str = "TLS-Required";
/// Names the tag of a message; for this relay alone, so it does not go on.
const TAG: &str = "X-Mailrelay-Tag";

/// What makes a received message one that may go out, but for its signatures.
pub(super) struct Draft {
    /// Fields that are put first.
    added: Bytes,
    /// What changes in the header whatever the way demands.
    edits: Vec<Edit>,
    /// What the content does not fit.
    pub(super) need: Option<Need>,
    /// Whose keys sign it.
    pub(super) domain: Arc<SendingDomain>,
    /// No TLS policy of a recipient's domain holds it up.
    pub(super) tls_optional: bool,
    /// By which routes are chosen.
    pub(super) tag: Option<Box<str>>,
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
    let header = fields::parse(octets).map_err(header_denial)?;
    judge_hops(&header, octets, stamp.hostname)?;
    let authors = authors(&header, octets)?;
    let author = sole(&header, octets, "Sender")?;
    let mut resent = every(&header, octets, "Resent-From")?;
    resent.extend(every(&header, octets, "Resent-Sender")?);
    let tag = tag(&header, octets)?;
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
    Ok(Draft {
        added: Bytes::from(added),
        edits: edits(&header, octets, stamp, rewrite_from.is_some()),
        need: need(message),
        domain,
        tls_optional: is_tls_optional(&header, octets),
        tag,
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

impl Draft {
    /// Pieces in order: added fields first, then what was received with what changes in it.
    pub(super) fn content(self, received: &Bytes, conversion: Vec<Edit>) -> Vec<Bytes> {
        let mut edits = self.edits;
        edits.extend(conversion);
        let mut content = Vec::with_capacity(2 + 2 * edits.len());
        content.push(self.added);
        edit::apply(received, edits, &mut content);
        content
    }
}

/// Cases L1 to L3: whoever breaks a line later breaks the signature with it. What came as `BINARYMIME`
/// becomes text, since few servers on the way take anything else (RFC 3030 section 3).
pub(super) fn need(message: &Message) -> Option<Need> {
    if message.binary {
        return Some(Need::Text);
    }
    (message.longest_line > mime::LONGEST_LINE).then_some(Need::Lines)
}

/// The refusal of a message that does not fit and cannot be made to.
pub(super) fn unconvertible(message: &Message, obstacle: &Obstacle) -> Denial {
    let (reason, cause) = if message.longest_line > mime::LONGEST_LINE {
        let (length, limit) = (message.longest_line, mime::LONGEST_LINE);
        let cause = format!("a line has {length} octets and mail allows {limit}");
        ("line_too_long", cause)
    } else {
        ("binary", "the message has octets that are no text".into())
    };
    let text = format!(
        "{cause}, and the relay cannot encode it anew: {obstacle}; encode the part as quoted-printable or base64 before it is signed or sent, and fold long header fields"
    );
    denial(reason, text)
}

/// What changes in the header of every message. Case R50: who else got it is nobody's business.
/// `From` and `Sender` go when another author was put in their place.
fn edits(header: &Header, octets: &[u8], stamp: Stamp<'_>, without_author: bool) -> Vec<Edit> {
    let mut edits: Vec<Edit> = header
        .fields
        .iter()
        .filter_map(|field| {
            let is = |name: &str| field.is(octets, name);
            let whole = field.whole.clone();
            let blind = is("Bcc") || is("Resent-Bcc");
            let replaced = without_author && (is("From") || is("Sender"));
            let revealing = stamp.hide_clients && is("X-Originating-IP");
            if blind || replaced || revealing || is(TAG) {
                return Some(Edit::remove(whole));
            }
            let hop = stamp.hide_clients && is("Received");
            let hidden = hop.then(|| trace::hidden(field.value(octets), stamp.hostname));
            match hidden.flatten() {
                Some(hidden) => Some(Edit::replace(whole, hidden)),
                None => tidy(field, octets),
            }
        })
        .collect();
    // A message that is all header gets the empty line, so that nothing after it is taken for one.
    if header.end == octets.len() {
        edits.push(Edit::insert(octets.len(), &b"\r\n"[..]));
    }
    edits
}

/// White space between a name and its colon goes (RFC 5322 section 4.5: it may be read and must not be written):
/// there are verifiers that find no such field then, or no signature at all.
fn tidy(field: &fields::Field, octets: &[u8]) -> Option<Edit> {
    let start = field.whole.start + field.name(octets).len();
    let length = memchr::memchr(b':', &octets[start..field.whole.end])?;
    (length > 0).then(|| Edit::remove(start..start + length))
}

/// Whether a message goes in a circle.
pub(super) fn judge_hops(header: &Header, octets: &[u8], hostname: &str) -> Result<(), Denial> {
    let hops = || {
        header
            .fields
            .iter()
            .filter(|field| field.is(octets, "Received"))
    };
    let returns = hops()
        .filter(|field| trace::is_by(field.value(octets), hostname))
        .count();
    let text = if hops().count() > MOST_HOPS {
        format!("the message went through more than {MOST_HOPS} servers")
    } else if returns > MOST_RETURNS {
        format!("the message came by {hostname} more than {MOST_RETURNS} times")
    } else {
        return Ok(());
    };
    Err(Denial {
        reason: "mail_loop",
        answer: Answer::new(
            554,
            "5.4.6",
            format!("{text}; some route or forwarding leads back here"),
        ),
    })
}

/// Whether its author would rather have it arrive than be protected. A field that stands twice, or says
/// something else, says nothing.
fn is_tls_optional(header: &Header, octets: &[u8]) -> bool {
    let mut fields = header.fields.iter();
    let field = fields.find(|field| field.is(octets, TLS_REQUIRED));
    let is_no =
        field.is_some_and(|field| field.value(octets).trim_ascii().eq_ignore_ascii_case(b"No"));
    is_no && count(header, octets, TLS_REQUIRED) == 1
}

/// The tag of the message.
fn tag(header: &Header, octets: &[u8]) -> Result<Option<Box<str>>, Denial> {
    let mut fields = header.fields.iter().filter(|field| field.is(octets, TAG));
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    let value = str::from_utf8(field.value(octets)).map(str::trim);
    match value {
        Ok(value) if relay_config::is_tag(value) && fields.next().is_none() => {
            Ok(Some(value.into()))
        }
        _ => {
            let text = format!(
                "the {TAG} header must stand once and be one word of letters, digits and . _ -, at \
                 most {} octets",
                relay_config::LONGEST_TAG
            );
            Err(denial("tag_malformed", text))
        }
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
