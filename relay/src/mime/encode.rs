//! Quoted-printable (RFC 2045 section 6.7) and base64 (section 6.8), written so that every decoder
//! gives back the octets that went in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Octets of an encoded line, without the `=` of a soft break.
const COLUMNS: usize = 75;
/// Octets that make one line of base64, and its characters.
const GROUP: usize = 57;
const LINE: usize = 76;

/// Escapes that any text may have.
const READABLE: usize = 20;

const HEXADECIMAL: &[u8; 16] = b"0123456789ABCDEF";

/// Whether base64 is the shorter one for this text: it grows by a third, and quoted-printable by two
/// octets for each that has to be escaped. A short text stays readable.
pub(super) fn prefers_base64(text: &[u8]) -> bool {
    let escaped = |octet: &&u8| !matches!(octet, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    text.iter().filter(escaped).count() > text.len() / 6 + READABLE
}

/// As quoted-printable. Line ends stay line ends; a CR or LF that stands alone is escaped.
/// `last`: nothing follows the text, so that its last line has to be ended here.
pub(super) fn quoted_printable(text: &[u8], last: bool) -> Vec<u8> {
    let mut writer = Writer::new(text.len());
    let mut at = 0;
    while let Some(&octet) = text.get(at) {
        let rest = &text[at..];
        if rest.starts_with(b"\r\n") {
            writer.line_end();
            at += 2;
            continue;
        }
        // White space at the end of a line may be lost on the way.
        let ends = rest.len() == 1 || rest[1..].starts_with(b"\r\n");
        let plain = match octet {
            b' ' | b'\t' => !ends,
            b'=' => false,
            _ => octet.is_ascii_graphic(),
        };
        writer.octet(octet, plain, rest);
        at += 1;
    }
    if last {
        writer.end();
    }
    writer.out
}

/// Makes quoted-printable text that breaks its own rules obey them: lines of any length are broken
/// softly, octets that may not stand there are escaped. It decodes to the same.
pub(super) fn mend_quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\r\n");
        let line = &rest[..end.unwrap_or(rest.len())];
        let plain = |octet: &u8| matches!(octet, b' '..=b'~' | b'\t');
        if line.len() <= LINE && line.iter().all(plain) {
            writer.out.extend_from_slice(line);
        } else {
            // RFC 2045 section 6.7 rule 3: decoders delete it.
            let text = |octet: &u8| !matches!(octet, b' ' | b'\t');
            let length = line.iter().rposition(text).map_or(0, |last| last + 1);
            mend_line(&line[..length], &mut writer);
        }
        if end.is_some() {
            writer.line_end();
        }
        rest = &rest[end.map_or(rest.len(), |end| end + 2)..];
    }
    writer.out
}

fn mend_line(line: &[u8], writer: &mut Writer) {
    let mut at = 0;
    while let Some(&octet) = line.get(at) {
        let rest = &line[at..];
        match rest {
            [b'='] => writer.out.push(b'='),
            [b'=', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                writer.room(3);
                writer.push(&rest[..3]);
                at += 2;
            }
            _ => {
                let plain = matches!(octet, b' '..=b'~' | b'\t') && octet != b'=';
                writer.octet(octet, plain, rest);
            }
        }
        at += 1;
    }
}

