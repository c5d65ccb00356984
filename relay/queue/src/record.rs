//! Placeholder of the record format; only sizes yet.

/// Octets before the envelope of a message item.
pub(crate) const MESSAGE_HEADER: usize = 40;
