//! A configuration that was read, validated and made usable: keys parsed, TLS contexts built.
//!
//! Built off to the side and swapped in whole, so that a bad file never harms a running relay.
//! What did not change is taken over from the snapshot before: parsing the keys of ten thousand
//! domains because one of them changed would take seconds, and a new TLS context would end
//! session resumption.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use relay_config::{
    CertificateFiles, Config, ConfigError, ConfigFiles, ConfigHash, Domain, Grant, KeySet,
    ScramVerifier, SmarthostId, Suppression,
};
use relay_smtp::Address;
use rustls::sign::CertifiedKey;
use serde::Serialize;

use crate::authentication::{Decoy, Issuer, Issuers};
use crate::delivery::{Routes, Web, check_anchors};
use crate::dkim::{KeyError, Signer};
use crate::returns::{KeyFault, ReturnPaths};
use crate::tls::{self, PemFile, TlsError};

/// One generation of configuration.
pub(crate) struct Snapshot {
    /// As read, but for `domains` and `credentials`, which are moved into the maps below so that
    /// no private key stays in memory as text.
    pub(crate) config: Config,
    /// What `GET /v1/status` reports.
    pub(crate) hash: ConfigHash,
    /// Sending domains by lower-case name.
    pub(crate) domains: HashMap<String, Arc<SendingDomain>>,
    /// Sending domains by the domain that takes their reports.
    pub(crate) bounce_domains: HashMap<String, Arc<SendingDomain>>,
    /// Credentials by user name.
    pub(crate) credentials: HashMap<String, Arc<Credential>>,
    /// Issuers of tokens, with their keys.
    pub(crate) issuers: Issuers,
    /// For users who do not exist.
    pub(crate) decoy: Decoy,
    /// For listeners with TLS.
    pub(crate) server_tls: Option<Arc<rustls::ServerConfig>>,
    /// The certificate in `server_tls`.
    pub(crate) certificate: Option<Arc<CertifiedKey>>,
    /// Hash of it, for channel binding.
    pub(crate) end_point: Option<Vec<u8>>,
    /// For the admin port.
    pub(crate) admin_tls: Option<Arc<rustls::ServerConfig>>,
    /// Towards the admin ports of the other shards.
    pub(crate) sibling_tls: Option<Arc<rustls::ClientConfig>>,
    /// Which way mail goes.
    pub(crate) routes: Routes,
    /// Verified TLS per smarthost.
    pub(crate) smarthost_tls: HashMap<SmarthostId, SmarthostTls>,
    /// TLS towards MX hosts and hosts of MTA-STS policies, if not the built-in roots are trusted.
    pub(crate) web: Option<Arc<Web>>,
    /// What each of `domains` was made of.
    fingerprints: HashMap<String, Fingerprint>,
}

/// Verified TLS towards a smarthost.
pub(crate) struct SmarthostTls {
    pub(crate) server: Arc<rustls::ClientConfig>,
    /// Towards the endpoint that its access tokens come from.
    pub(crate) tokens: Option<Arc<rustls::ClientConfig>>,
}

/// A domain that may send.
pub(crate) struct SendingDomain {
    /// Lower-case A-labels.
    pub(crate) name: String,
    /// Who may use it.
    pub(crate) senders: Vec<Grant>,
    /// What takes the place of a `From` that its sender may not use.
    pub(crate) rewrite_from: Option<Address>,
    /// How long recipients are suppressed.
    pub(crate) suppression: Suppression,
    /// Its return paths, if it has a bounce address.
    pub(crate) returns: Option<ReturnPaths>,
    /// One per DKIM key, each adding one `DKIM-Signature`.
    pub(crate) signers: Vec<Signer>,
}

#[cfg(test)]
impl SendingDomain {
    /// Without keys.
    pub(crate) fn for_test(name: &str, senders: &[&str]) -> Self {
        Self {
            name: name.into(),
            senders: senders.iter().copied().map(Grant::from).collect(),
            rewrite_from: None,
            suppression: Suppression::default(),
            returns: None,
            signers: Vec::new(),
        }
    }
}

