//! Server-side apply that writes only when something differs, so that an idle cluster sees no
//! write.
//!
//! An object carries a digest of what was last applied. Nothing is sent when the digest is the same
//! and every field that we set still has our value; the digest shows fields that we no longer set.
//! Content of Secrets and ConfigMaps is compared itself and is not part of the digest, which anybody
//! who may list objects can read: a digest of a weak password could be guessed against.

mod compare;

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use aws_lc_rs::digest;
use kube::api::{Api, Patch, PatchParams};
use kube::core::Status;
use kube::{Client, Resource, ResourceExt as _};
use operator_api::names::{FIELD_MANAGER, RELAY_LABEL};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::labels::MANAGED_BY;
use compare::{annotate, contains, covers, digest_of, same_content};

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing differed; nothing was sent.
    Unchanged,
    /// The object was made.
    Created,
    /// The object was changed.
    Changed,
}

/// Why an apply failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of the name exists and is not ours. Nothing was changed.
    #[error(
        "{kind} {name} exists and does not belong to this object; delete or rename it, or choose \
         another name here"
    )]
    Conflict {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The object cannot be written as JSON.
    #[error("{kind} {name} cannot be written as JSON: {source}")]
    Serialise {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the library said.
        source: serde_json::Error,
    },
    /// The API server refused.
    #[error("{kind} {name} cannot be applied: {source}")]
    Refused {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
}

/// How the API server begins what it says of an apply that its types do not take, with code 500: the same
/// request fails each time.
const NO_OBJECT: [&str; 2] = [
    "failed to convert new object",
    "failed to create typed patch object",
];

fn is_not_allowed(status: &Status) -> bool {
    let no_object = || {
        let message = &status.message;
        NO_OBJECT.iter().any(|start| message.starts_with(start))
    };
    matches!(status.code, 400 | 403 | 422) || status.code == 500 && no_object()
}

/// Objects of namespaced kinds that the operator writes.
pub trait Owned:
    Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}

impl ApplyError {
    /// What the API server said, when it will say the same again: the change is not allowed.
    pub fn not_allowed(&self) -> Option<&str> {
        match self {
            Self::Refused { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if is_not_allowed(status) => Some(&status.message),
                _ => None,
            },
            _ => None,
        }
    }
}

impl<K> Owned for K where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

/// Applies objects, and remembers at which resource version each was last in order.
#[derive(Default)]
pub struct Applier {
    /// By kind, namespace and name. One entry per object that was written; see [`Self::forget`].
    seen: Mutex<HashMap<Key, Seen>>,
    /// Objects that the API server does not take as they should be.
    refused: Mutex<HashMap<Key, Refusal>>,
}

/// How long the API server is not asked again for what it did not allow, unless the object or the wish
/// changes (case O22).
const REFUSAL_HOLDS: Duration = Duration::from_mins(5);

/// What was not allowed, and of which version of the object.
#[derive(Debug)]
struct Refusal {
    digest: String,
    version: Option<String>,
    at: Instant,
    status: Box<Status>,
}

/// Digest of kind, namespace and name: shorter than they are, of tens of thousands of objects.
type Key = [u8; 16];

/// An object right after it was applied. The API server writes some values in another form than
/// they were sent in (`1000m` as `1`), which is no difference to be applied again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    digest: Box<str>,
    version: Option<Box<str>>,
    /// Changes with the spec only; kinds without a spec of their own have none.
    generation: Option<i64>,
}

fn key<K: Owned>(object: &K) -> Key {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    named::<K>(namespace, &object.name_any())
}

fn named<K: Owned>(namespace: &str, name: &str) -> Key {
    let text = format!("{}/{namespace}/{name}", K::kind(&()));
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let mut key = Key::default();
    // The longer of the two ends where the shorter does.
    for (octet, digested) in key.iter_mut().zip(digest.as_ref()) {
        *octet = *digested;
    }
    key
}

impl Applier {
    /// Brings `desired` about. `live` is the object as last seen; when there is none, the API
    /// server is asked first, since a cache holds only what is ours.
    ///
    /// A live object of somebody else is left alone: one without the owner reference of `desired`,
    /// or, where that has none, without its labels of ours.
    pub async fn apply<K: Owned>(
        &self,
        client: &Client,
        desired: &K,
        live: Option<&K>,
    ) -> Result<Outcome, ApplyError> {
        if live.is_some() {
            return self.bring(client, desired, live).await;
        }
        let name = desired.name_any();
        let api: Api<K> = Api::namespaced(client.clone(), &desired.namespace().unwrap_or_default());
        // Consistent: a late "not found" would have the object of somebody else taken for none.
        let found = api
            .get_opt(&name)
            .await
            .map_err(|source| ApplyError::Refused {
                kind: K::kind(&()).into_owned(),
                name,
                source: Box::new(source),
            })?;
        self.bring(client, desired, found.as_ref()).await
    }

