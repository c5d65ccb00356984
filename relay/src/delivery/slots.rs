//! Permits for connections: in all and per destination, and what is remembered of destinations.
//!
//! A task begins with a permit for a connection. When DNS or a server keeps it waiting for longer than
//! [`PATIENCE`], it steps aside: others get its permit, and it counts among those that wait, of which
//! there may be [`ASIDE`] times as many, since one costs a socket and a few KiB; never so many that
//! sessions have no sockets left. It needs a permit
//! again before it sends. So thousands of dead servers hold up none that lives.
//!
//! A destination that is not known to live gets one connection; the others follow as soon as a server
//! has answered. One whose servers could not be reached is on hold for a while: its messages are
//! deferred without being tried, each by its own schedule.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use relay_queue::Destination;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::outcome::Fate;

/// How long a task keeps its permit while it waits for a server.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// Tasks that may wait aside for each connection that may be in use.
const ASIDE: u32 = 8;
/// Destinations remembered that have no task.
const REMEMBERED: usize = 20_000;

/// Counts the tasks that deliver, each of which holds at most one connection.
pub(super) struct Slots {
    state: Mutex<State>,
    /// For the one that starts tasks.
    freed: Notify,
    /// For those that stepped aside and want to go on.
    returned: Notify,
    /// Sockets that those aside may have.
    sockets: u32,
}

#[derive(Default)]
struct State {
    /// Permits in use.
    busy: u32,
    /// Tasks that wait without one.
    aside: u32,
    /// Of these, those that wait for a permit.
    returning: u32,
    destinations: HashMap<Destination, Line>,
    /// Destinations that might be admitted since.
    changed: Vec<Destination>,
}

/// What is known of a destination.
#[derive(Default)]
struct Line {
    tasks: u32,
    /// A server answered since the last time that none did.
    lives: bool,
    hold: Option<Hold>,
}

struct Hold {
    until: Instant,
    fate: Fate,
}

impl Hold {
    fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }
}

/// How many there may be.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) total: u32,
    pub(super) per_destination: u32,
}

/// A permit that has no destination yet.
pub(super) struct Permit {
    slots: Option<Arc<Slots>>,
}

/// A task for a destination, with its permit; gives both back.
pub(super) struct Slot {
    slots: Arc<Slots>,
    destination: Destination,
    /// It waits without its permit.
    aside: AtomicBool,
}

impl Slots {
    /// Without any task yet. The process may have this many file descriptors; those aside take half.
    pub(super) fn new(descriptors: u64) -> Self {
        Self {
            state: Mutex::default(),
            freed: Notify::new(),
            returned: Notify::new(),
            sockets: u32::try_from(descriptors / 2).unwrap_or(u32::MAX),
        }
    }

    /// A permit, if one is free.
    pub(super) fn permit(self: &Arc<Self>, limits: Limits) -> Option<Permit> {
        let mut state = self.state.lock();
        if !state.has_room(limits) {
            return None;
        }
        state.busy += 1;
        Some(Permit {
            slots: Some(self.clone()),
        })
    }

    /// Whether no permit is free.
    pub(super) fn is_full(&self, limits: Limits) -> bool {
        !self.state.lock().has_room(limits)
    }

    /// Whether one more task may start for `destination`. A refusal holds until [`Self::changed`]
    /// names the destination.
    pub(super) fn admits(&self, destination: &Destination, limits: Limits, now: Instant) -> bool {
        let state = self.state.lock();
        state.destinations.get(destination).is_none_or(|line| {
            let on_hold = line.hold.as_ref().is_some_and(|hold| !hold.is_over(now));
            let limit = if line.lives || on_hold {
                limits.per_destination
            } else {
                1
            };
            line.tasks < limit
        })
    }

    /// Destinations that might be admitted since the last call.
    pub(super) fn changed(&self) -> Vec<Destination> {
        std::mem::take(&mut self.state.lock().changed)
    }

    /// Permits in use.
    pub(super) fn busy(&self) -> u32 {
        self.state.lock().busy
    }

    /// Ready when something changed since the last call.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn wake(&self) {
        self.returned.notify_one();
        self.freed.notify_one();
    }
}

impl State {
    /// Those that wait to go on come first.
    fn has_room(&self, limits: Limits) -> bool {
        self.busy.saturating_add(self.returning) < limits.total
    }

