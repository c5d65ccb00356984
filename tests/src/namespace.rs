//! A namespace of one test's own: manifests go in as a user applies them, and what becomes of them
//! is watched at the API server.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Secret};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::runtime::wait::{Condition, await_condition, conditions};
use serde_json::Value;

use crate::cluster::{Cluster, namespace_manifest};

/// Deleting a namespace waits for its pods and volumes.
const DELETE_LIMIT: Duration = Duration::from_mins(2);

/// A kind that tests look at, in the form `kubectl` knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the Kubernetes kind of that name")]
pub enum Kind {
    SmtpRelay,
    SendingDomain,
    SmtpCredential,
    Deployment,
    Pod,
    Secret,
    Service,
    PersistentVolumeClaim,
    ServiceAccount,
    PodDisruptionBudget,
    NetworkPolicy,
    Event,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (group, version) = match self {
            Self::SmtpRelay | Self::SendingDomain | Self::SmtpCredential => {
                ("mailrelay.dev", "v1alpha1")
            }
            Self::Deployment => ("apps", "v1"),
            Self::PodDisruptionBudget => ("policy", "v1"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1"),
            Self::Event => ("events.k8s.io", "v1"),
            _ => ("", "v1"),
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &format!("{self:?}")))
    }

    /// An object in the form `kubectl` takes.
    fn reference(self, name: &str) -> String {
        let resource = self.resource();
        let separator = if resource.group.is_empty() { "" } else { "." };
        format!("{}{separator}{}/{name}", resource.plural, resource.group)
    }
}

