//! A configuration that was read, validated and made usable: keys parsed, TLS contexts built.
//!
//! Built off to the side and swapped in whole, so that a bad file never harms a running relay.

use std::collections::HashMap;
use std::sync::Arc;

use relay_config::{Config, ConfigHash, ScramVerifier};

use crate::dkim::Signer;

/// One generation of configuration.
pub(crate) struct Snapshot {
    /// As read.
    pub(crate) config: Config,
    /// What `GET /v1/status` reports.
    pub(crate) hash: ConfigHash,
    /// Sending domains by lower-case name.
    pub(crate) domains: HashMap<String, Arc<SendingDomain>>,
    /// Credentials by user name.
    pub(crate) credentials: HashMap<String, Arc<Credential>>,
    /// For listeners with TLS; its certificate resolver serves the newest certificate.
    pub(crate) server_tls: Option<Arc<rustls::ServerConfig>>,
    /// Verified TLS per smarthost, parallel to `config.delivery.smarthosts`.
    pub(crate) smarthost_tls: Vec<Arc<rustls::ClientConfig>>,
}

/// A domain that may send.
pub(crate) struct SendingDomain {
    /// Lower-case A-labels.
    pub(crate) name: String,
    /// Identities as in [`relay_config::Domain::senders`].
    pub(crate) senders: Vec<String>,
    /// One per DKIM key, each adding one `DKIM-Signature`.
    pub(crate) signers: Vec<Signer>,
}

/// A user name with parsed verifiers.
pub(crate) struct Credential {
    /// `namespace/name`.
    pub(crate) identity: String,
    /// Any may match.
    pub(crate) verifiers: Vec<ScramVerifier>,
}