/// A user name with parsed verifiers.
pub(crate) struct Credential {
    /// `credential:namespace/name`.
    pub(crate) identity: String,
    /// Any may match.
    pub(crate) verifiers: Vec<ScramVerifier>,
}

type Fingerprint = [u8; 32];

/// Why files that are a configuration by their form cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0}")]
    TrustAnchors(String),
    #[error("domains[{domain}].bounces.keys: {source}")]
    ReturnKey { domain: String, source: KeyFault },
    #[error("authentication.issuers[{issuer}].jwksFile: {source}")]
    KeySet {
        issuer: String,
        source: relay_config::KeySetError,
    },
    #[error("credentials[{username}].verifiers: {source}")]
    Verifier {
        username: String,
        source: relay_config::VerifierError,
    },
}

impl Snapshot {
    /// Reads `path` and all it names, and makes a snapshot of it.
    pub(crate) fn load(path: &Path, previous: Option<&Self>) -> Result<Self, SnapshotError> {
        Self::build(relay_config::read(path)?, previous)
    }

    /// Makes a snapshot of `files`, taking over what `previous` has.
    pub(crate) fn build(
        files: ConfigFiles,
        previous: Option<&Self>,
    ) -> Result<Self, SnapshotError> {
        let ConfigFiles {
            mut config,
            pem,
            hash,
        } = files;
        let pem = Pem(pem);
        let certificate = match &config.tls {
            Some(files) => Some(Arc::new(pem.certified_key("tls", files)?)),
            None => None,
        };
        let same = previous
            .and_then(|previous| {
                previous
                    .certificate
                    .as_ref()
                    .zip(previous.server_tls.as_ref())
            })
            .filter(|(old, _)| certificate.as_ref().is_some_and(|new| new.cert == old.cert));
        let (certificate, server_tls) = match (same, certificate) {
            (Some((old, config)), _) => (Some(old.clone()), Some(config.clone())),
            (None, Some(new)) => (Some(new.clone()), Some(tls::server(new)?)),
            (None, None) => (None, None),
        };
        let admin_tls = admin_tls(&config, &pem)?;
        let sibling_tls = sibling_tls(&config, &pem)?;
        let smarthost_tls = smarthost_tls(&config, &pem)?;
        let web = web(&config, &pem)?;
        check_anchors(&config.dns.trust_anchors).map_err(SnapshotError::TrustAnchors)?;
        let mut domains = HashMap::with_capacity(config.domains.len());
        let mut fingerprints = HashMap::with_capacity(config.domains.len());
        for domain in std::mem::take(&mut config.domains) {
            let name = domain.name.clone();
            let fingerprint = fingerprint(&domain);
            let same = previous
                .filter(|previous| previous.fingerprints.get(&name) == fingerprint.as_ref())
                .and_then(|previous| previous.domains.get(&name));
            let sending = match same {
                Some(same) if fingerprint.is_some() => Arc::clone(same),
                _ => Arc::new(sending_domain(domain)?),
            };
            fingerprints.extend(fingerprint.map(|fingerprint| (name.clone(), fingerprint)));
            domains.insert(name, sending);
        }
        let bounce_domains = domains
            .values()
            .filter_map(|domain| {
                let taken = domain.returns.as_ref()?.taken_here()?;
                Some((taken.to_owned(), Arc::clone(domain)))
            })
            .collect();
        let credentials = std::mem::take(&mut config.credentials)
            .into_iter()
            .map(credential)
            .collect::<Result<_, SnapshotError>>()?;
        let issuers = issuers(&mut config, &pem)?;
        let decoy = Decoy::new(&decoy_secret(&config, &pem), &credentials);
        let end_point = certificate.as_deref().and_then(tls::end_point);
        Ok(Self {
            routes: Routes::new(&config),
            config,
            hash,
            domains,
            bounce_domains,
            credentials,
            issuers,
            decoy,
            server_tls,
            certificate,
            end_point,
            admin_tls,
            sibling_tls,
            smarthost_tls,
            web,
            fingerprints,
        })
    }

