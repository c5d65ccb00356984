//! `SmtpRelay`: a mail relay for the applications of a cluster.

mod authentication;
mod deletion;
mod delivery;
mod listener;
mod pod;
mod privacy;
mod route;
mod smarthost;
mod status;
mod template;
mod tls;
mod transport;

pub use authentication::{
    ConfigMapKeyReference, OidcIssuer, RelayAuthentication, ServiceAccountTokens,
};
pub use deletion::{DeletionPolicy, ScaleToZeroPolicy};
pub use delivery::{AddressLiterals, Delivery, DeliveryTls, Dns, Reports, Retry, TlsReports};
pub use listener::{Authentication, Listener, ListenerRole, ListenerTls, default_listeners};
pub use pod::{
    Limits, NetworkPolicySettings, Queue, ServiceSettings, ServiceType, Storage, TrafficPolicy,
};
pub use privacy::Privacy;
pub use route::Route;
pub use smarthost::{OAuth2, Smarthost, SmarthostLookup, SmarthostTls};
pub use status::{
    AddressType, RefusedLogin, RelayAddress, ShardPhase, ShardStatus, SmarthostToken,
    SmtpRelayStatus,
};
pub use template::{PodTemplate, PodTemplateMetadata, RELAY_CONTAINER};
pub use tls::{IssuerReference, RelayTls};
pub use transport::{Dnssec, MtaSts, OverridePolicy, TlsOverride};

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{Duration, NamespaceRule};

/// A mail relay. `spec: {}` is a working one: it listens on 25, 465, 587, 2525 and 8025, demands
/// TLS and authentication, keeps mail on a claim and delivers to the recipients' MX hosts.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "mailrelay.dev",
    version = "v1alpha1",
    kind = "SmtpRelay",
    plural = "smtprelays",
    singular = "smtprelay",
    shortname = "relay",
    category = "mailrelay",
    namespaced,
    status = "SmtpRelayStatus",
    derive = "PartialEq",
    doc = "A mail relay that applications of the cluster submit mail to. `spec: {}` is a working one.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,43}[a-z0-9])?$')")
        .message("metadata.name becomes the Service's name: it must start with a letter, hold only a-z, 0-9 and hyphens, and have at most 45 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Shards", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Queued", type_ = "integer", json_path = ".status.queuedMessages"),
    printcolumn(name = "Domains", type_ = "integer", json_path = ".status.domains"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.listeners) || !self.listeners.exists(l, l.authentication == 'None' && (!has(l.role) || l.role != 'Bounces')) || (has(self.clients) && has(self.clients.cidrs) && self.clients.cidrs.size() > 0)")
        .message("a listener with authentication: None lets anybody send; name the client networks in clients.cidrs, or set authentication: Required")
        .field_path(".listeners"),
    validation = Rule::new("!has(self.listeners) || !self.listeners.exists(l, has(l.nodePort)) || (has(self.service) && has(self.service.type) && self.service.type != 'ClusterIP')")
        .message("nodePort has a meaning with service.type: NodePort or LoadBalancer only; set one of them, or remove the field")
        .field_path(".listeners"),
    validation = Rule::new("(has(self.queue) && has(self.queue.storage) ? self.queue.storage : 'Persistent') == (has(oldSelf.queue) && has(oldSelf.queue.storage) ? oldSelf.queue.storage : 'Persistent')")
        .message("queue.storage cannot be changed, since the mail that waits there would be lost; make a second SmtpRelay and move the clients"),
    validation = Rule::new("quantity(has(self.queue) && has(self.queue.size) ? string(self.queue.size) : '1Gi').compareTo(quantity(has(oldSelf.queue) && has(oldSelf.queue.size) ? string(oldSelf.queue.size) : '1Gi')) >= 0")
        .message("queue.size cannot shrink, since a claim cannot; give the old size or more"),
)]
pub struct SmtpRelaySpec {
    /// Number of shards: pods with a queue each, behind one Service. Default 1, at most 64. A shard
    /// that is no longer wanted leaves the Service, hands its mail to those that stay, and only then goes.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 64))]
    pub replicas: i32,

    /// What `replicas: 0` does while mail waits. `Refuse`: the relay goes on as it is, in its Service, and
    /// condition `Ready` says how much waits; it goes as soon as nothing does (default). `Wait`: shards
    /// leave the Service, deliver what they hold and go. `Discard`: shards go at once, and what waits is
    /// thrown away. With nothing queued all three are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_to_zero_policy: Option<ScaleToZeroPolicy>,

