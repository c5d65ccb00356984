//! Custom resource types of the mail relay operator: the API and its manual.
//!
//! Three kinds in group `mailrelay.dev`, version `v1alpha1`, all namespaced: [`SmtpRelay`],
//! [`SendingDomain`], [`SmtpCredential`]. The comments of the fields are what `kubectl explain`
//! prints. Rules that one object alone can show to be broken are CEL validations here; everything
//! that needs a second object is a condition ([`conditions`]).
//!
//! This crate holds no client and does no I/O.

#![expect(
    unreachable_pub,
    reason = "KubeSchema repeats each struct, with its visibility, inside a function"
)]

mod common;
pub mod conditions;
mod credential;
mod domain;
pub mod names;
mod relay;

pub use common::{
    Duration, LocalSecretReference, NamespaceFrom, NamespaceRule, RelayReference,
    SecretKeyReference,
};
pub use credential::{
    Binding, Rotation, RotationStatus, SmtpCredential, SmtpCredentialSpec, SmtpCredentialStatus,
};
pub use domain::{
    Bounces, Dkim, DkimAlgorithm, DkimRotation, Dmarc, DmarcPolicy, DnsRecord, DnsRecordPurpose,
    DnsRecordRequirement, DnsRecordState, DomainDns, KeyState, KeyStatus, OidcSender, OwnDkimKey,
    OwnDkimKeyReference, Sender, SendingDomain, SendingDomainSpec, SendingDomainStatus,
    Suppression, UnauthorizedFrom, UnauthorizedFromPolicy,
};
pub use relay::{
    AddressLiterals, AddressType, Authentication, Clients, ConfigMapKeyReference, DeletionPolicy,
    Delivery, DeliveryTls, Dns, Dnssec, Domains, Egress, IssuerReference, Limits, Listener,
    ListenerRole, ListenerTls, MtaSts, NetworkPolicySettings, OAuth2, OidcIssuer, OverridePolicy,
    PodTemplate, PodTemplateMetadata, Privacy, Queue, RELAY_CONTAINER, RefusedLogin, RelayAddress,
    RelayAuthentication, RelayTls, Reports, Retry, Route, ScaleToZeroPolicy, ServiceAccountTokens,
    ServiceSettings, ServiceType, ShardPhase, ShardStatus, Smarthost, SmarthostLookup,
    SmarthostTls, SmarthostToken, SmtpRelay, SmtpRelaySpec, SmtpRelayStatus, Storage, TlsOverride,
    TlsReports, TrafficPolicy, default_listeners,
};

/// Re-exported so that users of the types need not guess the version.
pub use k8s_openapi;
