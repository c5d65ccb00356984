//! Message data after `DATA`: RFC 5321 sections 4.1.1.4 and 4.5.2, read as a stream.
//!
//! Only `<CRLF>.<CRLF>` ends the data (cases R1, R2); the line end before the first octet is that of
//! the `DATA` command, so `.<CRLF>` alone is an empty message. A carriage return or line feed that
//! is not part of a pair makes the message refused, wherever it stands (cases R3 to R5): a relay
//! that passes one on lets a sender smuggle a second message past a server that reads lines
//! otherwise.
//!
//! Memory is bounded: what is too large or refused is dropped and only counted to its end, and a
//! client that does not end at all is cut off at [`OVERRUN_FACTOR`] times the limit.

use bytes::{Bytes, BytesMut};

/// Octets read from one `DATA`, as a multiple of the size limit, before the session is ended.
pub const OVERRUN_FACTOR: u64 = 4;
/// Octets that any `DATA` may have before it counts as an overrun, however small the limit is.
const SMALLEST_OVERRUN: u64 = 64 * 1024;

/// Octets that a client may send for one message before the session is ended.
pub(crate) fn overrun(limit: u64) -> u64 {
    limit.saturating_mul(OVERRUN_FACTOR).max(SMALLEST_OVERRUN)
}

/// What [`DataDecoder::feed`] made of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of it was data; more is to come.
    More,
    /// The data ended; this many octets of the chunk belonged to it.
    Ended {
        /// Octets of the chunk up to and with the final line end.
        consumed: usize,
    },
    /// The client sends on and on; end the session.
    Overrun,
}

/// Why received data is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFault {
    /// A carriage return or a line feed stands alone.
    BareLineEnd,
    /// More octets than the limit.
    TooLarge,
    /// More octets before the first empty line than the limit.
    HeaderTooLarge,
}

/// A message as it was meant: dots unstuffed, each line ended by CRLF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The octets.
    pub bytes: Bytes,
    /// Octets of the longest line without its CRLF.
    pub longest_line: usize,
}

/// Takes chunks as they arrive and puts the message together.
#[derive(Debug)]
pub struct DataDecoder {
    state: State,
    body: BytesMut,
    /// Octets of the message, counted even when they are no longer kept.
    length: u64,
    limit: u64,
    /// Octets read, stuffing and all.
    read: u64,
    /// Where `read` counts as an overrun.
    most: u64,
    bare_line_end: bool,
    /// No empty line has come yet.
    in_header: bool,
    header_limit: u64,
    header_too_large: bool,
    line: usize,
    longest_line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LineStart,
    /// After a dot at the start of a line; the dot is not kept.
    Dot,
    /// After that dot and a carriage return.
    DotReturn,
    Text,
    /// After a carriage return in text.
    Return,
}

impl DataDecoder {
    /// For a message of at most `limit` octets. `expected` octets (what `SIZE=` announced) are set
    /// aside at once, so the caller bounds them.
    pub fn new(limit: u64, expected: usize) -> Self {
        Self {
            state: State::LineStart,
            body: BytesMut::with_capacity(expected),
            length: 0,
            limit,
            read: 0,
            most: overrun(limit),
            bare_line_end: false,
            in_header: true,
            header_limit: u64::MAX,
            header_too_large: false,
            line: 0,
            longest_line: 0,
        }
    }

    /// Refuses a message whose header has clearly more octets than `limit`, without keeping more of
    /// it than was fed at once.
    #[must_use]
    pub fn with_header_limit(self, limit: u64) -> Self {
        Self {
            header_limit: limit,
            ..self
        }
    }

    /// Octets in memory.
    pub fn kept(&self) -> usize {
        self.body.len()
    }

    /// Keeps nothing from here on and lets the data run to its end: for a message that will be
    /// refused whatever it holds.
    pub fn discard(&mut self) {
        self.limit = 0;
        self.body = BytesMut::new();
    }

    /// Reads the next octets of the connection.
    pub fn feed(&mut self, chunk: &[u8]) -> Progress {
        let room = usize::try_from(self.most.saturating_sub(self.read)).unwrap_or(usize::MAX);
        let allowed = &chunk[..chunk.len().min(room)];
        let ended = self.scan(allowed);
        self.read += ended.unwrap_or(allowed.len()) as u64;
        if self.in_header && self.length > self.header_limit {
            self.header_too_large = true;
            self.discard();
        }
        match ended {
            Some(consumed) => Progress::Ended { consumed },
            None if allowed.len() < chunk.len() => Progress::Overrun,
            None => Progress::More,
        }
    }

    /// The message, once [`Self::feed`] has seen its end.
    pub fn finish(self) -> Result<Content, DataFault> {
        if self.bare_line_end {
            return Err(DataFault::BareLineEnd);
        }
        if self.header_too_large {
            return Err(DataFault::HeaderTooLarge);
        }
        if self.length > self.limit {
            return Err(DataFault::TooLarge);
        }
        Ok(Content {
            bytes: self.body.freeze(),
            longest_line: self.longest_line,
        })
    }

