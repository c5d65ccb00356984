//! Header fields of a received message: RFC 5322 section 2.2, found without copying.
//!
//! Line ends are known to be CRLF: the data decoder refused all others. What is not a field is
//! refused here, since servers differ in what they make of it, and a signature over it would say
//! something else to each.

use std::ops::Range;

/// Octets of a header block. Real ones have some 10 KiB; the limit keeps the work per message small.
pub(crate) const LONGEST_HEADER: usize = 512 * 1024;

/// Where one field lies in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// The whole field with its final CRLF.
    pub(crate) whole: Range<usize>,
    /// Octets of the name at its start.
    name: usize,
}

impl Field {
    /// The name as written.
    pub(crate) fn name<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        &message[self.whole.start..self.whole.start + self.name]
    }

    /// Whether it has this name.
    pub(crate) fn is(&self, message: &[u8], name: &str) -> bool {
        self.name(message).eq_ignore_ascii_case(name.as_bytes())
    }

    /// What stands after the colon, folds and final CRLF included.
    pub(crate) fn value<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        let field = &message[self.whole.clone()];
        let colon = memchr::memchr(b':', field).map_or(field.len(), |colon| colon + 1);
        &field[colon..]
    }
}

/// The header of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fields: Vec<Field>,
    /// Where the fields end: at the empty line before the body, or at the end of the message.
    pub(crate) end: usize,
}

/// Why a message has no header that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Line `n` (from 1) is neither a field nor the continuation of one.
    NotAField(usize),
    /// Line `n` has a NUL.
    Nul(usize),
    /// More than [`LONGEST_HEADER`].
    TooLong,
}

/// Finds the fields.
pub(crate) fn parse(message: &[u8]) -> Result<Header, HeaderFault> {
    let mut fields: Vec<Field> = Vec::with_capacity(16);
    let mut start = 0;
    let mut number = 0;
    while start < message.len() {
        let window = &message[start..];
        let end = memchr::memchr(b'\n', window).map_or(message.len(), |at| start + at + 1);
        let line = &message[start..end];
        number += 1;
        if line == b"\r\n" {
            break;
        }
        if end > LONGEST_HEADER {
            return Err(HeaderFault::TooLong);
        }
        if memchr::memchr(0, line).is_some() {
            return Err(HeaderFault::Nul(number));
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            let field = fields.last_mut().ok_or(HeaderFault::NotAField(number))?;
            field.whole.end = end;
        } else {
            fields.push(Field {
                whole: start..end,
                name: name_length(line).ok_or(HeaderFault::NotAField(number))?,
            });
        }
        start = end;
    }
    Ok(Header { fields, end: start })
}

/// Without the white space at its end: blanks and tabulators, and no form feed or the like, which for others is a
/// part of the name.
pub(crate) fn without_blanks(name: &[u8]) -> &[u8] {
    let end = name
        .iter()
        .rposition(|octet| !matches!(octet, b' ' | b'\t'));
    &name[..end.map_or(0, |end| end + 1)]
}

/// RFC 5322 section 3.6.8: printable ASCII but the colon; section 4.5 has old software put white
/// space before the colon.
fn name_length(line: &[u8]) -> Option<usize> {
    let colon = memchr::memchr(b':', line)?;
    let name = without_blanks(&line[..colon]);
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_found_with_their_folds_and_the_body_is_left() {
        let message = b"Subject: a\r\n b: c\r\n\td\r\nX-Empty:\r\nFROM : x@y\r\n\r\nBody: no\r\n";
        let header = parse(message).unwrap();
        let names: Vec<_> = header
            .fields
            .iter()
            .map(|field| std::str::from_utf8(field.name(message)).unwrap())
            .collect();
        assert_eq!(names, ["Subject", "X-Empty", "FROM"]);
        assert_eq!(header.fields[0].value(message), b" a\r\n b: c\r\n\td\r\n");
        assert_eq!(header.fields[2].value(message), b" x@y\r\n");
        assert!(header.fields[2].is(message, "From"));
        assert_eq!(&message[header.end..], b"\r\nBody: no\r\n");
    }

    #[test]
    fn messages_without_body_or_header_are_read() {
        assert_eq!(parse(b"").unwrap().end, 0);
        assert_eq!(parse(b"A: b\r\n").unwrap().end, 6);
        assert_eq!(
            parse(b"\r\nbody\r\n").unwrap(),
            Header {
                fields: vec![],
                end: 0
            }
        );
    }

    #[test]
    fn what_is_no_field_is_refused_with_its_line() {
        for (message, fault) in [
            ("hello\r\n\r\n", HeaderFault::NotAField(1)),
            ("A: b\r\nhello world\r\n", HeaderFault::NotAField(2)),
            (" A: b\r\n", HeaderFault::NotAField(1)),
            ("A: b\r\n: c\r\n", HeaderFault::NotAField(2)),
            ("A b: c\r\n", HeaderFault::NotAField(1)),
            ("From x@y Mon Jan 1\r\n", HeaderFault::NotAField(1)),
            ("From\u{c}: x@y\r\n", HeaderFault::NotAField(1)),
            ("Gr\u{e5}: c\r\n", HeaderFault::NotAField(1)),
            ("A: b\0c\r\n", HeaderFault::Nul(1)),
        ] {
            assert_eq!(parse(message.as_bytes()), Err(fault), "{message:?}");
        }
        let long = "A: b\r\n".repeat(LONGEST_HEADER / 6 + 1);
        assert_eq!(parse(long.as_bytes()), Err(HeaderFault::TooLong));
    }

    proptest! {
        #[test]
        fn fields_join_up_to_the_header_again(message in "([a:]{0,3}[ \\t]?(\r\n)?){0,20}") {
            if let Ok(header) = parse(message.as_bytes()) {
                let mut at = 0;
                for field in &header.fields {
                    prop_assert_eq!(field.whole.start, at);
                    at = field.whole.end;
                }
                prop_assert_eq!(at, header.end);
            }
        }
    }
}
