//! What a part says of itself: `Content-Type` (RFC 2045 section 5.1) and
//! `Content-Transfer-Encoding` (section 6.1), as far as converting asks.

/// What a part may hold and how it may be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `text/*`, and whatever has no readable type (RFC 2045 section 5.2).
    Text,
    /// Opaque octets.
    Other,
    /// Parts between delimiters.
    Multipart {
        /// Without it nobody knows where the parts are.
        boundary: Option<Vec<u8>>,
        /// `multipart/signed`.
        signed: bool,
        /// `multipart/digest`, whose parts are messages unless they say otherwise.
        digest: bool,
    },
    /// A whole message.
    Message,
    /// `message/*` that must be left as it is (RFC 2046 sections 5.2.2 to 5.2.4).
    Fixed,
}

/// How a body is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    SevenBit,
    EightBit,
    Binary,
    QuotedPrintable,
    Base64,
    Unknown(String),
}

/// Reads the value of a `Content-Type`.
pub(crate) fn kind(value: &[u8]) -> Kind {
    let mut scanner = Scanner(value);
    let kind = scanner.word(b"/;").to_ascii_lowercase();
    if !scanner.eat(b'/') {
        return Kind::Text;
    }
    let subtype = scanner.word(b";").to_ascii_lowercase();
    match (kind.as_slice(), subtype.as_slice()) {
        (b"text", _)
        // RFC 6533 sections 4.2 and 5: lines of UTF-8 that may be encoded.
        | (
            b"message",
            b"global-headers" | b"global-delivery-status" | b"global-disposition-notification",
        ) => Kind::Text,
        (b"multipart", subtype) => Kind::Multipart {
            signed: subtype == b"signed",
            digest: subtype == b"digest",
            boundary: scanner.parameter(b"boundary"),
        },
        (b"message", b"rfc822" | b"global") => Kind::Message,
        (b"message", _) => Kind::Fixed,
        _ => Kind::Other,
    }
}

/// Reads the value of a `Content-Transfer-Encoding`.
pub(crate) fn encoding(value: &[u8]) -> Encoding {
    let word = Scanner(value).word(b";").to_ascii_lowercase();
    match word.as_slice() {
        b"" | b"7bit" => Encoding::SevenBit,
        b"8bit" => Encoding::EightBit,
        b"binary" => Encoding::Binary,
        b"quoted-printable" => Encoding::QuotedPrintable,
        b"base64" => Encoding::Base64,
        other => Encoding::Unknown(
            String::from_utf8_lossy(other)
                .chars()
                .filter(char::is_ascii_graphic)
                .take(40)
                .collect(),
        ),
    }
}

struct Scanner<'a>(&'a [u8]);

impl Scanner<'_> {
    /// White space, folds and comments (RFC 5322 section 3.2.2).
    fn skip(&mut self) {
        let mut depth = 0_usize;
        let mut at = 0;
        while let Some(octet) = self.0.get(at) {
            match octet {
                b'\\' if depth > 0 => at += 1,
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ if depth == 0 => break,
                _ => {}
            }
            at += 1;
        }
        self.0 = self.0.get(at..).unwrap_or_default();
    }

    fn eat(&mut self, octet: u8) -> bool {
        self.skip();
        let found = self.0.first() == Some(&octet);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    /// Up to white space, a comment or one of `ends`.
    fn word(&mut self, ends: &[u8]) -> Vec<u8> {
        self.skip();
        let end = |octet: &u8| ends.contains(octet) || b" \t\r\n(".contains(octet);
        let length = self.0.iter().position(end).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(length);
        self.0 = rest;
        word.to_vec()
    }

    /// The value of the first parameter of this name.
    fn parameter(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        loop {
            self.skip();
            let end = memchr::memchr(b';', self.0)?;
            self.0 = &self.0[end + 1..];
            let found = self.word(b"=;").eq_ignore_ascii_case(name);
            if !self.eat(b'=') {
                continue;
            }
            let value = self.value();
            if found {
                return Some(value).filter(|value| !value.is_empty());
            }
        }
    }

    fn value(&mut self) -> Vec<u8> {
        if !self.eat(b'"') {
            return self.word(b";");
        }
        let mut value = Vec::new();
        let mut at = 0;
        while let Some(&octet) = self.0.get(at) {
            match octet {
                b'"' => break,
                b'\\' => {
                    at += 1;
                    value.extend(self.0.get(at));
                }
                b'\r' | b'\n' => {}
                _ => value.push(octet),
            }
            at += 1;
        }
        self.0 = self.0.get(at + 1..).unwrap_or_default();
        // RFC 2046 section 5.1.1: a boundary does not end in white space.
        value.truncate(value.trim_ascii_end().len());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(value: &str) -> Option<String> {
        match kind(value.as_bytes()) {
            Kind::Multipart { boundary, .. } => {
                boundary.map(|boundary| String::from_utf8(boundary).unwrap())
            }
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn a_boundary_is_found_however_it_is_written() {
        for (value, expected) in [
            (" multipart/mixed; boundary=abc\r\n", Some("abc")),
            (
                " Multipart/MIXED;\r\n\tBOUNDARY = \"a b\\\"c \"\r\n",
                Some("a b\"c"),
            ),
            (
                " multipart/mixed; x=\"; boundary=no\"; boundary=----=_Part_1\r\n",
                Some("----=_Part_1"),
            ),
            (
                " multipart/mixed (a; b); charset=utf-8; boundary=abc (c)",
                Some("abc"),
            ),
            (" multipart/mixed;; boundary=\"\"", None),
            (" multipart/mixed; boundary", None),
            (" multipart/mixed", None),
        ] {
            assert_eq!(boundary(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn types_and_encodings_are_told_apart() {
        for (value, expected) in [
            (" text/html; charset=x", Kind::Text),
            (" text", Kind::Text),
            ("", Kind::Text),
            (" application/pdf", Kind::Other),
            (" message/RFC822", Kind::Message),
            (" message/partial; id=x", Kind::Fixed),
        ] {
            assert_eq!(kind(value.as_bytes()), expected, "{value}");
        }
        assert!(matches!(
            kind(b" multipart/signed; boundary=x"),
            Kind::Multipart { signed: true, .. }
        ));
        assert_eq!(encoding(b" 8BIT (really)\r\n"), Encoding::EightBit);
        assert_eq!(encoding(b"\r\n\tBase64\r\n"), Encoding::Base64);
        assert_eq!(encoding(b" x-uue\0 x"), Encoding::Unknown("x-uue".into()));
    }
}
