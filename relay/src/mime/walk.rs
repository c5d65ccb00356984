//! Goes through a message part by part and notes what has to change.

use std::ops::Range;

use memchr::memmem::Finder;

use super::content_type::{Encoding, Kind, encoding, kind};
use super::{LONGEST_LINE, Need, Obstacle, encode, fold};
use crate::edit::Edit;
use crate::fields::{self, Field};

/// Parts and messages in each other.
const DEEPEST: usize = 30;
/// Parts and messages in all.
const MOST_PARTS: usize = 10_000;
/// Octets of a boundary; RFC 2046 section 5.1.1 allows 70.
const LONGEST_BOUNDARY: usize = 200;

/// One pass over one message.
pub(super) struct Walker<'a> {
    text: &'a [u8],
    need: Need,
    delimiters: Finder<'static>,
    /// Of the multiparts that are open, outermost first.
    boundaries: Vec<Vec<u8>>,
    depth: usize,
    parts: usize,
    /// Multiparts that are open and signed.
    signed: usize,
    /// Leaf parts that were encoded anew.
    encoded: usize,
    edits: Vec<Edit>,
}

/// A line that ends a part.
struct Delimiter {
    /// Where the part ends: before the line end that belongs to the delimiter.
    at: usize,
    /// After the delimiter's line.
    end: usize,
    /// White space at the end of the line.
    padding: Range<usize>,
    /// Index of its boundary.
    level: usize,
    /// The last one of its multipart.
    closing: bool,
}

/// The header of a message or part.
struct Head {
    start: usize,
    fields: Vec<Field>,
    /// Where a field can be added.
    end: usize,
    body: usize,
}