    /// What becomes of waiting mail when this object is deleted. `Drain`: shards leave the Service and
    /// deliver for up to `drainTimeout`; what is left then is retained (default). `Retain`: shards stop,
    /// and their claims stay for an SmtpRelay made anew under this name. `Discard`: everything goes at
    /// once, mail included. May be changed while the deletion is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// How long shards of a deleted relay may deliver with `deletionPolicy: Drain`, such as `1h`. Default
    /// `10m`, at most `720h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24), regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) <= duration('720h')")
            .message("must be at most 720h (30 days), such as 1h")
    )]
    pub drain_timeout: Option<Duration>,

    /// Name by which the relay greets clients and servers (RFC 5321 section 2.3.5). Default
    /// `<name>.<namespace>.svc`. For mail to the internet give the name that the egress address
    /// resolves back to, or many receivers will refuse it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?[.])+[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?$')")
            .message("must be a full host name without a trailing dot, such as mail.example.com; IDNs as A-labels (xn--)")
    )]
    pub hostname: Option<String>,

    /// Ports on which clients submit mail. Default: `smtp` 25, `submission` 587, `smtp-2525` and
    /// `smtp-8025` with STARTTLS, `submissions` 465 with TLS from the first octet; all with
    /// authentication required. A list given here replaces the whole default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(a, self.exists_one(b, b.name == a.name))")
            .message("each listener needs a name of its own"),
        validation = Rule::new("self.all(a, self.exists_one(b, (b.port < 1024 ? b.port + 10000 : b.port) == (a.port < 1024 ? a.port + 10000 : a.port)))")
            .message("each listener needs a port of its own; a port below 1024 also takes the one 10000 above it"),
        validation = Rule::new("self.all(a, !has(a.nodePort) || self.exists_one(b, has(b.nodePort) && b.nodePort == a.nodePort))")
            .message("each listener needs a nodePort of its own"),
    )]
    pub listeners: Option<Vec<Listener>>,

    /// Certificate of the listeners. Default: the operator makes an authority for this relay and
    /// renews a certificate from it; the authority is in ConfigMap `<name>-ca`, entry `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RelayTls>,

    /// Who may connect, and whose SmtpCredentials are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,

    /// Whom the relay believes besides SmtpCredentials: tokens of ServiceAccounts and of other
    /// issuers. Default: ServiceAccounts of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<RelayAuthentication>,

    /// Whose SendingDomains are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<Domains>,

    /// How accepted messages leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,

    /// From where the relay's mail leaves, as others see it. Needed to check the SPF records of
    /// SendingDomains; default: these are not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,

    /// Name servers of the relay pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,

    /// The durable queue of each shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,

    /// Bounds on what one client may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,

    /// What recipients learn of the clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,

    /// What the relay pods look like: a pod template that is merged over the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,

    /// The NetworkPolicy of the relay pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicySettings>,

    /// The Service that applications connect to; it has the relay's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceSettings>,
}

fn one() -> i32 {
    1
}

impl Default for SmtpRelaySpec {
    fn default() -> Self {
        Self {
            replicas: one(),
            scale_to_zero_policy: None,
            deletion_policy: None,
            drain_timeout: None,
            hostname: None,
            listeners: None,
            tls: None,
            clients: None,
            authentication: None,
            domains: None,
            delivery: None,
            egress: None,
            dns: None,
            queue: None,
            limits: None,
            privacy: None,
            pod_template: None,
            network_policy: None,
            service: None,
        }
    }
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Clients {
    /// Namespaces whose pods may connect and whose SmtpCredentials are accepted. Default: the
    /// relay's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespaceRule>,

    /// Networks in CIDR notation that may connect besides those pods, such as `192.0.2.0/24`.
    /// Clients there may send without authentication on listeners where it is `Optional` or
    /// `None`. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 43)))]
    #[x_kube(
        validation = Rule::new("self.all(network, isCIDR(network))")
            .message("each entry must be a network in CIDR notation, such as 192.0.2.0/24")
    )]
    pub cidrs: Vec<String>,
}

/// From where a relay's mail leaves, as others see it: a cluster cannot know by what addresses it is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.addresses) && self.addresses.size() > 0) || (has(self.spfIncludes) && self.spfIncludes.size() > 0)")
        .message("give addresses, spfIncludes or both, or remove egress")
)]
pub struct Egress {
    /// Addresses that other mail servers see, IPv4 or IPv6, such as `192.0.2.25`: of a NAT gateway, of nodes,
    /// or of hosts that pods share the network of. All of them: each has to pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 45)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(address, isIP(address))")
            .message("each entry must be an IPv4 or IPv6 address, such as 192.0.2.25")
    )]
    pub addresses: Vec<String>,

    /// Domains whose SPF record lists the addresses of smarthosts that the relay sends through, such as
    /// `amazonses.com`, as the provider says. SendingDomains have to include each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 253)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(name, name.matches('^([a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9])?[.])+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$'))")
            .message("each entry must be a lower-case domain name without a trailing dot, such as amazonses.com")
    )]
    pub spf_includes: Vec<String>,
}

/// Whose SendingDomains are accepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Domains {
    /// Namespaces whose SendingDomains may name this relay. Default: the relay's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespaceRule>,
}

impl SmtpRelaySpec {
    /// The listeners, or the default ones.
    pub fn listeners(&self) -> Vec<Listener> {
        self.listeners.clone().unwrap_or_else(default_listeners)
    }

    /// Who may connect; the relay's own namespace by default.
    pub fn client_namespaces(&self) -> NamespaceRule {
        self.clients
            .as_ref()
            .and_then(|clients| clients.namespaces.clone())
            .unwrap_or_default()
    }

    /// Networks that may connect besides pods.
    pub fn client_cidrs(&self) -> &[String] {
        self.clients
            .as_ref()
            .map_or(&[], |clients| clients.cidrs.as_slice())
    }

    /// Whose domains are accepted; those of the relay's own namespace by default.
    pub fn domain_namespaces(&self) -> NamespaceRule {
        self.domains
            .as_ref()
            .and_then(|domains| domains.namespaces.clone())
            .unwrap_or_default()
    }

    /// Storage class that the claims are to have, if the spec names one.
    pub fn storage_class(&self) -> Option<&str> {
        self.queue.as_ref()?.storage_class_name.as_deref()
    }

    /// Where the queue lies.
    pub fn storage(&self) -> Storage {
        self.queue
            .as_ref()
            .and_then(|queue| queue.storage)
            .unwrap_or_default()
    }
}