    /// As [`Self::apply`], but `live` was just read at the API server: without one there is none.
    pub async fn bring<K: Owned>(
        &self,
        client: &Client,
        desired: &K,
        live: Option<&K>,
    ) -> Result<Outcome, ApplyError> {
        let kind = K::kind(&()).into_owned();
        let name = desired.name_any();
        let namespace = desired.namespace().unwrap_or_default();
        let api: Api<K> = Api::namespaced(client.clone(), &namespace);
        let refused = |source| ApplyError::Refused {
            kind: kind.clone(),
            name: name.clone(),
            source: Box::new(source),
        };
        let serialise = |source| ApplyError::Serialise {
            kind: kind.clone(),
            name: name.clone(),
            source,
        };
        if live.is_some_and(|live| !same_owner(desired, live)) {
            return Err(ApplyError::Conflict { kind, name });
        }
        let mut value = wanted(desired).map_err(serialise)?;
        let digest = digest_of(&value);
        annotate(&mut value, &digest);
        if let Some(live) = live
            && self.is_in_order(live, &value, &digest).map_err(serialise)?
        {
            return Ok(Outcome::Unchanged);
        }
        let version = live.and_then(kube::ResourceExt::resource_version);
        if let Some(status) = self.refusal(&key(desired), &digest, version.as_ref()) {
            return Err(refused(kube::Error::Api(status)));
        }
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied = api.patch(&name, &parameters, &Patch::Apply(&value)).await;
        let written = match applied {
            // Apply cannot take away what somebody else added; where that makes ours invalid, a
            // merge can.
            Err(kube::Error::Api(status)) if status.code == 422 && live.is_some() => {
                let parameters = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                api.patch(&name, &parameters, &Patch::Merge(&value)).await
            }
            applied => applied,
        };
        if let Err(kube::Error::Api(status)) = &written
            && is_not_allowed(status)
            && same_content(&value, &Value::Null)
        {
            let refusal = Refusal {
                digest: digest.clone(),
                version,
                at: Instant::now(),
                status: status.clone(),
            };
            self.refused.lock().insert(key(desired), refusal);
        }
        let written: K = written.map_err(refused)?;
        self.refused.lock().remove(&key(desired));
        let seen = Seen {
            digest: digest.into(),
            version: written.resource_version().map(Into::into),
            generation: written.meta().generation,
        };
        self.seen.lock().insert(key(desired), seen);
        Ok(if live.is_some() {
            Outcome::Changed
        } else {
            Outcome::Created
        })
    }

    /// What the API server said of this very wish for this very object not long ago.
    fn refusal(&self, key: &Key, digest: &str, version: Option<&String>) -> Option<Box<Status>> {
        let refused = self.refused.lock();
        let refusal = refused.get(key)?;
        let same = refusal.digest == digest && refusal.version.as_ref() == version;
        (same && refusal.at.elapsed() < REFUSAL_HOLDS).then(|| refusal.status.clone())
    }

    /// Whether a cached object is what this process last wrote there, or was never written by it: else the
    /// cache is behind, or somebody else wrote since.
    pub fn is_current<K: Owned>(&self, cached: &K) -> bool {
        let seen = self.seen.lock();
        let seen = seen.get(&key(cached)).map(|seen| seen.version.as_deref());
        seen.is_none_or(|version| version == cached.meta().resource_version.as_deref())
    }

    /// Whether applying `desired` would send anything, as far as `live` shows.
    pub fn differs<K: Owned>(&self, desired: &K, live: &K) -> bool {
        let Ok(mut value) = wanted(desired) else {
            return true;
        };
        let digest = digest_of(&value);
        annotate(&mut value, &digest);
        !self.is_in_order(live, &value, &digest).unwrap_or(false)
    }

    /// Either everything is as wanted, or it is as the API server made of what was wanted.
    fn is_in_order<K: Owned>(
        &self,
        live: &K,
        desired: &Value,
        digest: &str,
    ) -> Result<bool, serde_json::Error> {
        let live_value = serde_json::to_value(live)?;
        if covers(&live_value, desired) {
            return Ok(true);
        }
        let seen = self.seen.lock().get(&key(live)).cloned();
        let Some(seen) = seen.filter(|seen| *seen.digest == *digest) else {
            return Ok(false);
        };
        let same_version = seen.version.as_deref() == live.meta().resource_version.as_deref();
        let same_spec = seen.generation.is_some()
            && seen.generation == live.meta().generation
            && contains(&live_value["metadata"], &desired["metadata"]);
        // Content is not part of the digest, so it is compared in any case.
        Ok((same_version || same_spec) && same_content(&live_value, desired))
    }

    /// An object is gone: deleted by us, by somebody else, or with its owner.
    pub fn forget<K: Owned>(&self, namespace: &str, name: &str) {
        let key = named::<K>(namespace, name);
        self.seen.lock().remove(&key);
        self.refused.lock().remove(&key);
    }

    /// Deletes an object by name; one that is gone already is no error. The preconditions see to it
    /// that only the object that was looked at goes.
    pub async fn delete<K: Owned>(&self, client: &Client, live: &K) -> Result<(), ApplyError> {
        let kind = K::kind(&()).into_owned();
        let name = live.name_any();
        let namespace = live.namespace().unwrap_or_default();
        self.forget::<K>(&namespace, &name);
        let parameters =
            kube::api::DeleteParams::background().preconditions(kube::api::Preconditions {
                uid: live.uid(),
                resource_version: None,
            });
        match Api::<K>::namespaced(client.clone(), &namespace)
            .delete(&name, &parameters)
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            Err(source) => Err(ApplyError::Refused {
                kind,
                name,
                source: Box::new(source),
            }),
        }
    }
}

/// Whether `live` is the object that we made before under the name of `desired`.
fn same_owner<K: Resource>(desired: &K, live: &K) -> bool {
    let Some(owner) = desired.owner_references().first() else {
        return [MANAGED_BY, RELAY_LABEL]
            .iter()
            .all(|label| desired.labels().get(*label) == live.labels().get(*label));
    };
    live.owner_references()
        .iter()
        .any(|other| other.uid == owner.uid)
}

/// What is sent. A field that is left out stays as somebody else set it, so one that contradicts
/// ours is named with a null, which shows it as a difference and lets a merge remove it: a
/// Deployment's `rollingUpdate` makes `Recreate` invalid.
fn wanted<K: Serialize>(desired: &K) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(desired)?;
    if value["kind"] == "Deployment" && value["spec"]["strategy"]["type"] == "Recreate" {
        value["spec"]["strategy"]["rollingUpdate"] = Value::Null;
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
