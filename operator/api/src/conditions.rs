//! Condition types and reasons: every one that the operator writes, with its meaning.
//!
//! A reason is the first failing check. The same word is the reason of the Event that tells of the
//! transition.

/// The spec can be used as it stands.
pub const ACCEPTED: &str = "Accepted";
/// A valid certificate is in place.
pub const TLS_READY: &str = "TlsReady";
/// Accepted mail survives the loss of a pod.
pub const QUEUE_DURABLE: &str = "QueueDurable";
/// Every queue has the size that the spec asks for, and room for more mail.
pub const QUEUE_HEALTHY: &str = "QueueHealthy";
/// The network lets mail out, and smarthosts are given the access tokens that they want.
pub const EGRESS_HEALTHY: &str = "EgressHealthy";
/// The keys of all issuers of tokens that the spec names are known.
pub const ISSUERS_READY: &str = "IssuersReady";
/// Every shard of the relay runs the configuration of this generation.
pub const PROGRAMMED: &str = "Programmed";
/// The object does what it was asked for.
pub const READY: &str = "Ready";
/// DKIM keys exist.
pub const KEYS_READY: &str = "KeysReady";
/// The records to publish were seen in DNS.
pub const DNS_VERIFIED: &str = "DnsVerified";
/// The Secret of a credential is written.
pub const SECRET_READY: &str = "SecretReady";

/// Reasons, by the condition that carries them. Those of a true condition come first.
pub mod reason {
    /// `Accepted` is true: nothing is wrong with the spec.
    pub const ACCEPTED: &str = "Accepted";
    /// `Accepted` is true, but a listener takes mail without authentication; the message names it and
    /// the networks.
    pub const OPEN_ACCESS: &str = "OpenAccess";
    /// `Accepted` is true, but an entry of `delivery.tlsOverrides` has expired and has no effect; the
    /// message names it.
    pub const OVERRIDE_EXPIRED: &str = "OverrideExpired";
    /// `Accepted` is true, but no TLS reports are sent, since no SendingDomain of the relay can sign them;
    /// the message names the address of `delivery.reports.tls.from`.
    pub const REPORTS_UNSIGNED: &str = "ReportsUnsigned";
    /// `Accepted` is false: a field has a value that cannot be used; the message names it.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// `Accepted` is false: an object of the same name exists and belongs to somebody else.
    pub const NAME_CONFLICT: &str = "NameConflict";
    /// `Accepted`, or `KeysReady` of a SendingDomain, is false: a Secret that the spec names is missing or lacks an
    /// entry.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// `Accepted` is false: there is no SmtpRelay of that name.
    pub const RELAY_NOT_FOUND: &str = "RelayNotFound";
    /// `Accepted` is false: the relay does not allow this namespace.
    pub const NOT_ALLOWED_BY_RELAY: &str = "NotAllowedByRelay";
    /// `Accepted` is false: an older object has the same domain or user name in this relay.
    pub const CONFLICT: &str = "Conflict";
    /// `Accepted` is false: the relay itself cannot be used; see its conditions.
    pub const RELAY_NOT_ACCEPTED: &str = "RelayNotAccepted";

    /// `TlsReady` is true: the certificate is valid.
    pub const CERTIFICATE_VALID: &str = "CertificateValid";
    /// `TlsReady` is true: no listener uses TLS.
    pub const TLS_NOT_USED: &str = "TlsNotUsed";
    /// `TlsReady` is false: the Secret is missing.
    pub const CERTIFICATE_MISSING: &str = "CertificateMissing";
    /// `TlsReady` is false: the Secret does not hold a certificate and its key.
    pub const CERTIFICATE_INVALID: &str = "CertificateInvalid";
    /// `TlsReady` is false: there is no cert-manager, or the operator may not use it.
    pub const CERT_MANAGER_UNAVAILABLE: &str = "CertManagerUnavailable";
    /// `TlsReady` is false: cert-manager has not issued the certificate.
    pub const CERTIFICATE_PENDING: &str = "CertificatePending";
    /// `TlsReady` is false: the certificate has expired.
    pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";

    /// `QueueDurable` is true: the queue lies on claims.
    pub const PERSISTENT_STORAGE: &str = "PersistentStorage";
    /// `QueueDurable` is false: the queue lies on the pods' own disks.
    pub const EPHEMERAL_STORAGE: &str = "EphemeralStorage";
    /// `QueueDurable` is false: a claim is not bound to a volume.
    pub const CLAIM_PENDING: &str = "ClaimPending";

    /// `QueueHealthy` is false: a shard answers 452, since its volume is full or too many messages wait.
    pub const QUEUE_FULL: &str = "QueueFull";
    /// `QueueHealthy` is false: a claim cannot be changed as the spec asks.
    pub const CLAIM_REFUSED: &str = "ClaimRefused";
    /// `QueueHealthy` is false: a claim is growing; the message has what the volume waits for.
    pub const CLAIM_RESIZING: &str = "ClaimResizing";

