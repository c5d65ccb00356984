//! Names that users and other programs meet: group, labels, annotations, finalizer, and what the
//! objects that a relay is made of are called.

/// API group of all kinds.
pub const GROUP: &str = "mailrelay.dev";

/// Field manager of server-side apply.
pub const FIELD_MANAGER: &str = "mailrelay-operator";

/// Finalizer of SmtpRelays. The other kinds have nothing outside their namespace.
pub const FINALIZER: &str = "mailrelay.dev/finalizer";

/// Label with the relay's name on everything that belongs to a relay.
pub const RELAY_LABEL: &str = "mailrelay.dev/relay";

/// Label with the shard's number on its Deployment, pod and claim.
pub const SHARD_LABEL: &str = "mailrelay.dev/shard";

/// Label that makes a pod part of the Service: `"true"`. A draining shard has `"false"`.
pub const ACCEPTING_LABEL: &str = "mailrelay.dev/accepting";

/// Annotation that the operator touches on a pod to make the kubelet refresh its files at once.
pub const REFRESH_ANNOTATION: &str = "mailrelay.dev/refresh";

/// Annotation of a pod that leaves: since when it is out of the Service, in seconds since 1970.
pub const DRAINING_SINCE_ANNOTATION: &str = "mailrelay.dev/draining-since";

/// Annotation of a claim whose shard reported an empty queue and goes: `"true"`.
pub const DRAINED_ANNOTATION: &str = "mailrelay.dev/drained";

/// Annotation of a SendingDomain that asks for new DKIM keys, once for each value.
pub const ROTATE_NOW_ANNOTATION: &str = "mailrelay.dev/rotate-now";

/// Annotation with a digest of what the operator last applied to an object.
pub const APPLIED_ANNOTATION: &str = "mailrelay.dev/applied";

/// Annotation of a claim or Secret that may be deleted by a user, with value `true`.
pub const ALLOW_DELETION_ANNOTATION: &str = "mailrelay.dev/allow-deletion";

/// Annotation of an SmtpRelay with the namespace of the operator that has it in hand.
pub const OPERATOR_ANNOTATION: &str = "mailrelay.dev/operator";

/// Annotation of the operator's Lease with the namespaces that its holder watches, separated by commas; `*`, or
/// none, for all.
pub const WATCHED_ANNOTATION: &str = "mailrelay.dev/watch-namespaces";

/// Port of `/healthz`, `/readyz` and `/metrics` in relay pods.
pub const HEALTH_PORT: i32 = 8080;

/// Port of the way into relay pods for the operator and for the relay's other pods.
pub const ADMIN_PORT: i32 = 8443;

/// Directory of the relay's configuration in its pods.
pub const CONFIG_DIRECTORY: &str = "/etc/mailrelay";

/// Directory of the relay's state in its pods; the queue lies in `queue` below it.
pub const STATE_DIRECTORY: &str = "/var/lib/mailrelay";

/// Deployment of shard `index`, and the host name of its pod.
pub fn shard(relay: &str, index: i32) -> String {
    format!("{relay}-{index}")
}

/// Headless Service by which shards find each other.
pub fn shards_service(relay: &str) -> String {
    format!("{relay}-shards")
}

/// Name of shard `index` in cluster DNS, without the cluster's own domain, which need not be
/// `cluster.local` and which the search list of pods adds.
pub fn shard_host(relay: &str, namespace: &str, index: i32) -> String {
    format!(
        "{}.{}.{namespace}.svc",
        shard(relay, index),
        shards_service(relay)
    )
}

/// Claim of shard `index`.
pub fn claim(relay: &str, index: i32) -> String {
    format!("{relay}-queue-{index}")
}

/// Secret with the main configuration file.
pub fn config_secret(relay: &str) -> String {
    format!("{relay}-config")
}

/// Secret with bucket `index` of domains and credentials.
pub fn bucket_secret(relay: &str, index: usize) -> String {
    format!("{relay}-bucket-{index:02}")
}

/// Entry of a bucket Secret.
pub const BUCKET_ENTRY: &str = "bucket.json";

/// Secret with the listeners' certificate that the operator issues.
pub fn tls_secret(relay: &str) -> String {
    format!("{relay}-tls")
}

/// Certificate of cert-manager for the listeners, and the Secret that it is written to.
pub fn issued_secret(relay: &str) -> String {
    format!("{relay}-tls-issued")
}

/// Secret with the relay's own authority; never mounted into a pod.
pub fn authority_secret(relay: &str) -> String {
    format!("{relay}-authority")
}

/// Secret with the certificate of the relay pods' admin port.
pub fn internal_secret(relay: &str) -> String {
    format!("{relay}-internal")
}

/// ConfigMap with the authority that clients of the relay trust, entry `ca.crt`.
pub fn ca_config_map(relay: &str) -> String {
    format!("{relay}-ca")
}

/// Name in the certificate of the relay pods' admin port.
pub fn internal_server_name(relay: &str) -> String {
    format!("{relay}.mailrelay.internal")
}

/// Secret with a SendingDomain's DKIM keys, in the domain's namespace.
pub fn dkim_secret(domain: &str) -> String {
    format!("{domain}-dkim")
}
