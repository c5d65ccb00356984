//! One reply to a client: code, enhanced code (RFC 2034, RFC 3463) and text, on one line.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut as _, BytesMut};

use crate::command::CommandError;

/// RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets, codes and CRLF included.
const LONGEST_TEXT: usize = 480;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    code: u16,
    enhanced: &'static str,
    text: Cow<'static, str>,
}

impl Answer {
    /// A reply with fixed text.
    pub const fn fixed(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Self {
            code,
            enhanced,
            text: Cow::Borrowed(text),
        }
    }

    /// A reply with text made for the occasion. It need not be clean: what could end the line or is
    /// not printable ASCII goes out as `?`, and what is too long is cut.
    pub const fn new(code: u16, enhanced: &'static str, text: String) -> Self {
        Self {
            code,
            enhanced,
            text: Cow::Owned(text),
        }
    }

    /// Three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Such as `5.7.1`.
    pub fn enhanced(&self) -> &'static str {
        self.enhanced
    }

    /// The words.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it says yes.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    pub(super) fn write(&self, output: &mut BytesMut) {
        let mut digits = [b'0'; 3];
        let mut rest = self.code;
        for digit in digits.iter_mut().rev() {
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        output.put_slice(&digits);
        output.put_u8(b' ');
        output.put_slice(self.enhanced.as_bytes());
        output.put_u8(b' ');
        put_text(&self.text, output);
        output.put_slice(b"\r\n");
    }
}

/// Text that may hold what a client or a file said, made safe for a reply line.
pub(super) fn put_text(text: &str, output: &mut BytesMut) {
    for character in text.chars().take(LONGEST_TEXT) {
        let safe = character == ' ' || character.is_ascii_graphic();
        output.put_u8(if safe {
            u8::try_from(character).unwrap_or(b'?')
        } else {
            b'?'
        });
    }
}

impl From<CommandError> for Answer {
    fn from(error: CommandError) -> Self {
        Self::new(error.code, error.enhanced, error.text)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.code, self.enhanced, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_the_line_or_outgrow_it() {
        let mut output = BytesMut::new();
        Answer::new(
            550,
            "5.7.1",
            format!("a\r\n250 b\u{e5}\x1b{}", "x".repeat(999)),
        )
        .write(&mut output);
        let line = String::from_utf8(output.to_vec()).unwrap();
        assert!(line.starts_with("550 5.7.1 a??250 b??xxx"), "{line}");
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        assert!(line.len() <= 512);
    }
}