    /// Goes through `chunk` and keeps its text in runs that are as long as no dot has to go.
    fn scan(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut index = 0;
        let mut run = 0;
        while let Some(&octet) = chunk.get(index) {
            match self.state {
                State::LineStart if octet == b'.' => {
                    self.keep(&chunk[run..index]);
                    index += 1;
                    run = index;
                    self.state = State::Dot;
                }
                State::Dot if octet == b'\r' => {
                    index += 1;
                    run = index;
                    self.state = State::DotReturn;
                }
                State::LineStart | State::Dot => self.state = State::Text,
                State::DotReturn if octet == b'\n' => return Some(index + 1),
                State::DotReturn => {
                    self.bare_line_end();
                    self.state = State::Return;
                }
                State::Text => {
                    let rest = &chunk[index..];
                    let found = memchr::memchr2(b'\r', b'\n', rest);
                    let text = found.unwrap_or(rest.len());
                    self.line += text;
                    index += text;
                    match found.map(|at| rest[at]) {
                        Some(b'\r') => {
                            index += 1;
                            self.state = State::Return;
                        }
                        Some(_) => {
                            index += 1;
                            self.bare_line_end();
                        }
                        None => {}
                    }
                }
                State::Return if octet == b'\n' => {
                    index += 1;
                    self.in_header &= self.line > 0;
                    self.longest_line = self.longest_line.max(self.line);
                    self.line = 0;
                    self.state = State::LineStart;
                }
                State::Return => {
                    self.bare_line_end();
                    // A second return may be the first half of a real line end.
                    if octet == b'\r' {
                        index += 1;
                    } else {
                        self.state = State::Text;
                    }
                }
            }
        }
        self.keep(&chunk[run..]);
        None
    }

    fn bare_line_end(&mut self) {
        self.bare_line_end = true;
        self.body = BytesMut::new();
    }