/// As base64 in lines of 76 characters; the last one is ended only if it is the `last` of all.
pub(super) fn base64(octets: &[u8], last: bool) -> Vec<u8> {
    let lines = octets.len().div_ceil(GROUP);
    let mut out = Vec::with_capacity(lines * (LINE + 2));
    let mut line = String::with_capacity(LINE);
    for group in octets.chunks(GROUP) {
        if !out.is_empty() {
            out.extend_from_slice(b"\r\n");
        }
        line.clear();
        BASE64.encode_string(group, &mut line);
        out.extend_from_slice(line.as_bytes());
    }
    if last {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The same base64 in lines of 76 characters; what no decoder reads is left out.
pub(super) fn rewrap_base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32 + 2);
    let mut column = 0;
    let alphabet = |octet: &&u8| octet.is_ascii_alphanumeric() || b"+/=".contains(octet);
    for &octet in text.iter().filter(alphabet) {
        if column == LINE {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.push(octet);
        column += 1;
    }
    if text.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

struct Writer {
    out: Vec<u8>,
    column: usize,
}

impl Writer {
    fn new(length: usize) -> Self {
        Self {
            out: Vec::with_capacity(length + length / 8),
            column: 0,
        }
    }

    /// One octet, escaped unless it is `plain`; `rest` begins with it.
    fn octet(&mut self, octet: u8, plain: bool, rest: &[u8]) {
        self.room(if plain { 1 } else { 3 });
        // At the start of a line: a broken line must not become a MIME delimiter, and dots and
        // "From " are what mail software likes to change.
        let harmless =
            self.column > 0 || !(octet == b'-' || octet == b'.' || rest.starts_with(b"From "));
        if plain && harmless {
            self.push(&[octet]);
        } else {
            let high = HEXADECIMAL[usize::from(octet >> 4)];
            let low = HEXADECIMAL[usize::from(octet & 15)];
            self.push(&[b'=', high, low]);
        }
    }

    /// Breaks the line softly if so many columns do not fit.
    fn room(&mut self, columns: usize) {
        if self.column + columns > COLUMNS {
            self.out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
    }

    fn push(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
        self.column += text.len();
    }

    fn line_end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
        self.column = 0;
    }

    /// The transport ends the last line; a soft break keeps that out of the text.
    fn end(&mut self) {
        if self.column > 0 {
            self.out.extend_from_slice(b"=\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_printable_escapes_what_could_change_on_the_way() {
        for (text, expected) in [
            ("a=b\r\n", "a=3Db\r\n"),
            ("tr\u{e4}g \r\n\t\r\n", "tr=C3=A4g=20\r\n=09\r\n"),
            (
                "--b\r\n.\r\nFrom x\r\nFromage\r\n",
                "=2D-b\r\n=2E\r\n=46rom x\r\nFromage\r\n",
            ),
            ("a\rb\nc\0\r\r\n", "a=0Db=0Ac=00=0D\r\n"),
            ("", ""),
        ] {
            let encoded = quoted_printable(text.as_bytes(), true);
            assert_eq!(String::from_utf8(encoded).unwrap(), expected);
        }
        assert_eq!(quoted_printable(b"ab ", false), b"ab=20");
        assert_eq!(quoted_printable(b"ab", true), b"ab=\r\n");
        let long = quoted_printable("-".repeat(160).as_bytes(), true);
        for line in long.split(|octet| *octet == b'\n') {
            assert!(line.len() <= 77 && !line.starts_with(b"-"), "{line:?}");
        }
    }

    #[test]
    fn mending_keeps_escapes_whole_and_good_lines_as_they_are() {
        let good = "short=20line =\r\n  next=C3=A4\r\n";
        assert_eq!(mend_quoted_printable(good.as_bytes()), good.as_bytes());
        let long = format!("{}\r\nshort =3d\r\n", "=C3=A4b".repeat(200));
        let mended = String::from_utf8(mend_quoted_printable(long.as_bytes())).unwrap();
        assert!(mended.lines().all(|line| line.len() <= 76));
        assert_eq!(mended.replace("=\r\n", ""), long);
        assert_eq!(mend_quoted_printable(b"\xc3=g\r\n"), b"=C3=3Dg\r\n");
        // White space before a line end was never a part of the text.
        let spaces = format!("a{}\r\n", " ".repeat(1200));
        assert_eq!(mend_quoted_printable(spaces.as_bytes()), b"a\r\n");
    }

    #[test]
    fn base64_is_written_in_short_lines() {
        let encoded = base64(&[7; 58], false);
        let lines: Vec<usize> = encoded
            .split(|octet| *octet == b'\n')
            .map(<[u8]>::len)
            .collect();
        assert_eq!(lines, [77, 4]);
        let one_line = [BASE64.encode([7; 90]), "\u{e4} \r\n".into()].concat();
        assert_eq!(rewrap_base64(one_line.as_bytes()), base64(&[7; 90], true));
    }

    #[test]
    fn text_that_is_mostly_escapes_is_shorter_as_base64() {
        assert!(!prefers_base64(
            "Viele Gr\u{fc}\u{df}e\r\naus der Stadt\r\n".as_bytes()
        ));
        assert!(prefers_base64(
            "\u{3053}\u{3093}\u{306b}".repeat(9).as_bytes()
        ));
        assert!(!prefers_base64(b"plain text\r\n"));
    }
}
