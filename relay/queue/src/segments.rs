//! How much of each segment is alive: what reclaim decides by.
//!
//! Segments go in order, oldest first, and never one from the middle: a settle record lies in a
//! later segment than its message, so removing a later one first would bring messages back.

use std::collections::BTreeMap;

use crate::index::Location;

/// Dead octets are tolerated up to the live ones and so many segments.
const SLACK_SEGMENTS: u64 = 2;

/// A sealed segment of which less than one in so many octets is alive is copied forward.
const SPARSE: u64 = 4;

/// Files tolerated beyond what the octets need: each start begins a new one.
const EXTRA_FILES: u64 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Live messages in it.
    pub(crate) records: u64,
    /// Their octets.
    pub(crate) live: u64,
    pub(crate) length: u64,
}

/// All segments but those removed.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    accounts: BTreeMap<u32, Account>,
    live: u64,
    length: u64,
}

/// What to do with the oldest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    Keep,
    Remove(u32),
    CopyForward(u32),
}

impl Segments {
    pub(crate) fn add(&mut self, segment: u32) {
        self.accounts.entry(segment).or_default();
    }

    pub(crate) fn remove(&mut self, segment: u32) {
        if let Some(account) = self.accounts.remove(&segment) {
            self.live -= account.live;
            self.length -= account.length;
        }
    }

    pub(crate) fn set_length(&mut self, segment: u32, length: u64) {
        if let Some(account) = self.accounts.get_mut(&segment) {
            self.length = self.length - account.length + length;
            account.length = length;
        }
    }

    pub(crate) fn born(&mut self, location: &Location) {
        if let Some(account) = self.accounts.get_mut(&location.segment) {
            account.records += 1;
            account.live += location.stored();
            self.live += location.stored();
        }
    }

    pub(crate) fn died(&mut self, location: &Location) {
        if let Some(account) = self.accounts.get_mut(&location.segment) {
            account.records = account.records.saturating_sub(1);
            let stored = location.stored().min(account.live);
            account.live -= stored;
            self.live -= stored;
        }
    }

    /// Keeps a segment and all after it from removal: it holds octets that could not be saved.
    pub(crate) fn pin(&mut self, segment: u32) {
        if let Some(account) = self.accounts.get_mut(&segment) {
            account.records += 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// What to do next; `current` is being written and stays.
    pub(crate) fn advice(&self, current: Option<u32>, segment_bytes: u64) -> Advice {
        let Some((&oldest, account)) = self.accounts.first_key_value() else {
            return Advice::Keep;
        };
        if Some(oldest) == current {
            return Advice::Keep;
        }
        if account.records == 0 {
            return Advice::Remove(oldest);
        }
        let sparse = account.live * SPARSE <= account.length;
        let wasteful = self.length > 2 * self.live + SLACK_SEGMENTS * segment_bytes;
        let needed = EXTRA_FILES + 2 * (self.length / segment_bytes.max(1));
        let many = self.accounts.len() as u64 > needed;
        if sparse || wasteful || many {
            Advice::CopyForward(oldest)
        } else {
            Advice::Keep
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(segment: u32, content_length: u32) -> Location {
        Location {
            segment,
            offset: 32,
            envelope_length: 60,
            content_length,
            in_file: false,
        }
    }

    #[test]
    fn only_the_oldest_goes_and_never_the_current() {
        let mut segments = Segments::default();
        assert_eq!(segments.advice(None, 1000), Advice::Keep);
        for segment in 1..=3 {
            segments.add(segment);
            segments.set_length(segment, 1000);
        }
        segments.born(&location(1, 500));
        assert_eq!(segments.advice(Some(3), 1000), Advice::Keep);
        segments.died(&location(1, 500));
        assert_eq!(segments.advice(Some(3), 1000), Advice::Remove(1));
        segments.remove(1);
        segments.remove(2);
        assert_eq!(segments.advice(Some(3), 1000), Advice::Keep);
    }

    #[test]
    fn a_sparse_oldest_segment_or_too_much_waste_is_copied_forward() {
        let mut segments = Segments::default();
        segments.add(1);
        segments.set_length(1, 1000);
        segments.born(&location(1, 100));
        assert_eq!(segments.advice(Some(9), 1000), Advice::CopyForward(1));
        segments.born(&location(1, 600));
        assert_eq!(segments.advice(Some(9), 1000), Advice::Keep);
        for segment in 2..=4 {
            segments.add(segment);
            segments.set_length(segment, 1000);
        }
        assert_eq!(segments.advice(Some(9), 1000), Advice::CopyForward(1));
    }

    #[test]
    fn a_pinned_segment_is_never_removed() {
        let mut segments = Segments::default();
        segments.add(1);
        segments.pin(1);
        assert_ne!(segments.advice(Some(9), 1000), Advice::Remove(1));
    }
}
