//! Permits for connections: in all and per destination.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use relay_queue::Destination;
use tokio::sync::Notify;

/// Counts the tasks that deliver, each of which holds at most one connection.
#[derive(Default)]
pub(super) struct Slots {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Default)]
struct State {
    total: u32,
    destinations: HashMap<Destination, u32>,
}

/// How many there may be.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) total: u32,
    pub(super) per_destination: u32,
}

/// One permit; gives itself back.
pub(super) struct Slot {
    slots: Arc<Slots>,
    destination: Destination,
}

impl Slots {
    /// Whether one more may start at all.
    pub(super) fn is_full(&self, limits: Limits) -> bool {
        self.state.lock().total >= limits.total
    }

    /// Whether one more may start for `destination`.
    pub(super) fn admits(&self, destination: &Destination, limits: Limits) -> bool {
        let state = self.state.lock();
        let busy = state.destinations.get(destination).copied();
        state.total < limits.total && busy.unwrap_or(0) < limits.per_destination
    }

    /// Permits that are taken.
    pub(super) fn busy(&self) -> u32 {
        self.state.lock().total
    }

    /// Takes a permit that [`Self::admits`] has just promised to the only caller.
    pub(super) fn take(self: &Arc<Self>, destination: &Destination) -> Slot {
        let mut state = self.state.lock();
        state.total += 1;
        *state.destinations.entry(destination.clone()).or_default() += 1;
        drop(state);
        Slot {
            slots: self.clone(),
            destination: destination.clone(),
        }
    }

    /// Ready when a permit was given back since the last call.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        state.total = state.total.saturating_sub(1);
        if let Some(busy) = state.destinations.get_mut(&self.destination) {
            *busy = busy.saturating_sub(1);
            if *busy == 0 {
                state.destinations.remove(&self.destination);
            }
        }
        drop(state);
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_permits_come_back() {
        let slots = Arc::new(Slots::default());
        let limits = Limits {
            total: 3,
            per_destination: 2,
        };
        let (first, second) = (Destination::from("a.test"), Destination::from("b.test"));
        let held = [slots.take(&first), slots.take(&first)];
        assert!(!slots.admits(&first, limits));
        assert!(slots.admits(&second, limits));
        let other = slots.take(&second);
        assert!(slots.is_full(limits));
        assert!(!slots.admits(&second, limits));
        drop(held);
        assert!(slots.admits(&first, limits));
        drop(other);
        assert!(slots.state.lock().destinations.is_empty());
    }
}
