//! Which objects have to be looked at: a set, so that it is bounded by the number of objects however
//! often they change, and a slow reconcile sees the last of many changes and not each.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream;
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Objects of one kind that wait for a reconcile.
pub struct Triggers<K: Resource<DynamicType = ()>> {
    pending: Mutex<HashSet<ObjectRef<K>>>,
    changed: Notify,
}

impl<K: Resource<DynamicType = ()>> Default for Triggers<K> {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl<K: Resource<DynamicType = ()>> Triggers<K> {
    /// Asks for a reconcile of one object.
    pub fn push(&self, object: ObjectRef<K>) {
        if self.pending.lock().insert(object) {
            self.changed.notify_one();
        }
    }

    /// Asks for a reconcile of `namespace/name`.
    pub fn push_name(&self, namespace: &str, name: &str) {
        self.push(ObjectRef::new(name).within(namespace));
    }

    /// What to reconcile, until `stop`. One reader only.
    pub fn stream(
        self: Arc<Self>,
        stop: CancellationToken,
    ) -> impl Stream<Item = Result<ObjectRef<K>, Infallible>> {
        stream::unfold((self, stop), |(triggers, stop)| async move {
            loop {
                let next = {
                    let mut pending = triggers.pending.lock();
                    let next = pending.iter().next().cloned();
                    next.and_then(|next| pending.take(&next))
                };
                if stop.is_cancelled() {
                    return None;
                }
                if let Some(next) = next {
                    return Some((Ok(next), (triggers, stop)));
                }
                tokio::select! {
                    () = triggers.changed.notified() => {}
                    () = stop.cancelled() => return None,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use operator_api::SmtpRelay;

    use super::*;

    #[tokio::test]
    async fn an_object_that_changes_often_is_given_once() {
        let triggers = Arc::new(Triggers::<SmtpRelay>::default());
        for _ in 0..5 {
            triggers.push_name("mail", "outbox");
        }
        triggers.push_name("mail", "bulk");
        let stop = CancellationToken::new();
        let stream = Arc::clone(&triggers).stream(stop.clone());
        let mut stream = std::pin::pin!(stream);
        let mut names = Vec::new();
        for _ in 0..2 {
            names.push(stream.next().await.unwrap().unwrap().name);
        }
        names.sort();
        assert_eq!(names, ["bulk", "outbox"]);
        stop.cancel();
        assert!(stream.next().await.is_none());
    }
}