    /// When the listeners' certificate expires, in seconds since the Unix epoch.
    pub(crate) fn certificate_expires_at(&self) -> Option<i64> {
        self.certificate.as_deref().and_then(tls::expires_at)
    }
}

/// PEM files by their path in the configuration.
struct Pem(std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>);

impl Pem {
    fn file<'a>(&'a self, field: &'a str, path: &'a Path) -> PemFile<'a> {
        // `relay_config::read` read every file that the configuration names.
        let content = self.0.get(path).map_or(&[][..], Vec::as_slice);
        PemFile {
            field,
            path,
            content,
        }
    }

    fn certified_key(
        &self,
        field: &str,
        files: &CertificateFiles,
    ) -> Result<CertifiedKey, TlsError> {
        let certificate = format!("{field}.certificate");
        let key = format!("{field}.key");
        tls::certified_key(
            self.file(&certificate, &files.certificate),
            self.file(&key, &files.key),
        )
    }
}

fn admin_tls(config: &Config, pem: &Pem) -> Result<Option<Arc<rustls::ServerConfig>>, TlsError> {
    let Some(admin) = &config.admin else {
        return Ok(None);
    };
    let key = Arc::new(pem.certified_key("admin", &admin.certificate)?);
    let authority = pem.file("admin.clientAuthority", &admin.client_authority);
    tls::admin(key, authority).map(Some)
}

fn sibling_tls(config: &Config, pem: &Pem) -> Result<Option<Arc<rustls::ClientConfig>>, TlsError> {
    let (Some(admin), Some(_)) = (&config.admin, &config.siblings) else {
        return Ok(None);
    };
    let key = Arc::new(pem.certified_key("admin", &admin.certificate)?);
    let authority = pem.file("admin.clientAuthority", &admin.client_authority);
    tls::sibling(key, authority).map(Some)
}

fn smarthost_tls(
    config: &Config,
    pem: &Pem,
) -> Result<HashMap<SmarthostId, SmarthostTls>, TlsError> {
    let mut web = None;
    let mut context = |field: String, path: Option<&std::path::PathBuf>| match (path, &web) {
        (Some(path), _) => tls::client(Some(pem.file(&field, path))),
        (None, Some(web)) => Ok(Arc::clone(web)),
        (None, None) => Ok(web.insert(tls::client(None)?).clone()),
    };
    let mut contexts = HashMap::new();
    for (id, host) in config.delivery.all_smarthosts() {
        let field = format!("{id}.certificateAuthorities");
        let server = context(field, host.certificate_authorities.as_ref())?;
        let authentication = host.authentication.as_ref();
        let tokens = match authentication.and_then(|one| one.oauth2.as_ref()) {
            Some(oauth2) => {
                let field = format!("{id}.authentication.oauth2.certificateAuthorities");
                Some(context(field, oauth2.certificate_authorities.as_ref())?)
            }
            None => None,
        };
        contexts.insert(id, SmarthostTls { server, tokens });
    }
    Ok(contexts)
}

fn web(config: &Config, pem: &Pem) -> Result<Option<Arc<Web>>, TlsError> {
    const FIELD: &str = "delivery.certificateAuthorities";
    let Some(path) = &config.delivery.certificate_authorities else {
        return Ok(None);
    };
    let web = Web::new(pem.file(FIELD, path).roots()?).map_err(|fault| TlsError::Context {
        field: FIELD.into(),
        fault: fault.to_string(),
    })?;
    Ok(Some(Arc::new(web)))
}

/// Issuers with their keys, which are moved out of the configuration.
fn issuers(config: &mut Config, pem: &Pem) -> Result<Issuers, SnapshotError> {
    let mut list = Vec::with_capacity(config.authentication.issuers.len());
    let mut seen = Vec::new();
    for issuer in &mut config.authentication.issuers {
        let content = match (issuer.jwks.take(), issuer.jwks_file.take()) {
            (Some(jwks), _) => jwks.to_string().into_bytes(),
            (None, Some(path)) => pem.0.get(&path).cloned().unwrap_or_default(),
            (None, None) => Vec::new(),
        };
        let keys = KeySet::from_slice(&content).map_err(|source| SnapshotError::KeySet {
            issuer: issuer.name.clone(),
            source,
        })?;
        let settings = issuer.clone();
        seen.push((settings.clone(), content));
        list.push(Issuer { settings, keys });
    }
    Ok(Issuers {
        list,
        fingerprint: fingerprint(&seen),
    })
}

