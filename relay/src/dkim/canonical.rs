//! Canonical forms of RFC 6376 section 3.4: relaxed headers (3.4.2) and relaxed body (3.4.4).

use std::ops::Range;

use aws_lc_rs::digest;
use bytes::Bytes;

use crate::fields::without_blanks;

/// Octets of canonical body that are handed to the hash at a time.
const BLOCK: usize = 4096;

/// A message made ready for any number of signatures.
pub(super) struct Message {
    /// The header section, with its last line's CRLF, without the empty line.
    headers: Vec<u8>,
    /// Fields in the order of the message.
    fields: Vec<Field>,
    body_hash: digest::Digest,
}

struct Field {
    /// Without the colon and white space before it.
    name: Range<usize>,
    /// Name, colon, value and CRLF.
    whole: Range<usize>,
}

impl Message {
    /// Reads headers and hashes the body of `content`.
    pub(super) fn read(content: &[Bytes]) -> Self {
        let mut headers = Vec::with_capacity(2048);
        let mut body = BodyHasher::new();
        let mut in_body = false;
        for piece in content {
            if in_body {
                body.write(piece);
                continue;
            }
            // The empty line may lie across pieces: look again from three octets before. There is a
            // line end before the first line, so to say, for a message that has no header.
            let before = match headers.len() {
                0..3 => [b"\r\n", headers.as_slice()].concat(),
                length => headers[length - 3..].to_vec(),
            };
            // Only as far as the headers go, so that a piece with the body in it is not copied.
            let (end, copied) = end_of_headers(&before, piece);
            headers.extend_from_slice(&piece[..copied]);
            if end {
                in_body = true;
                headers.truncate(headers.len() - 2);
                body.write(&piece[copied..]);
            }
        }
        let fields = split(&headers);
        Self {
            headers,
            fields,
            body_hash: body.finish(),
        }
    }

    /// SHA-256 of the canonical body.
    pub(super) fn body_hash(&self) -> &[u8] {
        self.body_hash.as_ref()
    }

    /// Whether there is a field of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    /// Appends all fields of this name in canonical form, the last of the message first (RFC 6376
    /// section 5.4.2), each with its CRLF; returns how many.
    pub(super) fn canonical_fields(&self, name: &str, output: &mut Vec<u8>) -> usize {
        let mut count = 0;
        for field in self.named(name).rev() {
            relaxed_field(&self.headers[field.whole.clone()], output);
            output.extend_from_slice(b"\r\n");
            count += 1;
        }
        count
    }

    fn named(&self, name: &str) -> impl DoubleEndedIterator<Item = &Field> {
        self.fields.iter().filter(move |field| {
            self.headers[field.name.clone()].eq_ignore_ascii_case(name.as_bytes())
        })
    }
}

/// Whether the header section ends in `piece`, of which `before` are the last octets before it, and how much of `piece` belongs to it (with the empty line).
fn end_of_headers(before: &[u8], piece: &[u8]) -> (bool, usize) {
    let seam: Vec<u8> = before.iter().chain(piece.iter().take(3)).copied().collect();
    if let Some(at) = memchr::memmem::find(&seam, b"\r\n\r\n") {
        return (true, at + 4 - before.len());
    }
    match memchr::memmem::find(piece, b"\r\n\r\n") {
        Some(at) => (true, at + 4),
        None => (false, piece.len()),
    }
}

