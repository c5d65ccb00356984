//! A cache of objects of one kind, with the questions that reconciles ask of it: by name, and by what
//! objects have in common. Nothing is searched through, since with ten thousand objects each of ten
//! thousand reconciles would.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::queue::Key;

/// Something that several objects of a kind may share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Index {
    /// The relay of this namespace and name.
    Relay(String, String),
    /// What may belong to one object only, such as a domain.
    Claim(String),
    /// The Secret of this namespace and name, by which an object is told of it.
    Secret(String, String),
}

/// What an object is found by besides its name.
pub type Indices<K> = fn(&K) -> Vec<Index>;

/// A cache; its clones are the same cache.
pub struct Store<K>(Arc<Shared<K>>);

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<K> {
    state: RwLock<State<K>>,
    indices: Indices<K>,
    filled: watch::Sender<bool>,
}

struct State<K> {
    objects: HashMap<Key, Arc<K>>,
    found_by: HashMap<Index, BTreeSet<Key>>,
    changes: u64,
}

/// Why a cache cannot be waited for.
#[derive(Debug, thiserror::Error)]
#[error("the cache's watch has ended")]
pub struct Ended;

/// Namespace and name of an object.
pub(super) fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    Key::new(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

impl<K: Resource<DynamicType = ()>> Store<K> {
    /// An empty cache.
    pub fn new(indices: Indices<K>) -> Self {
        Self(Arc::new(Shared {
            state: RwLock::new(State {
                objects: HashMap::new(),
                found_by: HashMap::new(),
                changes: 0,
            }),
            indices,
            filled: watch::channel(false).0,
        }))
    }

    /// The object of this name.
    pub fn get(&self, object: &ObjectRef<K>) -> Option<Arc<K>> {
        let namespace = object.namespace.clone().unwrap_or_default();
        self.named(&Key::new(namespace, object.name.clone()))
    }

    /// The object of this name.
    pub fn named(&self, key: &Key) -> Option<Arc<K>> {
        self.0.state.read().objects.get(key).map(Arc::clone)
    }

    /// All objects that share `index`, in the order of their names.
    pub fn sharing(&self, index: &Index) -> Vec<Arc<K>> {
        let state = self.0.state.read();
        let keys = state.found_by.get(index).into_iter().flatten();
        keys.filter_map(|key| state.objects.get(key).map(Arc::clone))
            .collect()
    }

    /// All objects.
    pub fn state(&self) -> Vec<Arc<K>> {
        self.0.state.read().objects.values().cloned().collect()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.0.state.read().objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Grows with each change.
    pub fn changes(&self) -> u64 {
        self.0.state.read().changes
    }

    /// Returns once the cache was filled.
    pub async fn wait_until_ready(&self) -> Result<(), Ended> {
        let mut filled = self.0.filled.subscribe();
        // The sender lives as long as this.
        filled.wait_for(|filled| *filled).await.map_err(|_| Ended)?;
        Ok(())
    }

    pub(super) fn filled(&self) {
        self.0.filled.send_replace(true);
    }

    /// Names of all objects that `wanted` names.
    pub fn keys(&self, wanted: impl Fn(&Key) -> bool) -> Vec<Key> {
        let state = self.0.state.read();
        state
            .objects
            .keys()
            .filter(|key| wanted(key))
            .cloned()
            .collect()
    }

    /// Puts an object in; the one that was there.
    pub fn put(&self, object: K) -> Option<Arc<K>> {
        let key = key(&object);
        let indices = (self.0.indices)(&object);
        let mut state = self.0.state.write();
        state.changes += 1;
        let old = state.objects.insert(key.clone(), Arc::new(object));
        if let Some(old) = &old {
            let left = (self.0.indices)(old);
            state.leave(&key, left.iter().filter(|index| !indices.contains(index)));
        }
        for index in indices {
            state.found_by.entry(index).or_default().insert(key.clone());
        }
        old
    }

    /// Takes an object out.
    pub(super) fn remove(&self, key: &Key) -> Option<Arc<K>> {
        let mut state = self.0.state.write();
        state.changes += 1;
        let old = state.objects.remove(key)?;
        state.leave(key, (self.0.indices)(&old).iter());
        Some(old)
    }
}

impl<K> State<K> {
    fn leave<'a>(&mut self, key: &Key, indices: impl Iterator<Item = &'a Index>) {
        for index in indices {
            if let Some(keys) = self.found_by.get_mut(index) {
                keys.remove(key);
                if keys.is_empty() {
                    self.found_by.remove(index);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt as _;

    use super::*;

    fn object(name: &str, relay: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("mail".to_owned());
        object.metadata.name = Some(name.to_owned());
        object
            .labels_mut()
            .insert("relay".to_owned(), relay.to_owned());
        object
    }

    fn of_relay(object: &ConfigMap) -> Vec<Index> {
        vec![Index::Relay(
            "mail".to_owned(),
            object.labels()["relay"].clone(),
        )]
    }

    #[test]
    fn objects_are_found_by_what_they_share_now_and_not_by_what_they_shared_before() {
        let store = Store::new(of_relay);
        let sharing = |relay: &str| -> Vec<String> {
            let found = store.sharing(&Index::Relay("mail".to_owned(), relay.to_owned()));
            found.iter().map(|object| object.name_any()).collect()
        };
        store.put(object("b", "outbox"));
        store.put(object("a", "outbox"));
        assert_eq!(sharing("outbox"), ["a", "b"]);
        store.put(object("a", "bulk"));
        assert_eq!(
            (sharing("outbox"), sharing("bulk")),
            (vec!["b".to_owned()], vec!["a".to_owned()])
        );
        store.remove(&Key::new("mail", "b"));
        assert!(sharing("outbox").is_empty());
        assert_eq!(store.0.state.read().found_by.len(), 1);
    }
}