    /// `EgressHealthy` and `QueueHealthy` are true: nothing is known to be in the way.
    pub const HEALTHY: &str = "Healthy";
    /// `EgressHealthy` is false: no MX host answers a shard, although others do.
    pub const PORT_BLOCKED: &str = "PortBlocked";
    /// `EgressHealthy` is false: a smarthost refuses the login.
    pub const LOGIN_REFUSED: &str = "LoginRefused";
    /// `EgressHealthy` is false: a smarthost's token endpoint gives no access token.
    pub const TOKEN_UNAVAILABLE: &str = "TokenUnavailable";

    /// `IssuersReady` is true: the keys are known.
    pub const KEYS_KNOWN: &str = "KeysKnown";
    /// `IssuersReady` is true: no tokens are accepted.
    pub const TOKENS_NOT_USED: &str = "TokensNotUsed";
    /// `IssuersReady` is false: the keys of an issuer cannot be had; those that were known stay in
    /// force.
    pub const ISSUER_UNAVAILABLE: &str = "IssuerUnavailable";

    /// `Accepted` is false: the relay has no room for the object.
    pub const RELAY_FULL: &str = "RelayFull";

    /// `Programmed` is true: every shard runs it.
    pub const PROGRAMMED: &str = "Programmed";
    /// `Programmed` is false: a shard does not run the newest configuration yet.
    pub const PENDING: &str = "Pending";
    /// `Programmed` is false: a shard refused the newest configuration.
    pub const CONFIGURATION_REFUSED: &str = "ConfigurationRefused";
    /// `Programmed` is false: the API server does not take a shard's Deployment, most often because of
    /// `spec.podTemplate`; shards that run stay as they are.
    pub const SHARD_REFUSED: &str = "ShardRefused";
    /// `Programmed` is false: the API server does not take the Service as `spec.service` and
    /// `spec.listeners` ask; the Service stays as it is.
    pub const SERVICE_REFUSED: &str = "ServiceRefused";
    /// `Programmed` is false, or `QueueHealthy` unknown: the operator cannot reach a shard's admin port.
    pub const SHARD_UNREACHABLE: &str = "ShardUnreachable";
    /// `Programmed` is false: something that comes first is not ready.
    pub const NOT_ACCEPTED: &str = "NotAccepted";

    /// `Ready` is true.
    pub const READY: &str = "Ready";
    /// `Ready` is false: shards are starting or being replaced.
    pub const PROGRESSING: &str = "Progressing";
    /// `Ready` is false: a shard's pod cannot run; the message has what Kubernetes says: not scheduled, an
    /// image that cannot be pulled, a crash, a pod that is not admitted.
    pub const POD_FAILING: &str = "PodFailing";
    /// `Ready` is false: `spec.replicas` is 0, but mail waits, so the shards go on as they are; the
    /// message says how much waits and what to set.
    pub const MAIL_WAITS: &str = "MailWaits";
    /// `Ready` is false: `spec.replicas` is 0.
    pub const SCALED_TO_ZERO: &str = "ScaledToZero";
    /// `Ready` is false: the object is being deleted or has `spec.replicas: 0`; shards deliver what they
    /// hold.
    pub const DRAINING: &str = "Draining";

    /// `KeysReady` is true.
    pub const KEYS_READY: &str = "KeysReady";
    /// `KeysReady` is false: keys are being made.
    pub const KEYS_PENDING: &str = "KeysPending";
    /// `KeysReady` is false: the key Secret cannot be read; the message says why.
    pub const KEYS_INVALID: &str = "KeysInvalid";

    /// `DnsVerified` is true, and keys that are to take over lack their records, or wait until these have
    /// spread; the message says which.
    pub const ROTATION_PENDING: &str = "RotationPending";
    /// `DnsVerified` is true: every required record is as it should be; the message tells of others.
    pub const RECORDS_VERIFIED: &str = "RecordsVerified";
    /// `DnsVerified` is false: a record is missing.
    pub const RECORDS_MISSING: &str = "RecordsMissing";
    /// `DnsVerified` is false: a required record does not do what it should; the message says why.
    pub const RECORDS_MISMATCH: &str = "RecordsMismatch";
    /// `DnsVerified` is false: there are several records where there must be one.
    pub const RECORDS_CONFLICT: &str = "RecordsConflict";
    /// `DnsVerified` is unknown: DNS did not answer.
    pub const LOOKUP_FAILED: &str = "LookupFailed";

    /// `SecretReady` is true: the Secret is written.
    pub const SECRET_WRITTEN: &str = "SecretWritten";
    /// `SecretReady` is false: a Secret of that name exists and is not the operator's.
    pub const SECRET_CONFLICT: &str = "SecretConflict";
}
