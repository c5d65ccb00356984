//! What several kinds share.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A duration as text, such as `5m`, `1h30m` or `250ms`.
pub type Duration = String;

/// Takes the description off the schema of an enum of optional fields: in the definition it would take the place of
/// the field's own, which alone has defaults and what each value does.
pub(crate) fn undescribed(schema: &mut schemars::Schema) {
    schema.remove("description");
}

/// Which namespaces are meant; the same three words as in Gateway API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.from == 'Selector') == has(self.selector)")
        .message("selector belongs to from: Selector and only there; set both, or remove selector")
)]
pub struct NamespaceRule {
    /// `Same`: only the namespace of this object (default). `All`: every namespace. `Selector`:
    /// namespaces whose labels match `selector`.
    #[serde(default)]
    pub from: NamespaceFrom,

    /// Labels of the namespaces, with `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// How namespaces are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespaceFrom {
    /// The namespace of the object that carries the rule.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// Namespaces with matching labels.
    Selector,
}

impl NamespaceRule {
    /// Whether `namespace` with `labels` is meant by a rule that stands on an object in `own`.
    pub fn allows(&self, own: &str, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        match self.from {
            NamespaceFrom::Same => namespace == own,
            NamespaceFrom::All => true,
            NamespaceFrom::Selector => self
                .selector
                .as_ref()
                .is_some_and(|selector| selector_matches(selector, labels)),
        }
    }
}

/// Kubernetes' meaning of a label selector: all parts must match, an empty one matches all.
fn selector_matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let expressions = selector.match_expressions.iter().flatten().all(|part| {
        let value = labels.get(&part.key);
        let listed = value.is_some_and(|value| {
            part.values
                .iter()
                .flatten()
                .any(|candidate| candidate == value)
        });
        match part.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            // An operator of a later Kubernetes: matching nothing is the safe side.
            _ => false,
        }
    });
    exact && expressions
}

/// The SmtpRelay that a SendingDomain or SmtpCredential belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayReference {
    /// Name of the SmtpRelay.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// Namespace of the SmtpRelay. Default: the namespace of this object. In another namespace the
    /// relay has to allow it: `spec.domains.namespaces` for a SendingDomain,
    /// `spec.clients.namespaces` for an SmtpCredential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

impl RelayReference {
    /// Namespace of the relay for a reference that stands on an object in `own`.
    pub fn namespace_or<'a>(&'a self, own: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(own)
    }
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalSecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One entry of a Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Entry of the Secret. Default `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn rule(json: serde_json::Value) -> NamespaceRule {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_namespace_rule_allows_what_its_words_say() {
        let shop = labels(&[("team", "shop"), ("tier", "prod")]);
        let selector =
            |inner: serde_json::Value| serde_json::json!({"from": "Selector", "selector": inner});
        let expression = |operator: &str, values: &[&str]| {
            selector(serde_json::json!({"matchExpressions": [
                {"key": "tier", "operator": operator, "values": values}]}))
        };
        let rows = [
            (serde_json::json!({}), "mail", true),
            (serde_json::json!({}), "shop", false),
            (serde_json::json!({"from": "All"}), "shop", true),
            (
                selector(serde_json::json!({"matchLabels": {"team": "shop"}})),
                "shop",
                true,
            ),
            (
                selector(serde_json::json!({"matchLabels": {"team": "bank"}})),
                "shop",
                false,
            ),
            (selector(serde_json::json!({})), "shop", true),
            (expression("In", &["prod", "test"]), "shop", true),
            (expression("NotIn", &["prod"]), "shop", false),
            (expression("Exists", &[]), "shop", true),
            (expression("DoesNotExist", &[]), "shop", false),
            (expression("Sometimes", &["prod"]), "shop", false),
            (serde_json::json!({"from": "Selector"}), "shop", false),
        ];
        for (json, namespace, allowed) in rows {
            assert_eq!(
                rule(json.clone()).allows("mail", namespace, &shop),
                allowed,
                "{json} {namespace}"
            );
        }
    }
}
