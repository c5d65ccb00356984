//! A cache of objects of one kind, with the questions that reconciles ask of it: by name, and by what
//! objects have in common. Nothing is searched through, since with ten thousand objects each of ten
//! thousand reconciles would.
//!
//! Objects are kept packed and unpacked for whoever asks: there are tens of thousands of them, of which a
//! few are worked on at a time.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::packed::Packed;
use super::queue::Key;

/// What a cache can hold.
pub trait Cached:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Cached for K where
    K: Resource<DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

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
    objects: HashMap<Key, Entry<K>>,
    /// Names by the hash of what they share, in order. Others may have the same hash, so whoever is found
    /// is asked.
    found_by: HashMap<u64, Vec<Key>>,
    hashes: RandomState,
    changes: u64,
}

struct Entry<K> {
    version: Option<Box<str>>,
    form: Form<K>,
}

enum Form<K> {
    Packed(Packed<K>),
    /// What cannot be packed.
    Whole(Arc<K>),
}

/// Why a cache cannot be waited for.
#[derive(Debug, thiserror::Error)]
#[error("the cache's watch has ended")]
pub struct Ended;

/// Namespace and name of an object.
pub(super) fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    Key::new(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

impl<K: Cached> Entry<K> {
    fn new(object: &K) -> Self {
        let version = object.meta().resource_version.as_deref().map(Box::from);
        // An object that could not be read back would count as gone.
        let form = match Packed::new(object) {
            Ok(packed) if packed.unpack().is_ok() => Form::Packed(packed),
            Ok(_) | Err(_) => Form::Whole(Arc::new(object.clone())),
        };
        Self { version, form }
    }

    fn object(&self) -> Option<Arc<K>> {
        match &self.form {
            Form::Whole(object) => Some(Arc::clone(object)),
            Form::Packed(packed) => match packed.unpack() {
                Ok(object) => Some(Arc::new(object)),
                Err(error) => {
                    // Whatever was packed can be unpacked.
                    tracing::error!(kind = %K::kind(&()), %error, "an object in the cache cannot be read");
                    None
                }
            },
        }
    }
}

impl<K: Cached> Store<K> {
    /// An empty cache.
    pub fn new(indices: Indices<K>) -> Self {
        Self(Arc::new(Shared {
            state: RwLock::new(State {
                objects: HashMap::new(),
                found_by: HashMap::new(),
                hashes: RandomState::new(),
                changes: 0,
            }),
            indices,
            filled: watch::channel(false).0,
        }))
    }

    /// The object of this name.
    pub fn get(&self, object: &ObjectRef<K>) -> Option<Arc<K>> {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        self.named(&Key::new(namespace, object.name.as_str()))
    }

    /// The object of this name.
    pub fn named(&self, key: &Key) -> Option<Arc<K>> {
        self.0.state.read().objects.get(key)?.object()
    }

    /// Whether there is an object of this name.
    pub fn has(&self, key: &Key) -> bool {
        self.0.state.read().objects.contains_key(key)
    }

    /// All objects that share `index`, in the order of their names.
    pub fn sharing(&self, index: &Index) -> Vec<Arc<K>> {
        let state = self.0.state.read();
        let keys = state.found_by.get(&state.hashes.hash_one(index));
        keys.into_iter()
            .flatten()
            .filter_map(|key| state.objects.get(key)?.object())
            .filter(|object| (self.0.indices)(object).contains(index))
            .collect()
    }

    /// All objects.
    pub fn state(&self) -> Vec<Arc<K>> {
        let state = self.0.state.read();
        state.objects.values().filter_map(Entry::object).collect()
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

    /// Puts an object in; whether it is another version than the one that was there.
    pub fn put(&self, object: &K) -> bool {
        let key = key(object);
        let indices = (self.0.indices)(object);
        // Packed before the lock is taken.
        let entry = Entry::new(object);
        let mut state = self.0.state.write();
        state.changes += 1;
        let known = state.objects.get(&key);
        let repeated = known.is_some_and(|known| known.version == entry.version);
        let left = known.and_then(Entry::object);
        for index in left.iter().flat_map(|left| (self.0.indices)(left)) {
            if !indices.contains(&index) {
                state.leave(&key, &index);
            }
        }
        for index in &indices {
            state.join(&key, index);
        }
        state.objects.insert(key, entry);
        !repeated
    }

    /// Takes an object out.
    pub(super) fn remove(&self, key: &Key) -> Option<Arc<K>> {
        let mut state = self.0.state.write();
        state.changes += 1;
        let old = state.objects.remove(key)?.object()?;
        for index in (self.0.indices)(&old) {
            state.leave(key, &index);
        }
        Some(old)
    }
}

impl<K> State<K> {
    fn join(&mut self, key: &Key, index: &Index) {
        let hash = self.hashes.hash_one(index);
        // Most share nothing with anybody.
        let keys = self
            .found_by
            .entry(hash)
            .or_insert_with(|| Vec::with_capacity(1));
        if let Err(place) = keys.binary_search(key) {
            keys.insert(place, key.clone());
        }
    }

    fn leave(&mut self, key: &Key, index: &Index) {
        let hash = self.hashes.hash_one(index);
        if let Some(keys) = self.found_by.get_mut(&hash) {
            if let Ok(place) = keys.binary_search(key) {
                keys.remove(place);
            }
            if keys.is_empty() {
                self.found_by.remove(&hash);
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
        store.put(&object("b", "outbox"));
        store.put(&object("a", "outbox"));
        assert_eq!(sharing("outbox"), ["a", "b"]);
        store.put(&object("a", "bulk"));
        assert_eq!(
            (sharing("outbox"), sharing("bulk")),
            (vec!["b".to_owned()], vec!["a".to_owned()])
        );
        store.remove(&Key::new("mail", "b"));
        assert!(sharing("outbox").is_empty());
        assert_eq!(store.0.state.read().found_by.len(), 1);
    }
}
