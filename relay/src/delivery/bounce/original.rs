//! The last part: what is given back of the message.

use bytes::Bytes;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, SinglePart};
use relay_smtp::Address;
use relay_smtp::options::GiveBack;

use super::{Action, BounceError, Report};

/// Octets of a message that is given back whole; of a larger one only the headers are.
const WHOLE: usize = 1024 * 1024;
/// Octets of the original headers that are given back.
const HEADERS: usize = 64 * 1024;

/// The message, or what is given back of it.
pub(super) struct Original {
    octets: Vec<u8>,
    whole: bool,
    global: bool,
}

impl Original {
    /// `RET` is about failures alone (RFC 3461 section 4.3), and what must not go in clear text does
    /// not go back whole (RFC 8689 section 5).
    pub(super) fn of(report: &Report<'_>) -> Self {
        let envelope = &report.original.envelope;
        let options = &envelope.options;
        let size: usize = report.content.iter().map(Bytes::len).sum();
        let whole = options.give_back == Some(GiveBack::Full)
            && !options.require_tls
            && report.has(Action::Failed)
            && size <= WHOLE;
        let headers = headers(report.content);
        let addresses = || envelope.sender.iter().chain(&envelope.recipients);
        let global =
            envelope.smtputf8 && (!headers.is_ascii() || addresses().any(Address::is_utf8));
        Self {
            octets: if whole {
                report.content.concat()
            } else {
                headers
            },
            whole,
            global,
        }
    }

    /// Whether the message needed SMTPUTF8 and was taken with it, so that the report may be in the
    /// forms of RFC 6533.
    pub(super) const fn is_global(&self) -> bool {
        self.global
    }

    /// A message may not be encoded (RFC 2046 section 5.2.1); its headers may only be UTF-8 in one of
    /// RFC 6532.
    pub(super) fn part(self) -> Result<SinglePart, BounceError> {
        let encoding = if self.octets.is_ascii() {
            ContentTransferEncoding::SevenBit
        } else {
            ContentTransferEncoding::EightBit
        };
        let (kind, octets) = match (self.whole, self.global) {
            (true, true) => ("message/global", self.octets),
            (true, false) => ("message/rfc822", self.octets),
            (false, true) => ("message/global-headers", utf8(&self.octets).into_bytes()),
            (false, false) => {
                let text = String::from_utf8_lossy(&self.octets).into_owned();
                return Ok(SinglePart::builder()
                    .header(ContentType::parse("text/rfc822-headers")?)
                    .body(Body::new(text)));
            }
        };
        Ok(SinglePart::builder()
            .header(ContentType::parse(kind)?)
            .body(Body::dangerous_pre_encoded(octets, encoding)))
    }
}

/// The text, with a question mark for each octet that is no UTF-8: with the usual character in its place, of three
/// octets, a line could become too long.
fn utf8(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// The headers, without the empty line after them; cut between two lines if there are too many.
fn headers(content: &[Bytes]) -> Vec<u8> {
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
    headers
}
