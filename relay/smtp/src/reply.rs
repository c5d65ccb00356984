//! Replies of servers: RFC 5321 section 4.2, RFC 3463 and RFC 2034 for enhanced codes.
//!
//! What a server sends is hostile input. A reply has at most [`REPLY_LIMIT`] octets, of which the
//! first [`TEXT_LIMIT`] of text are kept; octets that are not UTF-8 and control characters are made
//! printable, so that a reply can stand in a log line and in a report as it is. Codes are taken as
//! they come: 571 is not rounded to a code of the RFC, and of differing codes in one reply the last
//! wins (case B10), since that is the line that ends it.

use std::fmt;

/// Octets of one reply with all of its lines; a server that sends more is cut off.
pub const REPLY_LIMIT: usize = 64 * 1024;
/// Octets of text that are kept of one reply.
pub const TEXT_LIMIT: usize = 4096;

/// An enhanced status code (RFC 3463). Details have up to three digits, as in `5.7.509`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode {
    /// 2, 4 or 5.
    pub class: u8,
    /// Subject, such as 7 for policy.
    pub subject: u16,
    /// Detail.
    pub detail: u16,
}

impl EnhancedCode {
    /// The code `class.subject.detail`.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self {
            class,
            subject,
            detail,
        }
    }

    /// The code at the start of `text`, and the text after it.
    pub fn split(text: &str) -> Option<(Self, &str)> {
        let end = text.find(' ').unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let mut parts = word.split('.');
        let class = match parts.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let subject = number(parts.next()?)?;
        let detail = number(parts.next()?)?;
        parts
            .next()
            .is_none()
            .then(|| (Self::new(class, subject, detail), rest.trim_start()))
    }
}

/// One to three digits.
fn number(text: &str) -> Option<u16> {
    let good = (1..=3).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    good.then(|| text.parse().ok())?
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: Option<EnhancedCode>,
    /// Lines separated by line feeds, without codes.
    text: String,
}

impl Reply {
    /// A reply of one line, as if a server had sent it.
    pub fn new(code: u16, enhanced: Option<EnhancedCode>, text: &str) -> Self {
        let mut reply = Self {
            code,
            enhanced,
            text: String::with_capacity(text.len()),
        };
        push_printable(&mut reply.text, text.as_bytes());
        reply
    }

    /// The three digits, 200 to 599.
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced code, when its class is the one of the reply code. A server that contradicts
    /// itself is taken at the word of the reply code.
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        self.enhanced
            .filter(|enhanced| u16::from(enhanced.class) == self.code / 100)
    }

    /// 2xx.
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 5xx.
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The server closes the connection: 421 (RFC 5321 section 3.8), or 521 (RFC 7504).
    pub const fn is_closing(&self) -> bool {
        matches!(self.code, 421 | 521)
    }

    /// Texts of the lines, without codes.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// Texts of the lines with line feeds between them, without codes.
    pub fn raw_text(&self) -> &str {
        &self.text
    }

    /// Texts of the lines joined by spaces, without codes (case B12).
    pub fn text(&self) -> String {
        self.text.replace('\n', " ")
    }
}

impl fmt::Display for Reply {
    /// Code, enhanced code and texts in one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(formatter, " {enhanced}")?;
        }
        for line in self.lines().filter(|line| !line.is_empty()) {
            write!(formatter, " {line}")?;
        }
        Ok(())
    }
}

/// Why octets are not a reply. The server is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line does not begin with a code.
    #[error("the server sent a line that is no reply: {0:?}")]
    Malformed(String),
    /// More than [`REPLY_LIMIT`] octets.
    #[error("the server sent a reply of more than {REPLY_LIMIT} octets")]
    TooLong,
}

/// Takes octets as they arrive and gives whole replies.
#[derive(Debug, Default)]
pub struct ReplyParser {
    buffer: Vec<u8>,
    /// Octets of `buffer` that were read.
    read: usize,
    /// A reply whose last line has not come.
    partial: Option<Reply>,
    /// Octets of `partial`.
    octets: usize,
}

impl ReplyParser {
    /// Adds octets from the server.
    pub fn feed(&mut self, octets: &[u8]) {
        if self.read == self.buffer.len() {
            self.buffer.clear();
            self.read = 0;
        }
        self.buffer.extend_from_slice(octets);
    }

    /// Forgets all octets that were not yet read as replies (case R17).
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Nothing is left that was not read.
    pub fn is_empty(&self) -> bool {
        self.read == self.buffer.len() && self.partial.is_none()
    }

    /// The next whole reply; `None` when more octets are needed.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        loop {
            let rest = self.buffer.get(self.read..).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', rest) else {
                if self.octets + rest.len() > REPLY_LIMIT {
                    return Err(ReplyError::TooLong);
                }
                return Ok(None);
            };
            self.octets += end + 1;
            if self.octets > REPLY_LIMIT {
                return Err(ReplyError::TooLong);
            }
            let line = rest[..end].trim_ascii_end();
            let last = take_line(line, &mut self.partial)?;
            self.read += end + 1;
            if last {
                self.octets = 0;
                return Ok(self.partial.take());
            }
        }
    }
}

/// Adds one line to the reply; whether it was the last.
fn take_line(line: &[u8], partial: &mut Option<Reply>) -> Result<bool, ReplyError> {
    let malformed = || {
        let mut shown = String::new();
        push_printable(&mut shown, line.get(..80).unwrap_or(line));
        ReplyError::Malformed(shown)
    };
    let code = match line {
        [first @ b'2'..=b'5', second, third, ..]
            if second.is_ascii_digit() && third.is_ascii_digit() =>
        {
            [first, second, third]
                .iter()
                .fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'))
        }
        _ => return Err(malformed()),
    };
    let (last, text) = match line.get(3) {
        None => (true, &[][..]),
        Some(b' ') => (true, &line[4..]),
        Some(b'-') => (false, &line[4..]),
        Some(_) => return Err(malformed()),
    };
    let first = partial.is_none();
    let reply = partial.get_or_insert_with(|| Reply {
        code,
        enhanced: None,
        text: String::new(),
    });
    reply.code = code;
    if !first {
        reply.text.push('\n');
    }
    let text = strip_enhanced(text, &mut reply.enhanced);
    let room = TEXT_LIMIT.saturating_sub(reply.text.len());
    push_printable(&mut reply.text, text.get(..room).unwrap_or(text));
    Ok(last)
}

/// Takes the enhanced code from a line; that of the last line that has one counts, as the reply
/// code does.
fn strip_enhanced<'a>(text: &'a [u8], enhanced: &mut Option<EnhancedCode>) -> &'a [u8] {
    let text = text.trim_ascii_start();
    let head = text.get(..12).unwrap_or(text);
    let head = head.split(|octet| *octet == b' ').next().unwrap_or(head);
    let found = std::str::from_utf8(head).ok().and_then(EnhancedCode::split);
    match found {
        Some((code, _)) => {
            *enhanced = Some(code);
            text[head.len()..].trim_ascii_start()
        }
        None => text,
    }
}

/// Appends octets as text that can be printed.
fn push_printable(text: &mut String, octets: &[u8]) {
    let printable = |octet: &u8| matches!(octet, b' '..=b'~');
    if octets.iter().all(printable) {
        text.push_str(&String::from_utf8_lossy(octets));
        return;
    }
    text.extend(String::from_utf8_lossy(octets).chars().map(|character| {
        if character.is_control() || is_invisible(character) {
            '?'
        } else {
            character
        }
    }));
}

/// Characters that turn the direction of text or break lines without being control characters:
/// a log viewer would show another text than the one that came.
const fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