    fn forget_some(&mut self, now: Instant) {
        if self.destinations.len() <= REMEMBERED {
            return;
        }
        self.destinations.retain(|_, line| {
            line.tasks > 0 || line.hold.as_ref().is_some_and(|hold| !hold.is_over(now))
        });
        if self.destinations.len() > REMEMBERED {
            self.destinations.retain(|_, line| line.tasks > 0);
        }
    }
}

impl Permit {
    /// The task that the permit is for.
    pub(super) fn assign(mut self, destination: &Destination) -> Option<Slot> {
        let slots = self.slots.take()?;
        let mut state = slots.state.lock();
        state
            .destinations
            .entry(destination.clone())
            .or_default()
            .tasks += 1;
        drop(state);
        Some(Slot {
            slots,
            destination: destination.clone(),
            aside: AtomicBool::new(false),
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(slots) = &self.slots {
            let mut state = slots.state.lock();
            state.busy = state.busy.saturating_sub(1);
        }
    }
}

impl Slot {
    /// Waits for something that a server or DNS owes; without the permit when that takes long.
    pub(super) async fn patiently<T>(&self, limits: Limits, owed: impl Future<Output = T>) -> T {
        let mut owed = std::pin::pin!(owed);
        if !self.is_aside() {
            if let Ok(done) = tokio::time::timeout(PATIENCE, &mut owed).await {
                return done;
            }
            self.step_aside(limits);
        }
        owed.await
    }

    /// Gives the permit to others, unless too many wait like this already.
    fn step_aside(&self, limits: Limits) {
        let most = limits.total.saturating_mul(ASIDE).min(self.slots.sockets);
        let mut state = self.slots.state.lock();
        if state.aside >= most {
            return;
        }
        state.busy = state.busy.saturating_sub(1);
        state.aside += 1;
        drop(state);
        self.aside.store(true, Ordering::Relaxed);
        self.slots.wake();
    }

    /// Waits until it has a permit, if it has none.
    pub(super) async fn step_back(&self, limits: Limits) {
        if !self.is_aside() {
            return;
        }
        let _returning = Returning::new(&self.slots);
        loop {
            let freed = self.slots.returned.notified();
            if self.try_return(limits) {
                return;
            }
            freed.await;
        }
    }

    fn try_return(&self, limits: Limits) -> bool {
        let mut state = self.slots.state.lock();
        if state.busy >= limits.total {
            return false;
        }
        state.busy += 1;
        state.aside = state.aside.saturating_sub(1);
        self.aside.store(false, Ordering::Relaxed);
        true
    }

    fn is_aside(&self) -> bool {
        self.aside.load(Ordering::Relaxed)
    }

    /// A server of the destination answered.
    pub(super) fn lives(&self) {
        let mut state = self.slots.state.lock();
        let Some(line) = state.destinations.get_mut(&self.destination) else {
            return;
        };
        line.hold = None;
        if !std::mem::replace(&mut line.lives, true) {
            state.changed.push(self.destination.clone());
            drop(state);
            self.slots.wake();
        }
    }

    /// No server of the destination could be reached, as `fate` says; none is asked until then.
    pub(super) fn hold(&self, fate: Fate, until: Instant) {
        let mut state = self.slots.state.lock();
        if let Some(line) = state.destinations.get_mut(&self.destination) {
            line.lives = false;
            line.hold = Some(Hold { until, fate });
            state.changed.push(self.destination.clone());
        }
        drop(state);
        self.slots.wake();
    }

    /// Why no server of the destination is asked for now.
    pub(super) fn held(&self, now: Instant) -> Option<Fate> {
        let state = self.slots.state.lock();
        let hold = state.destinations.get(&self.destination)?.hold.as_ref()?;
        (!hold.is_over(now)).then(|| hold.fate.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        if self.is_aside() {
            state.aside = state.aside.saturating_sub(1);
        } else {
            state.busy = state.busy.saturating_sub(1);
        }
        if let Some(line) = state.destinations.get_mut(&self.destination) {
            line.tasks = line.tasks.saturating_sub(1);
        }
        state.changed.push(self.destination.clone());
        state.forget_some(Instant::now());
        drop(state);
        self.slots.wake();
    }
}

/// Counts one that waits for a permit, also when its task is cut off.
struct Returning<'a>(&'a Slots);

impl<'a> Returning<'a> {
    fn new(slots: &'a Slots) -> Self {
        slots.state.lock().returning += 1;
        Self(slots)
    }
}

impl Drop for Returning<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.returning = state.returning.saturating_sub(1);
        drop(state);
        // A notice that came for the one that was cut off is another's.
        self.0.wake();
    }
}

#[cfg(test)]
mod tests;
