//! A message's content, and which extensions of SMTP it needs.

use bytes::Bytes;
use relay_queue::Envelope;

/// A message's content and what the next server must know of it.
pub(in crate::delivery) struct Content {
    pub(in crate::delivery) pieces: Vec<Bytes>,
    pub(super) size: u64,
    /// It has octets above 127.
    pub(super) eight_bit: bool,
    /// Its headers have.
    pub(super) utf8_headers: bool,
}

impl Content {
    pub(in crate::delivery) fn new(envelope: &Envelope, pieces: Vec<Bytes>) -> Self {
        // An envelope without the flag vouches for the content, so it need not be read.
        let eight_bit = envelope.eight_bit && pieces.iter().any(|piece| !piece.is_ascii());
        Self {
            size: pieces.iter().map(|piece| piece.len() as u64).sum(),
            utf8_headers: eight_bit && envelope.smtputf8 && !header_is_ascii(&pieces),
            eight_bit,
            pieces,
        }
    }

    /// Of pieces that have no octet above 127.
    pub(super) fn seven_bit(pieces: Vec<Bytes>) -> Self {
        Self {
            size: pieces.iter().map(|piece| piece.len() as u64).sum(),
            utf8_headers: false,
            eight_bit: false,
            pieces,
        }
    }
}

/// Whether all octets before the first empty line are ASCII.
fn header_is_ascii(pieces: &[Bytes]) -> bool {
    // Line feeds count, so that a line end across two pieces is seen.
    let mut line_start = true;
    for octet in pieces.iter().flat_map(|piece| piece.iter().copied()) {
        match octet {
            b'\n' if line_start => return true,
            b'\n' => line_start = true,
            b'\r' => {}
            128.. => return false,
            _ => line_start = false,
        }
    }
    true
}