    fn keep(&mut self, text: &[u8]) {
        self.length += text.len() as u64;
        if self.bare_line_end {
            return;
        }
        if self.length > self.limit {
            self.body = BytesMut::new();
        } else {
            self.body.extend_from_slice(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `wire` in chunks of `size`; the rest after the end comes back too.
    fn decode(
        wire: &[u8],
        size: usize,
        limit: u64,
    ) -> (Option<Result<Content, DataFault>>, Vec<u8>) {
        let mut decoder = DataDecoder::new(limit, 0);
        let mut at = 0;
        for chunk in wire.chunks(size.max(1)) {
            match decoder.feed(chunk) {
                Progress::More => at += chunk.len(),
                Progress::Ended { consumed } => {
                    return (Some(decoder.finish()), wire[at + consumed..].to_vec());
                }
                Progress::Overrun => return (None, Vec::new()),
            }
        }
        (None, Vec::new())
    }

    fn text(wire: &str) -> Option<Result<String, DataFault>> {
        let (result, _) = decode(wire.as_bytes(), usize::MAX, 1000);
        result
            .map(|result| result.map(|content| String::from_utf8(content.bytes.to_vec()).unwrap()))
    }

    #[test]
    fn r1_only_crlf_dot_crlf_ends_data() {
        let wire = "Subject: x\r\n\r\nhello\n.\r\nMAIL FROM:<evil@x>\r\n.\r\n";
        assert_eq!(text(wire), Some(Err(DataFault::BareLineEnd)));
        for wire in [
            "a\n.\r\n",
            "a\r.\r\n",
            "a\r\n.\n",
            "a\r\n.\r",
            "a\n.\n",
            "a\r\n.\r\r",
        ] {
            assert_eq!(text(wire), None, "{wire:?}");
        }
    }

    #[test]
    fn r2_d4_lf_dot_lf_is_not_the_end_of_data() {
        let wire = "Next is a bad line\n.\nBut the email goes on.\r\n.\r\n";
        assert_eq!(text(wire), Some(Err(DataFault::BareLineEnd)));
    }

    #[test]
    fn r3_r4_r5_a_lone_return_or_line_feed_anywhere_refuses_the_message() {
        for wire in [
            "a\nb\r\n.\r\n",
            "a\rb\r\n.\r\n",
            "\na\r\n.\r\n",
            "\ra\r\n.\r\n",
            "a\r\r\n.\r\n",
            "a\r\n\n.\r\n\r\n.\r\n",
            "a\r\n.\nb\r\n.\r\n",
            "a\r\n.\rb\r\n.\r\n",
            "a\r\n.\r\r\n.\r\n",
            "a\n\r\n.\r\n",
        ] {
            assert_eq!(text(wire), Some(Err(DataFault::BareLineEnd)), "{wire:?}");
        }
    }

    #[test]
    fn r8_d1_d5_every_stuffed_dot_is_removed_once() {
        let rows = [
            (".\r\n", ""),
            ("..\r\n..\r\n.\r\n", ".\r\n.\r\n"),
            ("hello\r\n..\r\nworld\r\n.\r\n", "hello\r\n.\r\nworld\r\n"),
            ("..first\r\n.\r\n", ".first\r\n"),
            (
                ".bare dot by a careless client\r\n.\r\n",
                "bare dot by a careless client\r\n",
            ),
            ("a.\r\n.\r\n", "a.\r\n"),
            ("\r\n.\r\n", "\r\n"),
            ("...\r\n.\r\n", "..\r\n"),
        ];
        for (wire, expected) in rows {
            assert_eq!(text(wire), Some(Ok(expected.into())), "{wire:?}");
        }
    }

    #[test]
    fn what_follows_the_end_is_left_alone() {
        let (result, rest) = decode(b"a\r\n.\r\nQUIT\r\n", usize::MAX, 100);
        assert!(result.unwrap().is_ok());
        assert_eq!(rest, b"QUIT\r\n");
    }

    #[test]
    fn a_message_over_the_limit_is_dropped_and_read_to_its_end() {
        let wire = format!("{}\r\n.\r\nQUIT\r\n", "x".repeat(120));
        for size in [1, 7, 1000] {
            let (result, rest) = decode(wire.as_bytes(), size, 121);
            assert_eq!(result, Some(Err(DataFault::TooLarge)));
            assert_eq!(rest, b"QUIT\r\n");
            let (result, _) = decode(wire.as_bytes(), size, 122);
            assert_eq!(result.unwrap().unwrap().bytes.len(), 122);
        }
    }

    #[test]
    fn memory_is_given_back_once_the_message_cannot_be_accepted() {
        let mut decoder = DataDecoder::new(100, 0);
        assert_eq!(decoder.feed(&[b'x'; 90]), Progress::More);
        assert_eq!(decoder.kept(), 90);
        decoder.feed(&[b'x'; 90]);
        assert_eq!(decoder.kept(), 0);
        let mut decoder = DataDecoder::new(100, 0);
        decoder.feed(b"abc\ndef");
        assert_eq!(decoder.kept(), 0);
    }

    #[test]
    fn data_without_end_is_cut_off() {
        let mut decoder = DataDecoder::new(100, 0);
        let chunk = [b'x'; 1000];
        let fed = (1..1000).find(|_| decoder.feed(&chunk) == Progress::Overrun);
        assert_eq!(fed, Some(66));
    }

    #[test]
    fn a_header_without_end_is_dropped_long_before_the_message_is_too_large() {
        let field = b"X-Filler: 0123456789\r\n";
        let mut decoder = DataDecoder::new(1_000_000, 0).with_header_limit(1000);
        for _ in 0..1000 {
            decoder.feed(field);
            assert!(decoder.kept() <= 1000);
        }
        assert!(matches!(decoder.feed(b"\r\n.\r\n"), Progress::Ended { .. }));
        assert_eq!(decoder.finish(), Err(DataFault::HeaderTooLarge));

        let mut decoder = DataDecoder::new(1_000_000, 0).with_header_limit(1000);
        decoder.feed(b"Subject: x\r\n\r\n");
        for _ in 0..1000 {
            decoder.feed(field);
        }
        decoder.feed(b".\r\n");
        assert_eq!(decoder.finish().unwrap().bytes.len(), 14 + 22 * 1000);
    }

    #[test]
    fn the_longest_line_is_known() {
        let (result, _) = decode(b"abc\r\n..defgh\r\n\r\nx\r\n.\r\n", 2, 100);
        assert_eq!(result.unwrap().unwrap().longest_line, 6);
    }

    /// The rules once more, without streaming: split at the first `\r\n.\r\n`, then look.
    fn model(wire: &[u8], limit: u64) -> Option<Result<Vec<u8>, DataFault>> {
        let framed = [b"\r\n".as_slice(), wire].concat();
        let end = memchr::memmem::find(&framed, b"\r\n.\r\n")?;
        let body = &framed[..end + 2];
        let lone = (0..body.len()).any(|at| match body[at] {
            b'\r' => body.get(at + 1) != Some(&b'\n'),
            b'\n' => at == 0 || body[at - 1] != b'\r',
            _ => false,
        });
        if lone {
            return Some(Err(DataFault::BareLineEnd));
        }
        let text = String::from_utf8_lossy(body).replace("\r\n.", "\r\n");
        let message = text.as_bytes()[2..].to_vec();
        if message.len() as u64 > limit {
            return Some(Err(DataFault::TooLarge));
        }
        Some(Ok(message))
    }

    proptest! {
        #[test]
        fn any_stream_in_any_chunks_decodes_as_the_rules_say(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["\r\n", ".", "\r", "\n", "a", "bc", "\r\n.\r\n"]), 0..40),
            size in 1_usize..9,
            limit in 0_u64..40,
        ) {
            let wire = pieces.concat();
            let (result, _) = decode(wire.as_bytes(), size, limit);
            let result = result.map(|result| result.map(|content| content.bytes.to_vec()));
            prop_assert_eq!(result, model(wire.as_bytes(), limit));
        }
    }
}
