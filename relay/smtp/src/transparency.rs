//! Message data on its way out: RFC 5321 sections 4.1.1.4 and 4.5.2.
//!
//! The content is given in pieces and comes out in pieces that share its memory: a dot is put before
//! each line that begins with one (cases D1 to D5), and the data ends in exactly one `<CRLF>.<CRLF>`.
//! Content has no lone carriage return or line feed, since the way in refuses them; should one be
//! there, it becomes a whole line end, because a next server that takes it for one would otherwise
//! see a line whose dot was not doubled.

use bytes::Bytes;

const DOT: Bytes = Bytes::from_static(b".");
const CARRIAGE_RETURN: Bytes = Bytes::from_static(b"\r");
const LINE_FEED: Bytes = Bytes::from_static(b"\n");
const END: Bytes = Bytes::from_static(b".\r\n");
const LINE_END_AND_END: Bytes = Bytes::from_static(b"\r\n.\r\n");

/// The octets after the `354` reply, in order.
pub fn encode(content: &[Bytes]) -> Vec<Bytes> {
    let mut encoder = Encoder {
        pieces: Vec::with_capacity(content.len() + 1),
        last: LINE_START,
    };
    for piece in content {
        encoder.piece(piece);
    }
    let end = encoder.end();
    encoder.pieces.push(end);
    encoder.pieces
}

/// The octet before the first one: the data begins after the line end of `DATA`.
const LINE_START: u8 = b'\n';

struct Encoder {
    pieces: Vec<Bytes>,
    /// The octet before the next piece.
    last: u8,
}

impl Encoder {
    fn piece(&mut self, piece: &Bytes) {
        let mut sent = 0;
        let Some(&first) = piece.first() else { return };
        if first == b'\n' && self.last != b'\r' {
            self.pieces.push(CARRIAGE_RETURN);
        } else if let Some(insert) = between(self.last, first) {
            self.pieces.push(insert);
        }
        // Only after a line end can something have to stand between two octets.
        for at in memchr::memchr2_iter(b'\r', b'\n', piece) {
            if piece[at] == b'\n' {
                let before = at.checked_sub(1).map(|before| piece[before]);
                if before.is_some_and(|before| before != b'\r') {
                    self.cut(piece, &mut sent, at, CARRIAGE_RETURN);
                }
            }
            if let Some(insert) = piece.get(at + 1).and_then(|&next| between(piece[at], next)) {
                self.cut(piece, &mut sent, at + 1, insert);
            }
        }
        self.pieces.push(piece.slice(sent..));
        self.last = piece.last().copied().unwrap_or(self.last);
    }

    fn cut(&mut self, piece: &Bytes, sent: &mut usize, at: usize, insert: Bytes) {
        if at > *sent {
            self.pieces.push(piece.slice(*sent..at));
        }
        self.pieces.push(insert);
        *sent = at;
    }

    fn end(&mut self) -> Bytes {
        match self.last {
            b'\n' => END,
            b'\r' => {
                self.pieces.push(LINE_FEED);
                END
            }
            _ => LINE_END_AND_END,
        }
    }
}

