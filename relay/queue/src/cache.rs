//! Envelopes and contents of fresh messages, so that the first attempt need not read them back.
//! Bounded in octets; the oldest go first. Contents are kept as they were handed in, not copied.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::{Envelope, MessageId};

/// Octets that an entry costs beside its content and its addresses.
const OVERHEAD: usize = 512;

#[derive(Debug)]
struct Entry {
    envelope: Arc<Envelope>,
    content: Vec<Bytes>,
    size: usize,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    used: usize,
    entries: HashMap<MessageId, Entry>,
    /// In order of arrival; ids removed since are skipped.
    order: VecDeque<MessageId>,
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(crate) fn insert(&mut self, id: MessageId, envelope: Arc<Envelope>, content: Vec<Bytes>) {
        let size = OVERHEAD
            + content.iter().map(Bytes::len).sum::<usize>()
            + envelope
                .recipients
                .iter()
                .map(|one| 64 + one.as_str().len())
                .sum::<usize>()
            + envelope.options.footprint();
        if size > self.limit || self.entries.contains_key(&id) {
            return;
        }
        while self.used + size > self.limit {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.remove(oldest);
        }
        // Removals leave their ids in the order; it must not outgrow the entries.
        if self.order.len() > 64 + 2 * self.entries.len() {
            let entries = &self.entries;
            self.order.retain(|id| entries.contains_key(id));
        }
        self.used += size;
        self.order.push_back(id);
        self.entries.insert(
            id,
            Entry {
                envelope,
                content,
                size,
            },
        );
    }

    pub(crate) fn envelope(&self, id: MessageId) -> Option<Arc<Envelope>> {
        self.entries.get(&id).map(|entry| entry.envelope.clone())
    }

    pub(crate) fn content(&self, id: MessageId) -> Option<Vec<Bytes>> {
        self.entries.get(&id).map(|entry| entry.content.clone())
    }

    pub(crate) fn remove(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.used -= entry.size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn envelope() -> Arc<Envelope> {
        Arc::new(Envelope {
            sender: None,
            recipients: Vec::new(),
            accepted_at: Timestamp(0),
            eight_bit: false,
            smtputf8: false,
            identity: None,
            trace_parent: None,
            options: crate::Options::default(),
        })
    }

    #[test]
    fn drops_the_oldest_and_never_holds_more_than_its_limit() {
        let mut cache = Cache::new(4 * (OVERHEAD + 1000));
        for number in 0..100_u128 {
            cache.insert(
                MessageId(number),
                envelope(),
                vec![Bytes::from(vec![0; 1000])],
            );
            assert!(cache.used <= cache.limit);
            if number % 3 == 0 {
                cache.remove(MessageId(number));
            }
        }
        assert!(cache.content(MessageId(98)).is_some());
        assert!(cache.content(MessageId(97)).is_some());
        assert!(cache.content(MessageId(90)).is_none());
        assert!(cache.order.len() < 80);
    }

    #[test]
    fn keeps_the_octets_handed_in_and_refuses_what_is_larger_than_itself() {
        let mut cache = Cache::new(10_000);
        let content = Bytes::from(vec![1; 5000]);
        cache.insert(MessageId(1), envelope(), vec![content.clone()]);
        let kept = cache.content(MessageId(1)).unwrap();
        assert_eq!(kept[0].as_ptr(), content.as_ptr());
        cache.insert(MessageId(2), envelope(), vec![Bytes::from(vec![1; 20_000])]);
        assert!(cache.content(MessageId(2)).is_none());
        assert!(cache.content(MessageId(1)).is_some());
    }
}