impl<'a> Walker<'a> {
    pub(super) fn new(text: &'a [u8], need: Need) -> Self {
        Self {
            text,
            need,
            delimiters: Finder::new(b"\r\n--"),
            boundaries: Vec::new(),
            depth: 0,
            parts: 0,
            signed: 0,
            encoded: 0,
            edits: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Vec<Edit>, Obstacle> {
        self.entity(0, Kind::Text, true)?;
        Ok(self.edits)
    }

    /// A message, or a part of type `default` unless its header says otherwise. Returns the
    /// delimiter that ended it.
    fn entity(
        &mut self,
        start: usize,
        default: Kind,
        message: bool,
    ) -> Result<Option<Delimiter>, Obstacle> {
        self.parts += 1;
        if self.parts > MOST_PARTS || self.depth == DEEPEST {
            return Err(Obstacle::TooManyParts);
        }
        let head = self.head(start)?;
        self.header(&head)?;
        let (content_type, types) = self.field(&head, "Content-Type");
        let (transfer, transfers) = self.field(&head, "Content-Transfer-Encoding");
        let kind = content_type.map_or(default, |field| kind(self.value(&head, field)));
        let label = transfer.map_or(Encoding::SevenBit, |field| {
            encoding(self.value(&head, field))
        });
        let (edits, encoded) = (self.edits.len(), self.encoded);
        let signed = matches!(kind, Kind::Multipart { signed: true, .. });
        self.depth += 1;
        self.signed += usize::from(signed);
        let compound = match (&kind, &label) {
            (Kind::Multipart { boundary, .. }, _) => boundary.is_some(),
            (Kind::Message, Encoding::QuotedPrintable | Encoding::Base64) => false,
            (kind, _) => *kind == Kind::Message,
        };
        let next = match &kind {
            Kind::Multipart {
                boundary: Some(boundary),
                digest,
                ..
            } => {
                let default = if *digest { Kind::Message } else { Kind::Text };
                self.multipart(head.body, boundary.clone(), &default)?
            }
            Kind::Message if compound => self.entity(head.body, Kind::Text, true)?,
            _ => self.leaf(&head, &kind, &label, transfer, message)?,
        };
        self.depth -= 1;
        self.signed -= usize::from(signed);
        if signed && self.edits.len() > edits {
            return Err(Obstacle::Signed);
        }
        let changed = self.encoded > encoded;
        if changed && (types > 1 || transfers > 1) {
            return Err(Obstacle::Structure("a Content field stands twice"));
        }
        let plain = matches!(
            label,
            Encoding::SevenBit | Encoding::EightBit | Encoding::Binary
        );
        if compound && changed && !plain {
            return Err(Obstacle::Structure("a multipart is encoded"));
        }
        // Text that came as binary and fits keeps no label that its way does not allow.
        let text = self.need == Need::Text && self.signed == 0;
        if (compound && changed) || (!changed && text) {
            self.relabel(&head, transfer, &label);
        }
        Ok(next)
    }

    fn multipart(
        &mut self,
        body: usize,
        boundary: Vec<u8>,
        default: &Kind,
    ) -> Result<Option<Delimiter>, Obstacle> {
        if boundary.len() > LONGEST_BOUNDARY {
            return Err(Obstacle::Structure("a boundary is over 200 octets long"));
        }
        if self.boundaries.contains(&boundary) {
            return Err(Obstacle::Structure("a boundary is used twice"));
        }
        let level = self.boundaries.len();
        self.boundaries.push(boundary);
        let mut next = self.next_delimiter(body);
        let preamble = body..self.end_at(next.as_ref());
        if next.as_ref().is_none_or(|next| next.level < level)
            && self.unfit(&self.text[preamble.clone()])
        {
            return Err(Obstacle::Structure("a multipart has no parts"));
        }
        self.discard(preamble);
        while let Some(delimiter) = next.take_if(|next| next.level == level) {
            if delimiter.padding.len() > LONGEST_BOUNDARY {
                self.edits.push(Edit::remove(delimiter.padding.clone()));
            }
            if delimiter.closing {
                self.boundaries.pop();
                let after = self.next_delimiter(delimiter.end);
                self.discard(delimiter.end..self.end_at(after.as_ref()));
                return Ok(after);
            }
            next = self.entity(delimiter.end, default.clone(), false)?;
        }
        self.boundaries.pop();
        Ok(next)
    }

    /// Text around the parts, which RFC 2046 section 5.1.1 has receivers ignore: left out if it does
    /// not fit.
    fn discard(&mut self, range: Range<usize>) {
        if self.unfit(&self.text[range.clone()]) {
            self.edits.push(Edit::remove(range));
        }
    }

    fn leaf(
        &mut self,
        head: &Head,
        kind: &Kind,
        label: &Encoding,
        transfer: Option<usize>,
        message: bool,
    ) -> Result<Option<Delimiter>, Obstacle> {
        let next = self.next_delimiter(head.body);
        let range = head.body..self.end_at(next.as_ref());
        let body = &self.text[range.clone()];
        if !self.unfit(body) {
            return Ok(next);
        }
        let last = range.end == self.text.len();
        let (name, encoded) = match (kind, label) {
            (Kind::Fixed, _) => return Err(Obstacle::MessagePart),
            (Kind::Multipart { .. }, _) => {
                return Err(Obstacle::Structure("a multipart has no boundary"));
            }
            (_, Encoding::Unknown(name)) => return Err(Obstacle::Encoding(name.clone())),
            (_, Encoding::QuotedPrintable) => (None, encode::mend_quoted_printable(body)),
            (_, Encoding::Base64) => (None, encode::rewrap_base64(body)),
            (Kind::Text, _) if !encode::prefers_base64(body) => (
                Some("quoted-printable"),
                encode::quoted_printable(body, last),
            ),
            _ => (Some("base64"), encode::base64(body, last)),
        };
        let eight_bit = !body.is_ascii();
        self.encoded += 1;
        self.edits.push(Edit::replace(range, encoded));
        if let Some(name) = name {
            self.set_encoding(head, transfer, name);
            if message {
                self.declare(head, body, eight_bit);
            }
        }
        Ok(next)
    }

    /// What a message needs that said nothing of MIME before it had an encoding.
    fn declare(&mut self, head: &Head, body: &[u8], eight_bit: bool) {
        if self.field(head, "MIME-Version").0.is_none() {
            self.edits
                .push(Edit::insert(head.end, "MIME-Version: 1.0\r\n"));
        }
        // Without the field it is US-ASCII, which octets above 127 are not; RFC 1428 section 3 has a
        // name for what nobody knows.
        if eight_bit && self.field(head, "Content-Type").0.is_none() {
            let charset = match std::str::from_utf8(body) {
                Ok(_) => "utf-8",
                Err(_) => "unknown-8bit",
            };
            self.edits.push(Edit::insert(
                head.end,
                format!("Content-Type: text/plain; charset={charset}\r\n"),
            ));
        }
    }

    fn set_encoding(&mut self, head: &Head, transfer: Option<usize>, name: &str) {
        let text = format!("Content-Transfer-Encoding: {name}\r\n");
        let range = transfer.map_or(head.end..head.end, |index| head.range(index));
        self.edits.push(Edit::replace(range, text));
    }

    /// The label of what holds other parts may not be less than theirs, and `binary` none of what
    /// goes without `BINARYMIME` (RFC 2045 section 6.4, RFC 3030 section 3).
    fn relabel(&mut self, head: &Head, transfer: Option<usize>, label: &Encoding) {
        let name = match (self.need, label) {
            (Need::SevenBit, Encoding::EightBit | Encoding::Binary) => "7bit",
            (_, Encoding::Binary) => "8bit",
            _ => return,
        };
        self.set_encoding(head, transfer, name);
    }

    /// Folds what is too long in a header, and finds what cannot be helped.
    fn header(&mut self, head: &Head) -> Result<(), Obstacle> {
        let text = &self.text[head.start..head.end];
        if self.need == Need::SevenBit && !text.is_ascii() {
            return Err(Obstacle::EightBitHeader);
        }
        if self.need != Need::Lines && has_lone_octet(text) {
            return Err(Obstacle::Header);
        }
        if !has_long_line(text) {
            return Ok(());
        }
        for (index, field) in head.fields.iter().enumerate() {
            let whole = &text[field.whole.clone()];
            // Intake takes `Bcc` out.
            if !has_long_line(whole) || field.is(text, "Bcc") || field.is(text, "Resent-Bcc") {
                continue;
            }
            // It may have to be replaced.
            let fixed = field.is(text, "Content-Transfer-Encoding");
            let Some(folded) = fold::fold(whole).filter(|_| !fixed) else {
                let name = String::from_utf8_lossy(field.name(text));
                return Err(Obstacle::Field(name.chars().take(80).collect()));
            };
            self.edits.push(Edit::replace(head.range(index), folded));
        }
        Ok(())
    }

    /// Reads the header at `start`; it ends at an empty line, or where a delimiter cuts it off.
    fn head(&self, start: usize) -> Result<Head, Obstacle> {
        let mut at = start;
        let mut body = None;
        while at < self.text.len() && self.delimiter_at(at, at).is_none() {
            if self.text[at..].starts_with(b"\r\n") {
                body = Some(at + 2);
                break;
            }
            at = self.line_end(at);
            if at - start > fields::LONGEST_HEADER {
                return Err(Obstacle::Header);
            }
        }
        let header = fields::parse(&self.text[start..at]).map_err(|_| Obstacle::Header)?;
        Ok(Head {
            start,
            fields: header.fields,
            end: at,
            body: body.unwrap_or(at),
        })
    }

    /// The first field of this name, and how many there are.
    fn field(&self, head: &Head, name: &str) -> (Option<usize>, usize) {
        let text = &self.text[head.start..head.end];
        let mut found = (0..head.fields.len()).filter(|index| head.fields[*index].is(text, name));
        (found.next(), 1 + found.count())
    }

    fn value(&self, head: &Head, index: usize) -> &'a [u8] {
        head.fields[index].value(&self.text[head.start..head.end])
    }

    fn end_at(&self, next: Option<&Delimiter>) -> usize {
        next.map_or(self.text.len(), |next| next.at)
    }

    /// The first delimiter of an open multipart from `from`, where a line begins.
    fn next_delimiter(&self, from: usize) -> Option<Delimiter> {
        if self.boundaries.is_empty() {
            return None;
        }
        if let Some(delimiter) = self.delimiter_at(from, from) {
            return Some(delimiter);
        }
        let candidates = self.delimiters.find_iter(&self.text[from..]);
        candidates
            .map(|found| from + found)
            .find_map(|at| self.delimiter_at(at, at + 2))
    }

    /// The delimiter whose line begins at `line`; the part before it ends at `at`.
    fn delimiter_at(&self, at: usize, line: usize) -> Option<Delimiter> {
        let text = self.text[line..].strip_prefix(b"--")?;
        // The innermost first: an outer boundary may be the beginning of an inner one.
        let level = self.boundaries.iter().rposition(|boundary| {
            text.strip_prefix(&boundary[..])
                .is_some_and(|rest| is_end(rest.strip_prefix(b"--").unwrap_or(rest)))
        })?;
        let after = line + 2 + self.boundaries[level].len();
        let closing = self.text[after..].starts_with(b"--");
        let padding = after + if closing { 2 } else { 0 };
        let end = self.line_end(padding);
        let length = self.text[padding..end].trim_ascii_end().len();
        let padded = &self.text[padding + length..end];
        let line_end = if padded.ends_with(b"\r\n") { 2 } else { 0 };
        Some(Delimiter {
            at,
            end,
            padding: padding..end - line_end,
            level,
            closing,
        })
    }

    /// After the end of the line at `at`.
    fn line_end(&self, at: usize) -> usize {
        memchr::memchr(b'\n', &self.text[at..]).map_or(self.text.len(), |end| at + end + 1)
    }

    fn unfit(&self, text: &[u8]) -> bool {
        has_long_line(text)
            || match self.need {
                Need::Lines => false,
                Need::Text => has_lone_octet(text),
                Need::SevenBit => !text.is_ascii() || has_lone_octet(text),
            }
    }
}

impl Head {
    fn range(&self, index: usize) -> Range<usize> {
        let whole = &self.fields[index].whole;
        self.start + whole.start..self.start + whole.end
    }
}

/// White space up to the end of the line.
fn is_end(text: &[u8]) -> bool {
    let rest = text.iter().position(|octet| !matches!(octet, b' ' | b'\t'));
    rest.is_none_or(|rest| text[rest..].starts_with(b"\r\n"))
}

fn has_long_line(text: &[u8]) -> bool {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', text).chain([text.len() + 1]) {
        let line = &text[start..end.min(text.len())];
        if line.strip_suffix(b"\r").unwrap_or(line).len() > LONGEST_LINE {
            return true;
        }
        start = end + 1;
    }
    false
}

/// NUL, or CR or LF outside of a pair.
fn has_lone_octet(text: &[u8]) -> bool {
    memchr::memchr3_iter(0, b'\r', b'\n', text).any(|at| match text[at] {
        b'\r' => text.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || text[at - 1] != b'\r',
        _ => true,
    })
}
