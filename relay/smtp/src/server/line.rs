//! Cuts command lines out of what was received: RFC 5321 section 2.3.8, and no other line end.

/// Octets of a command line with its CRLF. RFC 5321 asks for 512; RFC 4954 section 4 for 12288 in
/// `AUTH`, and one bound serves both.
pub const LONGEST_LINE: usize = 12_288;

/// What stands at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line of this many octets, and its CRLF after them.
    Whole(usize),
    /// The beginning of a line.
    Part,
    /// More than [`LONGEST_LINE`].
    TooLong,
    /// A line feed without its carriage return (case R4).
    BareLineFeed,
}

pub(super) fn first(buffer: &[u8]) -> Line {
    let window = &buffer[..buffer.len().min(LONGEST_LINE)];
    match memchr::memchr(b'\n', window) {
        Some(at) if at > 0 && window[at - 1] == b'\r' => Line::Whole(at - 1),
        Some(_) => Line::BareLineFeed,
        None if window.len() == LONGEST_LINE => Line::TooLong,
        None => Line::Part,
    }
}
