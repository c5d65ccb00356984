//! Secrets whose content cannot be made again: DKIM keys whose records are published, passwords
//! that applications use.
//!
//! They are made by `create`, which fails when the name is taken, and changed by a merge patch that
//! holds the very version that was read, which fails when anybody wrote meanwhile. So neither a
//! second operator nor an outdated cache can overwrite anything. Server-side apply would.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use operator_api::names::FIELD_MANAGER;
use serde_json::{Value, json};

use crate::certificates::{self, SecretData};
use crate::labels;

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Somebody else wrote meanwhile; nothing was overwritten.
    #[error("Secret {name} was changed meanwhile; it is read again")]
    Conflict {
        /// Name of the Secret.
        name: String,
    },
    /// The API server refused.
    #[error("Secret {name} cannot be written: {source}")]
    Refused {
        /// Name of the Secret.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
}

/// A write that brings a Secret about.
pub struct Change {
    namespace: String,
    name: String,
    write: Write,
}

enum Write {
    None,
    Create(Box<Secret>),
    Update(Value),
}

/// What a Secret should be.
pub struct Desired<'a> {
    /// Name.
    pub name: &'a str,
    /// Type; cannot change later.
    pub kind: &'a str,
    /// Value of the component label.
    pub component: &'a str,
    /// Exactly these entries.
    pub data: &'a SecretData,
}

/// Whether `secret` was made for `owner`. A copy of it elsewhere, or one of a former object of the
/// same name, was not.
pub fn is_owned<K: Resource>(owner: &K, secret: &Secret) -> bool {
    let uid = &owner.meta().uid;
    owner.meta().namespace == secret.metadata.namespace
        && uid.is_some()
        && secret
            .owner_references()
            .iter()
            .any(|reference| Some(&reference.uid) == uid.as_ref())
}

/// The write from `live`, which must be the owner's, to `desired`. Pure.
pub fn change<K: Resource<DynamicType = ()>>(
    owner: &K,
    live: Option<&Secret>,
    desired: &Desired<'_>,
) -> Change {
    let wanted = labels::common(desired.component);
    let write = match live {
        None => Write::Create(Box::new(make(owner, desired, wanted))),
        Some(live) => patch(live, desired, &wanted).map_or(Write::None, Write::Update),
    };
    Change {
        namespace: owner.meta().namespace.clone().unwrap_or_default(),
        name: desired.name.to_owned(),
        write,
    }
}

fn make<K: Resource<DynamicType = ()>>(
    owner: &K,
    desired: &Desired<'_>,
    labels: BTreeMap<String, String>,
) -> Secret {
    let bytes =
        |(entry, content): (&String, &Vec<u8>)| (entry.clone(), ByteString(content.clone()));
    Secret {
        metadata: labels::owned_by(owner, desired.name.to_owned(), labels),
        type_: Some(desired.kind.to_owned()),
        data: Some(desired.data.iter().map(bytes).collect()),
        ..Secret::default()
    }
}

/// `None` when nothing differs. Without the labels the Secret would drop out of the operator's
/// cache, so they are part of it.
fn patch(live: &Secret, desired: &Desired<'_>, labels: &BTreeMap<String, String>) -> Option<Value> {
    let old = certificates::data_of(live);
    let labelled = labels
        .iter()
        .all(|(key, value)| live.labels().get(key) == Some(value));
    if old == *desired.data && labelled {
        return None;
    }
    let gone = old
        .keys()
        .filter(|entry| !desired.data.contains_key(*entry));
    let mut entries: serde_json::Map<String, Value> =
        gone.map(|entry| (entry.clone(), Value::Null)).collect();
    for (entry, content) in desired.data {
        if old.get(entry) != Some(content) {
            entries.insert(entry.clone(), json!(ByteString(content.clone())));
        }
    }
    Some(json!({
        "metadata": {
            "resourceVersion": live.resource_version(),
            "uid": live.uid(),
            "labels": labels,
        },
        "data": entries,
    }))
}

impl Change {
    /// Whether there is nothing to do.
    pub fn is_none(&self) -> bool {
        matches!(self.write, Write::None)
    }

    /// Writes it.
    pub async fn write(self, client: &Client) -> Result<(), WriteError> {
        let secrets = Api::<Secret>::namespaced(client.clone(), &self.namespace);
        let manager = Some(FIELD_MANAGER.to_owned());
        let result = match self.write {
            Write::None => return Ok(()),
            Write::Create(secret) => {
                let parameters = PostParams {
                    field_manager: manager,
                    ..PostParams::default()
                };
                secrets.create(&parameters, &secret).await
            }
            Write::Update(patch) => {
                let parameters = PatchParams {
                    field_manager: manager,
                    ..PatchParams::default()
                };
                secrets
                    .patch(&self.name, &parameters, &Patch::Merge(patch))
                    .await
            }
        };
        match result {
            Ok(_) => Ok(()),
            // 404: deleted since it was read; 409: made or changed.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {
                Err(WriteError::Conflict { name: self.name })
            }
            Err(source) => Err(WriteError::Refused {
                name: self.name,
                source: Box::new(source),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
