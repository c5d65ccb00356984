//! Makes RSA keys apart from reconciles: one takes some tenths of a second of a core, and an import of
//! thousands of domains wants thousands. Meanwhile all that is not waiting for its key goes on.
//!
//! As many are made at once as there are cores. Namespaces take turns, and in a namespace the newest
//! domain alternates with the oldest ([`Queue`]), so that a single new domain never waits for an import.
//! What was made waits in memory for the reconcile that asked, which is told; a key that nobody fetched
//! before the operator ended is made anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use operator_api::SendingDomain;
use parking_lot::Mutex;
use relay_config::DkimAlgorithm;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::keys::{self, KeyError, SigningKey};
use crate::kubernetes::queue::{Key, Queue, Urgency};
use crate::kubernetes::triggers::Triggers;

/// Keys that are wanted, and keys that are there.
#[derive(Default)]
pub struct KeyMaker {
    state: Mutex<State>,
    wanted: Notify,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// Made and not fetched yet. One for each domain at most.
    made: HashMap<Key, Result<SigningKey, KeyError>>,
}

impl KeyMaker {
    /// The key made for `domain`; `None` when it is still to be made, which is asked for herewith.
    pub fn fetch(&self, domain: &Key) -> Result<Option<SigningKey>, KeyError> {
        let mut state = self.state.lock();
        if let Some(made) = state.made.remove(domain) {
            return made.map(Some);
        }
        state
            .queue
            .push(domain.clone(), Urgency::New, Instant::now());
        drop(state);
        self.wanted.notify_one();
        Ok(None)
    }

    /// The domain is gone; nobody will fetch its key.
    pub fn forget(&self, domain: &Key) {
        self.state.lock().made.remove(domain);
    }

    /// Makes what is wanted, and asks for a reconcile of whoever wanted it. Until it is dropped; `exists`
    /// tells whether a domain is still there.
    pub async fn run(
        self: Arc<Self>,
        triggers: Arc<Triggers<SendingDomain>>,
        exists: impl Fn(&Key) -> bool,
    ) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut making = JoinSet::new();
        loop {
            while making.len() < cores
                && let Some(domain) = self.next(&exists)
            {
                making.spawn_blocking(move || (domain, keys::generate(DkimAlgorithm::RsaSha256)));
            }
            tokio::select! {
                Some(made) = making.join_next() => {
                    // Nothing panics there, and a stop ends this, too.
                    if let Ok((domain, key)) = made {
                        self.finished(&domain, key);
                        triggers.ask(domain, Urgency::New);
                    }
                }
                () = self.wanted.notified() => {}
            }
        }
    }

    fn next(&self, exists: impl Fn(&Key) -> bool) -> Option<Key> {
        let mut state = self.state.lock();
        loop {
            let domain = state.queue.take(Instant::now())?;
            if exists(&domain) {
                return Some(domain);
            }
            state.queue.gone(&domain, Instant::now());
        }
    }

    fn finished(&self, domain: &Key, key: Result<SigningKey, KeyError>) {
        let mut state = self.state.lock();
        // Nothing is remembered of it, so that it may ask again at once. Asked meanwhile, it gets this.
        state.queue.finished(domain);
        state.made.insert(domain.clone(), key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_made_for_whoever_asked_and_handed_out_once() {
        let maker = Arc::new(KeyMaker::default());
        let triggers = Arc::new(Triggers::<SendingDomain>::default());
        let [shop, gone] = ["shop", "gone"].map(|name| Key::new("team", name));
        assert_eq!(maker.fetch(&gone), Ok(None));
        assert_eq!(maker.fetch(&shop), Ok(None));
        // Asking again is asking once.
        assert_eq!(maker.fetch(&shop), Ok(None));
        let known = shop.clone();
        let running = Arc::clone(&maker).run(Arc::clone(&triggers), move |key| *key == known);
        tokio::select! {
            () = running => {}
            () = triggers.changed() => {}
        }
        assert_eq!(triggers.waiting(), 1);
        let key = maker.fetch(&shop).unwrap().unwrap();
        assert_eq!(key.algorithm, DkimAlgorithm::RsaSha256);
        assert!(maker.state.lock().made.is_empty());
        assert_eq!(maker.fetch(&shop), Ok(None));
    }
}