/// What must stand between two octets, the first of which may be a line end. A line feed as second
/// octet is not judged here but where it stands.
fn between(last: u8, next: u8) -> Option<Bytes> {
    match (last, next) {
        (b'\n', b'.') => Some(DOT),
        // A lone carriage return ends the line; what follows begins one.
        (b'\r', b'.') => Some(Bytes::from_static(b"\n.")),
        (b'\r', b'\n') => None,
        (b'\r', _) => Some(LINE_FEED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(content: &[&'static [u8]]) -> Vec<u8> {
        let content: Vec<_> = content
            .iter()
            .map(|piece| Bytes::from_static(piece))
            .collect();
        encode(&content).concat()
    }

    #[test]
    fn d1_d3_d4_d5_dots_at_line_starts_are_doubled_and_nothing_else() {
        let rows: [(&[u8], &[u8]); 10] = [
            (b"hello\r\n.\r\nworld\r\n", b"hello\r\n..\r\nworld\r\n.\r\n"),
            (b".first\r\n", b"..first\r\n.\r\n"),
            (b"a.b\r\n.c\r\n", b"a.b\r\n..c\r\n.\r\n"),
            (b"..\r\n..\r\n", b"...\r\n...\r\n.\r\n"),
            (b"", b".\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b"no end", b"no end\r\n.\r\n"),
            (
                b"Next is a bad line\n.\nBut the email goes on.\r\n",
                b"Next is a bad line\r\n..\r\nBut the email goes on.\r\n.\r\n",
            ),
            (b"a\r.\rb\r", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"\n\n.\r\n", b"\r\n\r\n..\r\n.\r\n"),
        ];
        for (content, expected) in rows {
            let piece = Bytes::from_static(content);
            let sent = encode(&[piece]).concat();
            assert_eq!(
                sent.escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn line_ends_that_lie_across_pieces_count() {
        assert_eq!(joined(&[b"a\r\n", b".b\r\n"]), b"a\r\n..b\r\n.\r\n");
        assert_eq!(joined(&[b"a\r", b"\n.b\r\n"]), b"a\r\n..b\r\n.\r\n");
        assert_eq!(joined(&[b"a\r\n", b"", b".", b"\r\n"]), b"a\r\n..\r\n.\r\n");
        assert_eq!(joined(&[b"a\r", b".\r\n"]), b"a\r\n..\r\n.\r\n");
        assert_eq!(joined(&[b"a", b"\n.\r\n"]), b"a\r\n..\r\n.\r\n");
    }

    #[test]
    fn a_body_without_dots_is_not_copied() {
        let body = Bytes::from(vec![b'x'; 10_000]);
        let sent = encode(&[body.clone(), Bytes::from_static(b"\r\n")]);
        assert_eq!(sent.len(), 3);
        assert_eq!(sent[0].as_ptr(), body.as_ptr());
    }

    proptest! {
        #[test]
        fn d1_d3_d5_our_own_server_reads_back_what_was_sent(
            lines in proptest::collection::vec("[a.]{0,4}", 0..12), split in 0_usize..40,
        ) {
            let text: String = lines.iter().map(|line| line.clone() + "\r\n").collect();
            let octets = Bytes::from(text.clone());
            let split = split.min(octets.len());
            let sent = encode(&[octets.slice(..split), octets.slice(split..)]).concat();
            let mut decoder = crate::data::DataDecoder::new(10_000, 0);
            let ended = crate::data::Progress::Ended { consumed: sent.len() };
            prop_assert_eq!(decoder.feed(&sent), ended);
            prop_assert_eq!(decoder.finish().unwrap().bytes, text.as_bytes());
        }

        #[test]
        fn what_a_strict_receiver_reads_is_the_content_with_whole_line_ends(
            text in "[a.\r\n]{0,40}", cuts in proptest::collection::vec(0_usize..40, 0..4),
        ) {
            let octets = Bytes::from(text.clone());
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(octets.len())).collect();
            cuts.extend([0, octets.len()]);
            cuts.sort_unstable();
            let pieces: Vec<Bytes> =
                cuts.windows(2).map(|pair| octets.slice(pair[0]..pair[1])).collect();
            let sent = String::from_utf8(encode(&pieces).concat()).unwrap();

            let mut expected = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
            if !expected.is_empty() && !expected.ends_with("\r\n") {
                expected.push_str("\r\n");
            }
            let body = sent.strip_suffix(".\r\n").unwrap();
            let seen = ["\r\n", body].concat();
            prop_assert!(!seen.contains("\r\n.\r\n"));
            let unstuffed: String = body
                .split_inclusive("\r\n")
                .map(|line| line.strip_prefix('.').unwrap_or(line))
                .collect();
            prop_assert_eq!(unstuffed, expected);
        }
    }
}
