//! Message data in chunks after `BDAT`: RFC 3030 section 2.
//!
//! The chunk's size alone says where it ends, so nothing in it is stuffed or looked for (case R10).
//! The relay passes messages on by `DATA` all the same, so unless the client declared
//! `BODY=BINARYMIME` a carriage return or line feed that is not part of a pair is refused here as it
//! is there (cases R3 to R5), and a pair may be cut by the end of a chunk. Content that does not
//! end in a line end gets one.
//!
//! Memory is bounded: what is too large or refused is dropped.

use bytes::{Bytes, BytesMut};

use crate::data::{Content, DataFault};

/// The chunks of one message, put together.
#[derive(Debug)]
pub struct Chunks {
    body: BytesMut,
    limit: u64,
    /// Octets may be of any kind.
    binary: bool,
    fault: Option<DataFault>,
    after_return: bool,
    /// No empty line has come yet.
    in_header: bool,
    header_limit: u64,
    line: usize,
    longest_line: usize,
}

impl Chunks {
    /// For a message of at most `limit` octets. `expected` octets are set aside at once, so the
    /// caller bounds them. `binary` lets octets of any kind pass.
    pub fn new(limit: u64, expected: usize, binary: bool) -> Self {
        Self {
            body: BytesMut::with_capacity(expected),
            limit,
            binary,
            fault: None,
            after_return: false,
            in_header: true,
            header_limit: u64::MAX,
            line: 0,
            longest_line: 0,
        }
    }

    /// Refuses a message whose header has clearly more octets than `limit`.
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

    /// Why the message cannot be accepted, as far as it is known.
    pub fn fault(&self) -> Option<DataFault> {
        self.fault
    }

    /// Whether a chunk of `size` octets more would fit.
    pub fn would_fit(&self, size: u64) -> bool {
        (self.body.len() as u64).saturating_add(size) <= self.limit
    }

    /// Takes octets of a chunk.
    pub fn feed(&mut self, octets: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        if !self.would_fit(octets.len() as u64) {
            return self.refuse(DataFault::TooLarge);
        }
        if !self.scan(octets) && !self.binary {
            return self.refuse(DataFault::BareLineEnd);
        }
        self.body.extend_from_slice(octets);
        if self.in_header && self.body.len() as u64 > self.header_limit {
            self.refuse(DataFault::HeaderTooLarge);
        }
    }

    /// The message, once its last chunk was fed.
    pub fn finish(mut self) -> Result<Content, DataFault> {
        if self.after_return && !self.binary && self.fault.is_none() {
            self.refuse(DataFault::BareLineEnd);
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.longest_line = self.longest_line.max(self.line);
        if !self.binary && self.line > 0 {
            self.body.extend_from_slice(b"\r\n");
        }
        let bytes: Bytes = self.body.freeze();
        Ok(Content {
            bytes,
            longest_line: self.longest_line,
        })
    }

    fn refuse(&mut self, fault: DataFault) {
        self.fault = Some(fault);
        self.body = BytesMut::new();
    }

    /// Measures lines; whether all line ends so far are pairs.
    fn scan(&mut self, octets: &[u8]) -> bool {
        let mut pairs = true;
        let mut at = 0;
        while let Some(&octet) = octets.get(at) {
            if std::mem::take(&mut self.after_return) {
                if octet == b'\n' {
                    self.in_header &= self.line > 0;
                    self.longest_line = self.longest_line.max(self.line);
                    self.line = 0;
                    at += 1;
                    continue;
                }
                pairs = false;
                self.line += 1;
            }
            let rest = &octets[at..];
            let found = memchr::memchr2(b'\r', b'\n', rest);
            let text = found.unwrap_or(rest.len());
            self.line += text;
            at += text;
            match found.map(|found| rest[found]) {
                Some(b'\r') => self.after_return = true,
                Some(_) => {
                    pairs = false;
                    self.line += 1;
                }
                None => {}
            }
            at += usize::from(found.is_some());
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(chunks: &[&[u8]], binary: bool) -> Result<Content, DataFault> {
        let mut message = Chunks::new(100, 0, binary);
        for chunk in chunks {
            message.feed(chunk);
        }
        message.finish()
    }

    #[test]
    fn r10_octets_are_unchanged() {
        let text = b"Subject: x\r\n\r\n.leading dot\r\n.\r\n..\r\n";
        let content = put(&[text], false).unwrap();
        assert_eq!(content.bytes, text.as_slice());
        assert_eq!(content.longest_line, 12);
    }

    #[test]
    fn r3_r10_a_lone_return_or_line_feed_is_refused_unless_binary() {
        for chunks in [
            [b"a\nb\r\n".as_slice(), b""],
            [b"a\rb\r\n", b""],
            [b"a\r", b"b\r\n"],
            [b"a\r\r\n", b""],
            [b"a\r\n", b"\n"],
            [b"a", b"\n"],
            [b"a\r\nb\r", b""],
        ] {
            assert_eq!(
                put(&chunks, false),
                Err(DataFault::BareLineEnd),
                "{chunks:?}"
            );
            assert_eq!(put(&chunks, true).unwrap().bytes, chunks.concat());
        }
        let cut = put(&[b"a\r", b"\nb\r\n"], false).unwrap();
        assert_eq!(cut.bytes, b"a\r\nb\r\n".as_slice());
    }

    #[test]
    fn a_last_line_without_its_end_gets_one() {
        assert_eq!(
            put(&[b"a\r\nbc"], false).unwrap().bytes,
            b"a\r\nbc\r\n".as_slice()
        );
        assert_eq!(put(&[], false).unwrap().bytes, b"".as_slice());
        assert_eq!(put(&[b"a"], true).unwrap().bytes, b"a".as_slice());
    }

    #[test]
    fn what_is_too_large_or_refused_is_not_kept() {
        let mut message = Chunks::new(10, 0, false);
        message.feed(b"12345678\r\n");
        assert_eq!(message.kept(), 10);
        assert!(message.would_fit(0) && !message.would_fit(1));
        message.feed(b"x");
        assert_eq!(
            (message.kept(), message.fault()),
            (0, Some(DataFault::TooLarge))
        );
        message.feed(b"x");
        assert_eq!(message.kept(), 0);
        let mut message = Chunks::new(100, 0, false).with_header_limit(10);
        message.feed(b"Subject: x\r\n");
        assert_eq!(message.finish(), Err(DataFault::HeaderTooLarge));
        let mut message = Chunks::new(10, 0, false);
        message.feed(b"a\nb");
        assert_eq!(message.kept(), 0);
        assert_eq!(message.finish(), Err(DataFault::BareLineEnd));
    }

    proptest! {
        #[test]
        fn how_a_message_is_cut_changes_nothing(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["\r\n", "\r", "\n", "a", ".", "bcd"]), 0..30),
            size in 1_usize..7,
            binary: bool,
        ) {
            let whole = pieces.concat();
            let parts: Vec<&[u8]> = whole.as_bytes().chunks(size).collect();
            prop_assert_eq!(put(&parts, binary), put(&[whole.as_bytes()], binary));
            let lone = whole.replace("\r\n", "").contains(['\r', '\n']);
            prop_assert_eq!(put(&[whole.as_bytes()], binary).is_err(), lone && !binary);
        }
    }
}