/// The certificate's key: all shards have it, nobody else does, and it lasts for months. Without
/// TLS, where nobody keeps a secret from the network, the name of the relay.
fn decoy_secret(config: &Config, pem: &Pem) -> Vec<u8> {
    let key = config.tls.as_ref().and_then(|files| pem.0.get(&files.key));
    key.cloned()
        .unwrap_or_else(|| config.relay.clone().into_bytes())
}

fn sending_domain(domain: Domain) -> Result<SendingDomain, SnapshotError> {
    let signers = domain
        .dkim
        .iter()
        .map(|key| Signer::load(&domain.name, key))
        .collect::<Result<_, KeyError>>()?;
    let returns = domain
        .bounces
        .map(|bounces| ReturnPaths::new(&domain.name, &bounces))
        .transpose()
        .map_err(|source| SnapshotError::ReturnKey {
            domain: domain.name.clone(),
            source,
        })?;
    Ok(SendingDomain {
        name: domain.name,
        senders: domain.senders,
        // Validated with the configuration.
        rewrite_from: domain
            .rewrite_from
            .and_then(|address| Address::parse(&address).ok()),
        suppression: domain.suppression,
        returns,
        signers,
    })
}

/// Equal for equal content only; `None` is equal to nothing.
fn fingerprint(content: &impl Serialize) -> Option<Fingerprint> {
    let text = serde_json::to_vec(content).ok()?;
    digest(&SHA256, &text).as_ref().try_into().ok()
}

fn credential(
    credential: relay_config::Credential,
) -> Result<(String, Arc<Credential>), SnapshotError> {
    let relay_config::Credential {
        username,
        identity,
        verifiers,
    } = credential;
    let verifiers = verifiers
        .iter()
        .map(|verifier| verifier.parse())
        .collect::<Result<_, _>>()
        .map_err(|source| SnapshotError::Verifier {
            username: username.clone(),
            source,
        })?;
    Ok((
        username,
        Arc::new(Credential {
            identity: format!("credential:{identity}"),
            verifiers,
        }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "version: 1\nrelay: a\nhostname: a.example\nlisteners:\n\
        - {name: first, address: '127.0.0.1:2525', tls: None}\n";

    fn load(domains: &str, previous: Option<&Snapshot>) -> Snapshot {
        let name = Path::new("relay.yaml");
        let text = format!("{MAIN}domains:\n{domains}");
        let source = std::collections::BTreeMap::from([(name.to_path_buf(), text.into())]);
        let files = relay_config::parse_files(name, &source).unwrap();
        Snapshot::build(files, previous).unwrap()
    }

    #[test]
    fn a_domain_that_did_not_change_is_taken_over() {
        let shop = "- {name: shop.example, senders: ['*']}\n";
        let before = load(&format!("{shop}- {{name: b.example}}\n"), None);
        let after = load(
            &format!("{shop}- {{name: b.example, senders: ['sa:c/d']}}\n- {{name: new.example}}\n"),
            Some(&before),
        );
        let same = |name: &str| Arc::ptr_eq(&before.domains[name], &after.domains[name]);
        assert!(same("shop.example"));
        assert!(!same("b.example"));
        assert_eq!(after.domains["b.example"].senders, [Grant::from("sa:c/d")]);
        assert_eq!(after.domains.len(), 3);
        assert_ne!(before.hash, after.hash);
    }

    #[test]
    fn no_private_key_stays_in_memory_as_text() {
        let snapshot = load("- {name: shop.example}\n", None);
        assert!(snapshot.config.domains.is_empty());
        assert_eq!(snapshot.domains["shop.example"].name, "shop.example");
    }
}
