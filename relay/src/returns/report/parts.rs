//! The parts of a `multipart/report`, and no deeper: what is attached is looked at as text.
//!
//! Of our own, and not mail-parser's: that builds what messages nest in messages into values that nest
//! as deep, and a message of twenty thousand levels, 600 KB, ends the process by its stack.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::fields;
use crate::mime::{Encoding, Kind, encoding, kind};

/// Parts of a report: RFC 6522 has three.
const MOST: usize = 16;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One part.
pub(super) struct Part<'a> {
    /// `type/subtype` in lower case.
    pub(super) kind: String,
    encoding: Encoding,
    body: &'a [u8],
}

impl Part<'_> {
    /// Its text; what cannot be decoded is empty.
    pub(super) fn text(&self) -> String {
        let decoded;
        let octets = match self.encoding {
            Encoding::Base64 => {
                let digits: Vec<u8> = self
                    .body
                    .iter()
                    .copied()
                    .filter(|octet| !octet.is_ascii_whitespace())
                    .collect();
                decoded = BASE64.decode(digits).unwrap_or_default();
                &decoded
            }
            Encoding::QuotedPrintable => {
                decoded = quoted_printable(self.body);
                &decoded
            }
            _ => self.body,
        };
        String::from_utf8_lossy(octets).into_owned()
    }
}

/// The parts of a message that is a `multipart/report`.
pub(super) fn of(message: &[u8]) -> Option<Vec<Part<'_>>> {
    let Head {
        content_type, body, ..
    } = head(message)?;
    let value = content_type?;
    if type_of(value) != "multipart/report" {
        return None;
    }
    let Kind::Multipart {
        boundary: Some(boundary),
        ..
    } = kind(value)
    else {
        return None;
    };
    Some(split(body, &boundary).filter_map(part).take(MOST).collect())
}

fn part(octets: &[u8]) -> Option<Part<'_>> {
    let head = head(octets)?;
    let content_type = head.content_type;
    Some(Part {
        kind: content_type.map_or_else(|| "text/plain".into(), type_of),
        encoding: head.transfer.map_or(Encoding::SevenBit, encoding),
        body: head.body,
    })
}

/// What counts of a message or part.
struct Head<'a> {
    content_type: Option<&'a [u8]>,
    /// `Content-Transfer-Encoding`.
    transfer: Option<&'a [u8]>,
    body: &'a [u8],
}

fn head(octets: &[u8]) -> Option<Head<'_>> {
    let header = fields::parse(octets).ok()?;
    let find = |name| {
        let field = header.fields.iter().find(|field| field.is(octets, name));
        field.map(|field| field.value(octets))
    };
    let body = octets.get(header.end..).unwrap_or_default();
    let body = body.strip_prefix(b"\r\n").unwrap_or(body);
    Some(Head {
        content_type: find("Content-Type"),
        transfer: find("Content-Transfer-Encoding"),
        body,
    })
}

fn type_of(value: &[u8]) -> String {
    let end = value.iter().position(|octet| matches!(octet, b';' | b'('));
    let text = String::from_utf8_lossy(value.get(..end.unwrap_or(value.len())).unwrap_or_default());
    text.trim().to_ascii_lowercase()
}

/// What stands between the delimiter lines of `boundary` (RFC 2046 section 5.1.1).
fn split<'a>(body: &'a [u8], boundary: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let delimiter = [b"--", boundary].concat();
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        let rest = line.strip_prefix(delimiter.as_slice());
        let rest = rest.map(<[u8]>::trim_ascii_end);
        if let Some(rest) = rest.filter(|rest| matches!(*rest, b"" | b"--")) {
            if let Some(start) = start {
                parts.push(body.get(start..at).unwrap_or_default());
            }
            start = Some(at + line.len());
            if rest == b"--" || parts.len() > MOST {
                return parts.into_iter();
            }
        }
        at += line.len();
    }
    // Without its end: cut off, or written so.
    parts.extend(start.and_then(|start| body.get(start..)));
    parts.into_iter()
}

/// RFC 2045 section 6.7; what is not encoded stays as it is.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'=' {
            decoded.push(*first);
            continue;
        }
        if let Some(next) = after.strip_prefix(b"\r\n") {
            rest = next;
            continue;
        }
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) => {
                decoded.push(octet);
                rest = &after[2..];
            }
            None => decoded.push(*first),
        }
    }
    decoded
}