/// A namespace that enforces PodSecurity `restricted`.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its cluster.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Makes the namespace, after removing what an earlier run left of it.
    pub async fn create(cluster: &Cluster, name: &str) -> anyhow::Result<Self> {
        let namespace = Self {
            cluster: cluster.clone(),
            name: name.into(),
        };
        namespace.delete().await?;
        let manifest = namespace_manifest(name);
        cluster
            .kubectl()
            .args(["apply", "--server-side", "-f", "-"])
            .input(manifest)
            .succeed()
            .await?;
        Ok(namespace)
    }

    /// Removes the namespace and waits until it is gone.
    pub async fn delete(&self) -> anyhow::Result<()> {
        let api: Api<NamespaceObject> = Api::all(self.cluster.client.clone());
        let Some(object) = api.get_opt(&self.name).await? else {
            return Ok(());
        };
        let identity = object.metadata.uid.unwrap_or_default();
        api.delete(&self.name, &kube::api::DeleteParams::default())
            .await?;
        let gone = await_condition(api, &self.name, conditions::is_deleted(&identity));
        tokio::time::timeout(DELETE_LIMIT, gone)
            .await
            .with_context(|| {
                format!(
                    "namespace {} is not gone within {DELETE_LIMIT:?}",
                    self.name
                )
            })??;
        Ok(())
    }

    /// `kubectl` in this namespace.
    pub fn kubectl(&self) -> crate::process::Run {
        self.cluster.kubectl().args(["--namespace", &self.name])
    }

    /// Applies manifests, as a user does.
    pub async fn apply(&self, manifests: &str) -> anyhow::Result<()> {
        self.kubectl()
            .args(["apply", "--filename", "-"])
            .input(manifests)
            .succeed()
            .await?;
        Ok(())
    }

    /// Merges a patch into an object, as `kubectl patch` does.
    pub async fn patch(&self, kind: Kind, name: &str, patch: &Value) -> anyhow::Result<()> {
        self.kubectl()
            .arg("patch")
            .arg(kind.reference(name))
            .args(["--type=merge", "--patch"])
            .arg(patch.to_string())
            .succeed()
            .await?;
        Ok(())
    }

    /// Deletes an object and returns at once.
    pub async fn remove(&self, kind: Kind, name: &str) -> anyhow::Result<()> {
        self.kubectl()
            .args(["delete", "--wait=false"])
            .arg(kind.reference(name))
            .succeed()
            .await?;
        Ok(())
    }

    /// An object, if it is there.
    pub async fn get(&self, kind: Kind, name: &str) -> anyhow::Result<Option<Value>> {
        self.api(kind).get_opt(name).await?.map(to_json).transpose()
    }

    /// All objects of a kind.
    pub async fn list(&self, kind: Kind) -> anyhow::Result<Vec<Value>> {
        let list = self.api(kind).list(&ListParams::default()).await?;
        list.items.into_iter().map(to_json).collect()
    }

    /// A value of a Secret, as text.
    pub async fn secret(&self, name: &str, key: &str) -> anyhow::Result<String> {
        let api: Api<Secret> = Api::namespaced(self.cluster.client.clone(), &self.name);
        let secret = api.get(name).await?;
        let value = secret
            .data
            .unwrap_or_default()
            .remove(key)
            .with_context(|| format!("Secret {name} has no {key}"))?;
        Ok(String::from_utf8(value.0)?)
    }

    /// Waits, by a watch, until `holds` of the object; it is `None` while it is not there.
    pub async fn watch(
        &self,
        kind: Kind,
        name: &str,
        awaited: &str,
        limit: Duration,
        holds: impl Fn(Option<&Value>) -> bool,
    ) -> anyhow::Result<Option<Value>> {
        let condition = Judged(|object: Option<&DynamicObject>| {
            holds(
                object
                    .cloned()
                    .and_then(|object| to_json(object).ok())
                    .as_ref(),
            )
        });
        let found = await_condition(self.api(kind), name, condition);
        match tokio::time::timeout(limit, found).await {
            Ok(object) => object?.map(to_json).transpose(),
            Err(_) => Err(anyhow!(
                "{kind:?} {}/{name}: not within {limit:?}: {awaited}\n{}",
                self.name,
                self.situation(kind, name).await
            )),
        }
    }

    /// Waits until an object's condition has this status, judged of its latest generation, and
    /// returns the object.
    pub async fn condition(
        &self,
        kind: Kind,
        name: &str,
        condition: &str,
        status: &str,
        limit: Duration,
    ) -> anyhow::Result<Value> {
        let awaited = format!("condition {condition}={status}");
        let found = self
            .watch(kind, name, &awaited, limit, |object| {
                object.is_some_and(|object| has_condition(object, condition, status))
            })
            .await?;
        found.with_context(|| format!("{kind:?} {name} is gone"))
    }

    /// Waits until an object is gone.
    pub async fn gone(&self, kind: Kind, name: &str, limit: Duration) -> anyhow::Result<()> {
        self.watch(kind, name, "it is gone", limit, |object| object.is_none())
            .await?;
        Ok(())
    }

    /// Everything that explains why a wait failed.
    pub async fn situation(&self, kind: Kind, name: &str) -> String {
        let mut said = String::new();
        let reference = kind.reference(name);
        for arguments in [
            &["get", reference.as_str(), "--output=yaml"][..],
            &["get", "pods,pvc,services", "--output=wide"],
            &["get", "events", "--sort-by=.metadata.creationTimestamp"],
            &[
                "logs",
                "--selector=mailrelay.dev/relay",
                "--tail=30",
                "--prefix",
            ],
        ] {
            if let Ok(finished) = self.kubectl().args(arguments).finish().await {
                said.push_str(&finished.said());
                said.push('\n');
            }
        }
        said + &self.cluster.operator_log().await
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.client.clone(), &self.name, &kind.resource())
    }
}

/// The status of an object's condition, when it was judged of the object's latest generation.
pub fn has_condition(object: &Value, kind: &str, status: &str) -> bool {
    condition(object, kind).is_some_and(|condition| {
        condition["status"] == status
            && condition
                .get("observedGeneration")
                .is_none_or(|observed| observed == &object["metadata"]["generation"])
    })
}

/// An object's condition of this type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// A text of an object, by JSON pointer.
pub fn text(object: &Value, pointer: &str) -> anyhow::Result<String> {
    match object.pointer(pointer).and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => bail!("no text at {pointer} of {object:#}"),
    }
}

fn to_json(object: DynamicObject) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(object)?)
}

/// A closure as kube's condition, so that it may borrow.
struct Judged<Holds>(Holds);

impl<Holds: Fn(Option<&DynamicObject>) -> bool> Condition<DynamicObject> for Judged<Holds> {
    fn matches_object(&self, object: Option<&DynamicObject>) -> bool {
        (self.0)(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_of_an_earlier_generation_does_not_count() {
        let object = |observed: u64| {
            json!({
                "metadata": {"generation": 2},
                "status": {"conditions": [
                    {"type": "Ready", "status": "True", "observedGeneration": observed},
                ]},
            })
        };
        assert!(has_condition(&object(2), "Ready", "True"));
        assert!(!has_condition(&object(1), "Ready", "True"));
        assert!(!has_condition(&object(2), "Ready", "False"));
        assert!(!has_condition(&object(2), "Accepted", "True"));
    }
}
