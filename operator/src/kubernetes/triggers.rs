//! Which objects have to be looked at: [`Queue`] behind a lock, and a signal.

use std::future::Future;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::queue::{Key, Queue, Urgency};

/// Objects of one kind that wait for a reconcile.
pub struct Triggers<K> {
    queue: Mutex<Queue>,
    changed: Notify,
    kind: PhantomData<fn(K)>,
}

impl<K> Default for Triggers<K> {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            changed: Notify::new(),
            kind: PhantomData,
        }
    }
}

impl<K: Resource<DynamicType = ()>> Triggers<K> {
    /// Asks for a reconcile of one object, around which something changed.
    pub fn push(&self, object: ObjectRef<K>) {
        let key = Key::new(object.namespace.unwrap_or_default(), object.name);
        self.ask(key, Urgency::Changed);
    }

    /// Asks for a reconcile of `namespace/name`, around which something changed.
    pub fn push_name(&self, namespace: &str, name: &str) {
        self.ask(Key::new(namespace, name), Urgency::Changed);
    }

    /// Asks for a reconcile.
    pub fn ask(&self, key: Key, urgency: Urgency) {
        self.queue.lock().push(key, urgency, Instant::now());
        self.changed.notify_one();
    }

    /// What to reconcile next. To be given back by [`Self::done`] or [`Self::gone`].
    pub(super) fn take(&self) -> Option<Key> {
        self.queue.lock().take(Instant::now())
    }

    /// A reconcile has ended; the next is `again` later.
    pub(super) fn done(&self, key: &Key, began: Instant, again: Option<Duration>) {
        self.queue.lock().done(key, began, Instant::now(), again);
    }

    /// What was taken does not exist.
    pub(super) fn gone(&self, key: &Key) {
        self.queue.lock().gone(key, Instant::now());
    }

    /// Objects that wait.
    pub fn waiting(&self) -> usize {
        self.queue.lock().waiting()
    }

    /// Returns once something may be taken. One waiter only.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> {
        let due = self.queue.lock().next_due();
        async move {
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = due => {}
            }
        }
    }
}