/// Splits a header section into fields; what is no field is left out.
fn split(headers: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut start = 0;
    while start < headers.len() {
        let mut end = start;
        loop {
            end = memchr::memchr(b'\n', &headers[end..]).map_or(headers.len(), |at| end + at + 1);
            if !matches!(headers.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        if let Some(colon) = memchr::memchr(b':', &headers[start..end]) {
            let name = without_blanks(&headers[start..start + colon]).len();
            fields.push(Field {
                name: start..start + name,
                whole: start..end,
            });
        }
        start = end;
    }
    fields
}

/// Appends a field (name, colon, value, with or without its CRLF) in relaxed form, without CRLF.
pub(super) fn relaxed_field(field: &[u8], output: &mut Vec<u8>) {
    let colon = memchr::memchr(b':', field).unwrap_or(field.len());
    let (name, value) = field.split_at(colon);
    output.extend(without_blanks(name).iter().map(u8::to_ascii_lowercase));
    output.push(b':');
    let mut space = false;
    let mut empty = true;
    for &octet in value.iter().skip(1) {
        match octet {
            // Unfolding: the CRLF goes, the white space after it stays.
            b'\r' | b'\n' => {}
            b' ' | b'\t' => space = true,
            _ => {
                if space && !empty {
                    output.push(b' ');
                }
                (space, empty) = (false, false);
                output.push(octet);
            }
        }
    }
}

/// Hashes the relaxed form of a body given in pieces.
struct BodyHasher {
    hash: digest::Context,
    block: Vec<u8>,
    /// Line ends that count only if something follows.
    line_ends: usize,
    /// White space that counts only if the line goes on.
    space: bool,
    /// A CR whose LF has not been seen.
    carriage_return: bool,
    empty: bool,
}

impl BodyHasher {
    fn new() -> Self {
        Self {
            hash: digest::Context::new(&digest::SHA256),
            block: Vec::with_capacity(BLOCK + 8),
            line_ends: 0,
            space: false,
            carriage_return: false,
            empty: true,
        }
    }

    fn write(&mut self, piece: &[u8]) {
        for &octet in piece {
            if self.carriage_return {
                self.carriage_return = false;
                if octet == b'\n' {
                    self.line_ends += 1;
                    self.space = false;
                    continue;
                }
                self.text(b'\r');
            }
            match octet {
                b'\r' => self.carriage_return = true,
                b' ' | b'\t' => self.space = true,
                _ => self.text(octet),
            }
        }
    }

    fn text(&mut self, octet: u8) {
        while self.line_ends > 0 {
            self.line_ends -= 1;
            self.block.extend_from_slice(b"\r\n");
            self.flush_full();
        }
        if self.space {
            self.space = false;
            self.block.push(b' ');
        }
        self.block.push(octet);
        self.empty = false;
        self.flush_full();
    }

    fn flush_full(&mut self) {
        if self.block.len() >= BLOCK {
            self.hash.update(&self.block);
            self.block.clear();
        }
    }

    fn finish(mut self) -> digest::Digest {
        if self.carriage_return {
            self.text(b'\r');
        }
        if !self.empty {
            self.block.extend_from_slice(b"\r\n");
        }
        self.hash.update(&self.block);
        self.hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_hash(pieces: &[&'static str]) -> Vec<u8> {
        let mut hasher = BodyHasher::new();
        for piece in pieces {
            hasher.write(piece.as_bytes());
        }
        hasher.finish().as_ref().to_vec()
    }

    fn sha256(text: &str) -> Vec<u8> {
        digest::digest(&digest::SHA256, text.as_bytes())
            .as_ref()
            .to_vec()
    }

    fn relaxed(field: &str) -> String {
        let mut output = Vec::new();
        relaxed_field(field.as_bytes(), &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_relaxed_body_is_as_rfc_6376_says() {
        let rows: [(&[&'static str], &str); 10] = [
            (&[" C \r\nD \t E\r\n\r\n\r\n"], " C\r\nD E\r\n"),
            (&["no line end"], "no line end\r\n"),
            (&["a\r", "\nb\r\n"], "a\r\nb\r\n"),
            (&["a ", " \t", "b", "\r\n"], "a b\r\n"),
            (&["a \r\n", "\r\n", " b\r\n"], "a\r\n\r\n b\r\n"),
            (&["a\r\n  \r\n\t\r\n"], "a\r\n"),
            (&["a\r\n  \r\nb"], "a\r\n\r\nb\r\n"),
            (&["a\rb\nc"], "a\rb\nc\r\n"),
            (&["\r\n\r\na\r\n"], "\r\n\r\na\r\n"),
            (&[], ""),
        ];
        for (pieces, canonical) in rows {
            assert_eq!(body_hash(pieces), sha256(canonical), "{pieces:?}");
        }
    }

    #[test]
    fn k1_an_empty_relaxed_body_has_the_known_hash() {
        use base64::Engine as _;
        let hash = base64::engine::general_purpose::STANDARD.encode(body_hash(&["\r\n\r\n"]));
        assert_eq!(hash, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn k3_trailing_lines_of_spaces_only_are_removed() {
        assert_eq!(body_hash(&["text\r\n   \r\n\t \r\n"]), sha256("text\r\n"));
        assert_eq!(body_hash(&["   \r\n \r\n"]), sha256(""));
        assert_eq!(body_hash(&["   "]), sha256(""));
    }

    #[test]
    fn k5_a_value_that_starts_on_the_next_line_has_no_leading_space() {
        assert_eq!(
            relaxed("List-Unsubscribe:\r\n   value\r\n"),
            "list-unsubscribe:value"
        );
    }

    #[test]
    fn k6_space_before_a_fold_is_one_space() {
        assert_eq!(
            relaxed("Name: example \r\n value\r\n"),
            "name:example value"
        );
        assert_eq!(relaxed("A: X\r\n"), "a:X");
        assert_eq!(relaxed("B : Y\t\r\n\tZ  \r\n"), "b:Y Z");
        assert_eq!(relaxed("Empty:\r\n"), "empty:");
    }

    #[test]
    fn the_header_section_ends_at_the_first_empty_line_wherever_pieces_are_cut() {
        let text = "From: a@b.example\r\nTo: c\r\n\r\nbody\r\n\r\nmore\r\n";
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let pieces = [&text[..cut], &text[cut..second], &text[second..]]
                    .map(|piece| Bytes::copy_from_slice(piece.as_bytes()));
                let message = Message::read(&pieces);
                assert_eq!(
                    message.headers, b"From: a@b.example\r\nTo: c\r\n",
                    "{cut} {second}"
                );
                assert_eq!(
                    message.body_hash(),
                    sha256("body\r\n\r\nmore\r\n"),
                    "{cut} {second}"
                );
            }
        }
    }

    #[test]
    fn a_message_that_begins_with_an_empty_line_is_all_body() {
        let text = b"\r\nFrom: a@b.example\r\n\r\nbody\r\n";
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let pieces = [&text[..cut], &text[cut..second], &text[second..]];
                let message = Message::read(&pieces.map(Bytes::copy_from_slice));
                assert!(!message.has("From"), "{cut} {second}");
                let body = sha256("From: a@b.example\r\n\r\nbody\r\n");
                assert_eq!(message.body_hash(), body, "{cut} {second}");
            }
        }
    }

    #[test]
    fn a_message_without_an_empty_line_is_all_headers() {
        let message = Message::read(&[Bytes::from_static(b"From: a@b.example\r\nX")]);
        assert!(message.has("from"));
        assert_eq!(message.body_hash(), sha256(""));
    }
}
