//! Makes a message fit for a way that carries less than it holds: RFC 2045 and RFC 2046.
//!
//! Only the leaf parts that do not fit are encoded anew, as quoted-printable or base64; labels that
//! this makes false are corrected, header lines that are too long are folded, and everything else
//! stays octet for octet. The result is a list of edits, so that no part is copied that does not
//! change. Where a change would break the message (signed parts) or its structure can be read in
//! several ways, nothing is changed and the obstacle is named.
//!
//! Pure. The structure is found in one pass over the body; the number and the depth of parts are
//! bounded.

mod content_type;
mod encode;
mod fold;
mod walk;

pub(crate) use content_type::{Encoding, Kind, encoding, kind};

use crate::edit::Edit;

/// Octets of a line without its CRLF: RFC 5321 section 4.5.3.1.6.
pub(crate) const LONGEST_LINE: usize = 998;

/// What the way demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Lines of at most [`LONGEST_LINE`] octets.
    Lines,
    /// Also no NUL, and CR and LF only as a pair: content that came as `BINARYMIME` (RFC 3030)
    /// becomes text.
    Text,
    /// Also no octet above 127: the next server lacks `8BITMIME` (RFC 6152 section 3).
    SevenBit,
}

/// Why a message cannot be made fit, in words that complete "the message cannot be converted: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Obstacle {
    /// RFC 1847 section 2.1: whoever re-encodes it breaks the signature.
    #[error("a part under multipart/signed would have to change, which would break its signature")]
    Signed,
    /// No white space to fold at.
    #[error("the header field {0} has a line over 998 octets that cannot be folded")]
    Field(String),
    /// There is no encoding that every server reads.
    #[error("a header field has octets above 127")]
    EightBitHeader,
    /// A part whose header is none.
    #[error("the header of a MIME part cannot be read")]
    Header,
    /// Programs would disagree about what is where.
    #[error("its MIME structure is ambiguous ({0})")]
    Structure(&'static str),
    /// RFC 2045 section 6.2 lists those that are known.
    #[error("a part has the unknown Content-Transfer-Encoding {0}")]
    Encoding(String),
    /// RFC 2046 section 5.2: those may not be encoded.
    #[error("a part of type message/* other than message/rfc822 may not be encoded")]
    MessagePart,
    /// More than anybody's honest message has.
    #[error("it has too many or too deeply nested MIME parts")]
    TooManyParts,
}

/// The edits that make `content` (a whole message, header first) fit; none when it fits.
pub(crate) fn convert(content: &[u8], need: Need) -> Result<Vec<Edit>, Obstacle> {
    walk::Walker::new(content, need).run()
}

#[cfg(test)]
mod tests;
