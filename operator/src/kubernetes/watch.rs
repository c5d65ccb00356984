//! Caches of objects, one for each kind, fed by one watch per namespace (or one for the cluster),
//! and the call that tells of each change, deletions included.
//!
//! With a list of namespaces the operator may have no right to watch the whole cluster, so each has
//! a watch of its own; their events are merged here into one cache, which counts as filled when all
//! of them have been listed once.

use std::collections::HashSet;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource};
use tokio::task::JoinSet;

use super::queue::Key;
use super::store::{self, Cached, Indices, Store};

/// All namespaces, in a text.
const ALL: &str = "*";

/// What the operator watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All namespaces.
    Cluster,
    /// These.
    Namespaces(Vec<String>),
}

impl Scope {
    /// Scope from the text of an annotation; all namespaces without one.
    pub fn parse(text: Option<&str>) -> Self {
        match text.filter(|text| !text.is_empty() && *text != ALL) {
            None => Self::Cluster,
            Some(text) => Self::Namespaces(text.split(',').map(str::to_owned).collect()),
        }
    }

    /// Text of an annotation from which [`Scope::parse`] makes the same.
    pub fn text(&self) -> String {
        match self {
            Self::Cluster => ALL.to_owned(),
            Self::Namespaces(names) => names.join(","),
        }
    }

    /// Whether objects of `namespace` are watched.
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::Cluster => true,
            Self::Namespaces(names) => names.iter().any(|name| name == namespace),
        }
    }

    /// One API per watch; for metadata alone, `K` is `PartialObjectMeta` of the kind.
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

/// What a watch tells of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is new or was changed.
    Changed,
    /// It is gone; this was its last form.
    Gone,
}

/// What is watched of a kind and how it is kept.
pub struct Plan<K> {
    /// One API per watch, and the namespace that it is of.
    pub apis: Vec<Api<K>>,
    /// Which objects.
    pub config: watcher::Config,
    /// What they are found by.
    pub indices: Indices<K>,
    /// Takes away what nobody reads. Who manages which field is always taken away.
    pub strip: fn(&mut K),
}

/// Keeps a cache in a task of its own. `K` may be `PartialObjectMeta`, for kinds of which much may
/// exist that is not ours.
pub fn objects<K>(
    tasks: &mut JoinSet<()>,
    plan: Plan<K>,
    tell: impl Fn(&K, Told) + Send + 'static,
) -> Store<K>
where
    K: Cached,
{
    let Plan {
        apis,
        config,
        indices,
        strip,
    } = plan;
    let sources = apis
        .into_iter()
        .map(|api| {
            let namespace = api.namespace().map(str::to_owned);
            let events = watcher(api, config.clone()).default_backoff();
            let events = events.map_ok(move |event| stripped(event, strip));
            (namespace, events.boxed())
        })
        .collect();
    spawn(tasks, sources, indices, tell)
}

fn stripped<K: Resource>(event: Event<K>, strip: fn(&mut K)) -> Event<K> {
    let strip = |mut object: K| {
        object.meta_mut().managed_fields = None;
        strip(&mut object);
        object
    };
    match event {
        Event::Apply(object) => Event::Apply(strip(object)),
        Event::InitApply(object) => Event::InitApply(strip(object)),
        Event::Delete(object) => Event::Delete(strip(object)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}

type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

fn spawn<K: Cached>(
    tasks: &mut JoinSet<()>,
    sources: Vec<(Option<String>, Events<K>)>,
    indices: Indices<K>,
    tell: impl Fn(&K, Told) + Send + 'static,
) -> Store<K> {
    let store = Store::new(indices);
    let (namespaces, streams): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
    let mut merger = Merger::new(namespaces, store.clone());
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
    store: Store<K>,
    sources: Vec<Source>,
    filled: bool,
}

struct Source {
    /// `None` for all namespaces.
    namespace: Option<String>,
    /// What the list that is coming in has named so far.
    listing: HashSet<Key>,
    listed: bool,
}

impl<K: Cached> Merger<K> {
    fn new(namespaces: Vec<Option<String>>, store: Store<K>) -> Self {
        let source = |namespace| Source {
            namespace,
            listing: HashSet::new(),
            listed: false,
        };
        Self {
            store,
            sources: namespaces.into_iter().map(source).collect(),
            filled: false,
        }
    }

    fn handle(&mut self, source: usize, event: Event<K>, tell: &impl Fn(&K, Told)) {
        let Some(state) = self.sources.get_mut(source) else {
            return;
        };
        match event {
            Event::Init => state.listing.clear(),
            Event::InitApply(object) => {
                state.listing.insert(store::key(&object));
                self.put(&object, tell);
            }
            Event::Apply(object) => self.put(&object, tell),
            Event::Delete(object) => {
                self.remove(&store::key(&object), tell);
            }
            Event::InitDone => self.listed(source, tell),
        }
    }

    fn put(&self, object: &K, tell: &impl Fn(&K, Told)) {
        // A list repeats what is known; only what changed is told.
        if self.store.put(object) && self.filled {
            tell(object, Told::Changed);
        }
    }

    fn remove(&self, key: &Key, tell: &impl Fn(&K, Told)) {
        if let Some(object) = self.store.remove(key)
            && self.filled
        {
            tell(&object, Told::Gone);
        }
    }

    /// A list is complete: what it did not name is gone.
    fn listed(&mut self, source: usize, tell: &impl Fn(&K, Told)) {
        let state = &mut self.sources[source];
        state.listed = true;
        let listing = std::mem::take(&mut state.listing);
        let namespace = state.namespace.clone();
        let gone = self.store.keys(|key| {
            let of_source = namespace
                .as_deref()
                .is_none_or(|own| *own == *key.namespace);
            of_source && !listing.contains(key)
        });
        for key in &gone {
            self.remove(key, tell);
        }
        if self.filled || !self.sources.iter().all(|state| state.listed) {
            return;
        }
        self.filled = true;
        self.store.filled();
        for object in self.store.state() {
            tell(&object, Told::Changed);
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

    /// Names told, those of what is gone with a minus, and names in the cache at the end.
    type Names = (Vec<String>, Vec<String>);

    /// Feeds events to a cache of two namespaces.
    fn run(events: Vec<(usize, Event<ConfigMap>)>) -> Names {
        let store = Store::<ConfigMap>::new(|_| Vec::new());
        let namespaces = ["shop", "bank"].map(|name| Some(name.to_owned()));
        let mut merger = Merger::new(namespaces.into(), store.clone());
        let told = RefCell::new(Vec::new());
        let name = |object: &ConfigMap| object.metadata.name.clone().unwrap_or_default();
        for (source, event) in events {
            merger.handle(source, event, &|object, what| {
                let sign = if what == Told::Gone { "-" } else { "" };
                told.borrow_mut().push(format!("{sign}{}", name(object)));
            });
        }
        if !merger.filled {
            return (told.into_inner(), Vec::new());
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
        assert_eq!(told[2..], ["-a", "c"]);
        assert_eq!(names, ["b", "c"]);
    }

    #[test]
    fn deletions_are_told() {
        let mut events = filled();
        events.push((1, Event::Delete(object("bank", "b", "9"))));
        let (told, names) = run(events);
        assert_eq!(told[2..], ["-b"]);
        assert_eq!(names, ["a"]);
    }
}
