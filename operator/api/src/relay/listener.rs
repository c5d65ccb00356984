//! Where clients connect.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A port on which clients submit mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.role) || self.role != 'Bounces' || (has(self.authentication) && self.authentication == 'None')")
        .message("role: Bounces needs authentication: None, since other servers bring reports without a login")
        .field_path(".authentication"),
    validation = Rule::new("(has(self.proxyProtocol) && self.proxyProtocol) == (has(self.proxies) && size(self.proxies) > 0)")
        .message("proxyProtocol: true and the networks in proxies need each other; give both or neither")
        .field_path(".proxies")
)]
pub struct Listener {
    /// Name of the port in the Service, in logs and in metrics; unique in the relay. Lower-case
    /// letters, digits and hyphens, at most 15, at least one letter.
    #[schemars(length(min = 1, max = 15))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
            .message("must start with a lower-case letter and hold only a-z, 0-9 and hyphens, such as submission"),
        validation = Rule::new("self != 'health' && self != 'admin'")
            .message("health and admin are names of the relay pods' own ports; choose another name")
    )]
    pub name: String,

    /// TCP port of the Service, 1 to 65535. The pods listen at the same port, or 10000 above it
    /// for ports below 1024, so that they need no privilege. 8080 and 8443 are the pods' own
    /// (health and administration).
    #[schemars(range(min = 1, max = 65535))]
    #[x_kube(
        validation = Rule::new("self != 8080 && self != 8443")
            .message("8080 and 8443 are used by the relay pods themselves; choose another port")
    )]
    pub port: i32,

    /// Port of every node, with `service.type: NodePort` or `LoadBalancer`. Default: one that Kubernetes
    /// chooses; it takes those of its own range only, most often 30000 to 32767.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,

    /// What may come in. `Submission`: mail of clients, for everywhere (default). `Bounces`: delivery
    /// reports and complaints from anywhere, for the bounce domains of SendingDomains
    /// (`spec.bounces.domain`), and nothing else; needs `authentication: None`. Mail servers find it
    /// by MX at port 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ListenerRole>,

    /// How the connection is encrypted. `StartTls`: clear text that the client upgrades with
    /// STARTTLS before it authenticates (default; usual on 25 and 587). `Implicit`: TLS from the
    /// first octet (usual on 465). `None`: clear text only; AUTH is then not offered, since a
    /// password could be read on the way.
    #[serde(default = "start_tls")]
    pub tls: ListenerTls,

    /// Whether clients must authenticate. `Required`: a user name and password of an
    /// SmtpCredential before any mail (default). `Optional`: AUTH is offered; clients that do not
    /// use it may send only from `spec.clients.cidrs`. `None`: AUTH is not offered, and only
    /// clients in `spec.clients.cidrs`, which must not be empty then, may send.
    #[serde(default)]
    pub authentication: Authentication,

    /// Forgive what is harmless in MAIL and RCPT: white space around the address and missing angle
    /// brackets, as appliances and old libraries write them. Default true. Bare CR or LF is
    /// refused either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lenient: Option<bool>,

    /// Every connection begins with a header of the PROXY protocol, version 1 or 2, in which a load
    /// balancer says where the client really is; before TLS, if any. Default false. Needs
    /// `proxies`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,

    /// With `proxyProtocol`: networks of the load balancers in CIDR notation. Nobody else may
    /// connect to the port, since a header is only as true as who writes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 43)))]
    #[x_kube(
        validation = Rule::new("self.all(network, isCIDR(network))")
            .message("each entry must be a network in CIDR notation, such as 10.0.0.0/8")
    )]
    pub proxies: Vec<String>,
}

fn start_tls() -> ListenerTls {
    ListenerTls::StartTls
}

/// What may come in on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::common::undescribed)]
pub enum ListenerRole {
    /// Mail of clients.
    #[default]
    Submission,
    /// Reports for bounce domains.
    Bounces,
}

/// Encryption of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ListenerTls {
    /// Clear text only.
    None,
    /// Clear text upgraded by STARTTLS (RFC 3207).
    StartTls,
    /// TLS from the first octet (RFC 8314 section 3.3).
    Implicit,
}

/// Whether a listener wants AUTH before MAIL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Authentication {
    /// No mail without it.
    #[default]
    Required,
    /// Offered; unauthenticated clients need an address in `spec.clients.cidrs`.
    Optional,
    /// Not offered; clients need an address in `spec.clients.cidrs`.
    None,
}

/// What a relay listens on when its spec names no listeners.
pub fn default_listeners() -> Vec<Listener> {
    [
        ("smtp", 25, ListenerTls::StartTls),
        ("submissions", 465, ListenerTls::Implicit),
        ("submission", 587, ListenerTls::StartTls),
        ("smtp-2525", 2525, ListenerTls::StartTls),
        ("smtp-8025", 8025, ListenerTls::StartTls),
    ]
    .map(|(name, port, tls)| Listener {
        name: name.to_owned(),
        port,
        node_port: None,
        role: None,
        tls,
        authentication: Authentication::Required,
        lenient: None,
        proxy_protocol: false,
        proxies: Vec::new(),
    })
    .to_vec()
}

impl Listener {
    /// Port inside the pod: above 1024, since the pods have no capability to bind lower ones.
    pub fn container_port(&self) -> i32 {
        if self.port < 1024 {
            self.port + 10_000
        } else {
            self.port
        }
    }
}
