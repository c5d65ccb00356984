//! `SmtpCredential`: an application's user name and password for a relay.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::RelayReference;

/// An application's user name and password for a relay.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "mailrelay.dev",
    version = "v1alpha1",
    kind = "SmtpCredential",
    plural = "smtpcredentials",
    singular = "smtpcredential",
    shortname = "smtpcred",
    category = "mailrelay",
    namespaced,
    status = "SmtpCredentialStatus",
    derive = "PartialEq",
    doc = "An application's user name and password for a relay, written as a Service Binding Secret.",
    printcolumn(name = "Relay", type_ = "string", json_path = ".spec.relayRef.name"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.binding.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SmtpCredentialSpec {
    /// The SmtpRelay that the credential is for. Cannot be changed.
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("relayRef cannot be changed; make a second SmtpCredential for the other relay")
    )]
    pub relay_ref: RelayReference,

    /// User name of AUTH, unique in the relay, up to 128 printable ASCII characters without space.
    /// Default `<namespace>.<name>` of this object. Where two credentials ask for the same name,
    /// the older one has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(
        validation = Rule::new("self.matches('^[!-~]+$')")
            .message("must be printable ASCII without spaces, such as shop.orders")
    )]
    pub username: Option<String>,

    /// Secret that the operator writes in this namespace, with the Service Binding entries `type`,
    /// `provider`, `host`, `port`, `username`, `password`, `uri`, and `ca.crt` where the relay has
    /// a certificate of its own authority. Default `<name>-smtp`. Cannot be changed. Delete the
    /// Secret to get a new password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
            .message("must be a Secret's name: lower-case letters, digits, hyphens and dots"),
        validation = Rule::new("self == oldSelf")
            .message("secretName cannot be changed; make a second SmtpCredential")
    )]
    pub secret_name: Option<String>,

    /// Rotation of the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

/// Rotation of the password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Any text, such as today's date. When it changes, a new password is written into the Secret,
    /// and the one before is accepted for `overlap` longer. Default: none, and deleting the Secret
    /// makes a new password at once and ends the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub trigger: Option<String>,

    /// How long the password before stays valid, such as `30m`. Default 24h. `0s` ends it at once,
    /// with the sessions that use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    pub overlap: Option<crate::Duration>,
}

/// The last rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// `spec.rotation.trigger` that the password in force was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,

    /// Until when the password before is accepted; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_valid_until: Option<Time>,
}

/// Written by the operator, and only when something changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmtpCredentialStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Accepted`: the relay takes the credential. `SecretReady`: the Secret is written.
    /// `Programmed`: every shard of the relay knows it. `Ready`: the application can send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The Secret, as the Service Binding specification wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,

    /// User name in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,

    /// The last rotation of the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,
}

/// Reference to the Secret with the credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Name of the Secret in this namespace.
    pub name: String,
}

impl SmtpCredential {
    /// User name of AUTH: the chosen one, or `<namespace>.<name>`.
    pub fn username(&self) -> String {
        self.spec.username.clone().unwrap_or_else(|| {
            format!(
                "{}.{}",
                self.metadata.namespace.as_deref().unwrap_or_default(),
                self.metadata.name.as_deref().unwrap_or_default()
            )
        })
    }

    /// Name of the Secret: the chosen one, or `<name>-smtp`.
    pub fn secret_name(&self) -> String {
        self.spec.secret_name.clone().unwrap_or_else(|| {
            format!("{}-smtp", self.metadata.name.as_deref().unwrap_or_default())
        })
    }
}
