//! Step two: what can be used, and the first thing that cannot. Pure but for the generation of
//! keys, which only replaces what is missing or due.

use jiff::Timestamp;
use operator_api::ListenerTls;
use operator_api::conditions::reason;

use super::dereference::{Found, data};
use super::{RelayError, issued, template};
use crate::certificates::{
    self, Existing, ProvidedFault, RelayCertificates, SecretData, check_provided, serving_names,
};
use crate::render::{
    CredentialInput, DomainInput, RelayInputs, Rendered, Violation, hostname, render,
};

/// What was found to be usable.
pub(super) struct Judged {
    pub(super) certificates: RelayCertificates,
    pub(super) tls: Tls,
    /// The files, or the first violation of the spec.
    pub(super) rendered: Result<Rendered, Violation>,
}

/// Where the listeners' certificate comes from.
#[derive(Debug)]
pub(super) enum Tls {
    /// No listener uses TLS.
    Unused,
    /// The operator's own.
    Issued {
        /// The leaf's last second.
        not_after: Option<Timestamp>,
    },
    /// The user's.
    Provided {
        /// The Secret.
        secret: String,
        /// The leaf's last second, and the authorities that clients should trust.
        usable: Result<(Timestamp, Option<String>), Violation>,
        /// What its issuer has to say of it, though it can be used.
        notice: Option<String>,
    },
}

impl Tls {
    pub(super) fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Provided {
                usable: Err(violation),
                ..
            } => Some(violation),
            _ => None,
        }
    }

    pub(super) fn not_after(&self) -> Option<Timestamp> {
        match self {
            Self::Unused => None,
            Self::Issued { not_after } => *not_after,
            Self::Provided { usable, .. } => usable.as_ref().ok().map(|(not_after, _)| *not_after),
        }
    }
}

pub(super) fn run(found: &Found, now: Timestamp) -> Result<Judged, RelayError> {
    let (namespace, name) = &found.key;
    let [authority, serving, internal] =
        [&found.authority, &found.serving, &found.internal].map(|secret| secret.as_ref().map(data));
    let existing = Existing {
        authority: authority.as_ref(),
        serving: serving.as_ref(),
        internal: internal.as_ref(),
    };
    let names = serving_names(name, namespace, &hostname(&found.relay));
    let certificates = certificates::ensure(existing, namespace, name, &names, now)?;
    let tls = tls(found, &certificates.serving.data, now);
    let rendered = match tls.violation() {
        Some(violation) => Err(violation.clone()),
        None => template::check(&found.relay).and_then(|()| files(found, &certificates, &tls)),
    };
    Ok(Judged {
        certificates,
        tls,
        rendered,
    })
}

fn tls(found: &Found, issued: &SecretData, now: Timestamp) -> Tls {
    let spec = &found.relay.spec;
    if spec
        .listeners()
        .iter()
        .all(|listener| listener.tls == ListenerTls::None)
    {
        return Tls::Unused;
    }
    let Some(secret) = found.relay.provided_tls_secret() else {
        let not_after = check_provided(issued, now).ok().map(|leaf| leaf.not_after);
        return Tls::Issued { not_after };
    };
    let usable = match found.named.get(&secret) {
        None => Err(Violation::new(
            reason::CERTIFICATE_MISSING,
            format!(
                "spec.tls.secretName: there is no Secret {secret:?} in namespace {:?}; create it, or \
                 remove the field to have a certificate of the operator",
                found.key.0
            ),
        )),
        Some(data) => check_provided(data, now)
            .map(|leaf| (leaf.not_after, leaf.bundle))
            .map_err(|fault| {
                let reason = match fault {
                    ProvidedFault::Expired(_) => reason::CERTIFICATE_EXPIRED,
                    _ => reason::CERTIFICATE_INVALID,
                };
                Violation::new(
                    reason,
                    format!("spec.tls.secretName: Secret {secret:?}: {fault}"),
                )
            }),
    };
    // What cert-manager lacks says more than what its Secret lacks.
    let usable = usable
        .map_err(|violation| issued::missing(&found.relay, &found.issued).unwrap_or(violation));
    let notice = issued::notice(&found.relay, &found.issued);
    Tls::Provided {
        secret,
        usable,
        notice,
    }
}

fn files(
    found: &Found,
    certificates: &RelayCertificates,
    tls: &Tls,
) -> Result<Rendered, Violation> {
    let domains: Vec<_> = found
        .domains
        .iter()
        .map(|(domain, keys)| DomainInput {
            domain,
            keys: keys.as_ref(),
        })
        .collect();
    let credentials: Vec<_> = found
        .credentials
        .iter()
        .map(|(credential, binding)| CredentialInput {
            credential,
            binding: binding.as_ref(),
        })
        .collect();
    let tls = match tls {
        Tls::Unused => None,
        Tls::Issued { .. } => Some(&certificates.serving.data),
        Tls::Provided { secret, .. } => found.named.get(secret),
    };
    let leaving = found
        .shards
        .iter()
        .map(|shard| shard.index)
        .filter(|index| !found.moves.staying.contains(index))
        .collect();
    render(&RelayInputs {
        relay: &found.relay,
        namespaces: &found.namespaces,
        domains: &domains,
        credentials: &credentials,
        secrets: &found.named,
        issuers: &found.issuers.usable,
        tls,
        staying: &found.moves.staying,
        leaving: &leaving,
        internal: &certificates.internal.data,
    })
}
