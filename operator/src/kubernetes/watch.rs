//! Caches of objects, one for each kind, fed by one watch per namespace (or one for the cluster),
//! and the call that tells of each change, deletions included.
//!
//! With a list of namespaces the operator may have no right to watch the whole cluster, so each has
//! a watch of its own; their events are merged here into one cache, which counts as filled when all
//! of them have been listed once.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::api::Api;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

/// What the operator watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All namespaces.
    Cluster,
    /// These.
    Namespaces(Vec<String>),
}

impl Scope {
    /// One API per watch.
    pub fn apis<K>(&self, client: &Client) -> Vec<Api<K>>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        match self {
            Self::Cluster => vec![Api::all(client.clone())],
            Self::Namespaces(names) => names
                .iter()
                .map(|name| Api::namespaced(client.clone(), name))
                .collect(),
        }
    }
}

/// What a cache can hold.
pub trait Cached:
    Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + Debug + Send + Sync + 'static
{
}

impl<K> Cached for K where
    K: Resource<DynamicType = ()>
        + Lookup<DynamicType = ()>
        + Clone
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// Keeps a cache in a task of its own. `K` may be `PartialObjectMeta`, for kinds of which much may
/// exist that is not ours.
pub fn objects<K>(
    tasks: &mut JoinSet<()>,
    apis: Vec<Api<K>>,
    config: &watcher::Config,
    tell: impl Fn(&K) + Send + 'static,
) -> Store<K>
where
    K: Cached + DeserializeOwned,
{
    let streams = apis
        .into_iter()
        .map(|api| watcher(api, config.clone()).default_backoff().boxed())
        .collect();
    spawn(tasks, streams, tell)
}

type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

fn spawn<K: Cached>(
    tasks: &mut JoinSet<()>,
    streams: Vec<Events<K>>,
    tell: impl Fn(&K) + Send + 'static,
) -> Store<K> {
    let (store, writer) = reflector::store::<K>();
    let mut merger = Merger::new(streams.len(), writer);
    let mut all = stream::select_all(
        streams
            .into_iter()
            .enumerate()
            .map(|(source, events)| events.map_ok(move |event| (source, event)).boxed()),
    );
    tasks.spawn(async move {
        while let Some(event) = all.next().await {
            match event {
                Ok((source, event)) => merger.handle(source, event, &tell),
                // The watcher tries again by itself, with back-off.
                Err(error) => {
                    tracing::warn!(kind = %<K as Resource>::kind(&()), %error, "a watch failed and is restarted");
                }
            }
        }
    });
    store
}

/// Makes one sequence of events of several.
struct Merger<K: Cached> {
    writer: Writer<K>,
    sources: Vec<Source<K>>,
    filled: bool,
}

struct Source<K: Cached> {
    known: HashMap<ObjectRef<K>, Arc<K>>,
    listing: HashSet<ObjectRef<K>>,
    listed: bool,
}

impl<K: Cached> Merger<K> {
    fn new(sources: usize, mut writer: Writer<K>) -> Self {
        writer.apply_watcher_event(&Event::Init);
        let sources = (0..sources)
            .map(|_| Source {
                known: HashMap::new(),
                listing: HashSet::new(),
                listed: false,
            })
            .collect();
        Self {
            writer,
            sources,
            filled: false,
        }
    }

    fn handle(&mut self, source: usize, event: Event<K>, tell: &impl Fn(&K)) {
        let Some(state) = self.sources.get_mut(source) else {
            return;
        };
        match event {
            Event::Init => state.listing.clear(),
            Event::InitApply(object) => {
                state.listing.insert(ObjectRef::from_obj(&object));
                self.put(source, object, tell);
            }
            Event::Apply(object) => self.put(source, object, tell),
            Event::Delete(object) => self.remove(source, &object, tell),
            Event::InitDone => self.listed(source, tell),
        }
    }

