//! Changes to a message that copy nothing of what stays.

use std::ops::Range;

use bytes::Bytes;

/// Puts `text` in place of a range; an empty range inserts, an empty text removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) range: Range<usize>,
    pub(crate) text: Bytes,
}

impl Edit {
    /// Takes a range out.
    pub(crate) fn remove(range: Range<usize>) -> Self {
        let text = Bytes::new();
        Self { range, text }
    }

    /// Puts something else in place of a range.
    pub(crate) fn replace(range: Range<usize>, text: impl Into<Bytes>) -> Self {
        let text = text.into();
        Self { range, text }
    }

    /// Puts something before the octet at `at`.
    pub(crate) fn insert(at: usize, text: impl Into<Bytes>) -> Self {
        Self::replace(at..at, text)
    }
}

/// Appends `content` with its changes to `pieces`. What no edit covers is a slice of `content`. Of
/// edits that overlap the one that begins first holds, and of those that begin at one place the
/// first in `edits`.
pub(crate) fn apply(content: &Bytes, mut edits: Vec<Edit>, pieces: &mut Vec<Bytes>) {
    edits.sort_by_key(|edit| edit.range.start);
    let mut kept = 0;
    for Edit { range, text } in edits {
        if range.start < kept {
            continue;
        }
        if range.start > kept {
            pieces.push(content.slice(kept..range.start));
        }
        if !text.is_empty() {
            pieces.push(text);
        }
        kept = range.end;
    }
    if kept < content.len() {
        pieces.push(content.slice(kept..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_replace_insert_and_remove_and_the_rest_is_a_slice() {
        let content = Bytes::from_static(b"0123456789");
        let edits = vec![
            Edit::insert(10, "end"),
            Edit::remove(2..4),
            Edit::replace(6..7, "six"),
            Edit::replace(2..3, "overlaps"),
            Edit::insert(4, "-"),
            Edit::insert(4, "+"),
        ];
        let mut pieces = Vec::new();
        apply(&content, edits, &mut pieces);
        assert_eq!(pieces.concat(), b"01-+45six789end");
        assert_eq!(pieces[0].as_ptr(), content.as_ptr());
    }
}