    fn put(&mut self, source: usize, object: K, tell: &impl Fn(&K)) {
        let reference = ObjectRef::from_obj(&object);
        let known = &mut self.sources[source].known;
        // A list repeats what is known; only what changed is told.
        let repeated = known
            .get(&reference)
            .is_some_and(|old| old.meta().resource_version == object.meta().resource_version);
        known.insert(reference, Arc::new(object.clone()));
        if !self.filled {
            self.writer.apply_watcher_event(&Event::InitApply(object));
            return;
        }
        self.writer
            .apply_watcher_event(&Event::Apply(object.clone()));
        if !repeated {
            tell(&object);
        }
    }

    fn remove(&mut self, source: usize, object: &K, tell: &impl Fn(&K)) {
        self.sources[source]
            .known
            .remove(&ObjectRef::from_obj(object));
        if self.filled {
            self.writer
                .apply_watcher_event(&Event::Delete(object.clone()));
            tell(object);
        }
    }

    /// A list is complete: what it did not name is gone.
    fn listed(&mut self, source: usize, tell: &impl Fn(&K)) {
        let state = &mut self.sources[source];
        state.listed = true;
        let gone: Vec<Arc<K>> = state
            .known
            .iter()
            .filter(|(reference, _)| !state.listing.contains(*reference))
            .map(|(_, object)| Arc::clone(object))
            .collect();
        for object in &gone {
            self.remove(source, object, tell);
        }
        if self.filled || !self.sources.iter().all(|state| state.listed) {
            return;
        }
        self.filled = true;
        // Anew, since a list that was restarted may have named what is gone by now.
        self.writer.apply_watcher_event(&Event::Init);
        let all: Vec<Arc<K>> = self
            .sources
            .iter()
            .flat_map(|state| state.known.values().cloned())
            .collect();
        for object in &all {
            self.writer
                .apply_watcher_event(&Event::InitApply(K::clone(object)));
        }
        self.writer.apply_watcher_event(&Event::InitDone);
        for object in &all {
            tell(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(namespace: &str, name: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some(namespace.to_owned());
        object.metadata.name = Some(name.to_owned());
        object.metadata.resource_version = Some(version.to_owned());
        object
    }

    /// Names told, and names in the cache at the end.
    type Names = (Vec<String>, Vec<String>);

    /// Feeds events to a cache of two namespaces.
    fn run(events: Vec<(usize, Event<ConfigMap>)>) -> Names {
        let (store, writer) = reflector::store::<ConfigMap>();
        let mut merger = Merger::new(2, writer);
        let told = RefCell::new(Vec::new());
        let name = |object: &ConfigMap| object.metadata.name.clone().unwrap_or_default();
        for (source, event) in events {
            merger.handle(source, event, &|object| {
                told.borrow_mut().push(name(object));
            });
        }
        let mut names: Vec<String> = store.state().iter().map(|object| name(object)).collect();
        names.sort();
        (told.into_inner(), names)
    }

    fn filled() -> Vec<(usize, Event<ConfigMap>)> {
        vec![
            (0, Event::Init),
            (1, Event::Init),
            (0, Event::InitApply(object("shop", "a", "1"))),
            (0, Event::InitDone),
            (1, Event::InitApply(object("bank", "b", "2"))),
            (1, Event::InitDone),
        ]
    }

    #[test]
    fn a_cache_is_filled_when_every_namespace_was_listed() {
        let mut half = filled();
        half.truncate(4);
        assert_eq!(run(half), (vec![], vec![]));
        let (mut told, names) = run(filled());
        told.sort();
        assert_eq!(told, ["a", "b"]);
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_a_new_list_lacks_is_told_as_gone_and_what_it_repeats_is_not_told() {
        let mut events = filled();
        events.extend([
            (0, Event::Init),
            (0, Event::InitDone),
            (1, Event::Init),
            (1, Event::InitApply(object("bank", "b", "2"))),
            (1, Event::InitApply(object("bank", "c", "3"))),
            (1, Event::InitDone),
        ]);
        let (told, names) = run(events);
        assert_eq!(told[2..], ["a", "c"]);
        assert_eq!(names, ["b", "c"]);
    }

    #[test]
    fn deletions_are_told() {
        let mut events = filled();
        events.push((1, Event::Delete(object("bank", "b", "9"))));
        let (told, names) = run(events);
        assert_eq!(told[2..], ["b"]);
        assert_eq!(names, ["a"]);
    }
}
