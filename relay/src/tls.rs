//! TLS contexts from PEM files: one provider (aws-lc-rs), TLS 1.2 and 1.3 only.
//!
//! Errors name the configuration's field, the file and the remedy; never a key.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use relay_smtp::server::ChannelBindings;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why PEM files do not make a TLS context.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(
        "{field}: {file} holds no certificate; it must be PEM with the leaf first \
         (-----BEGIN CERTIFICATE-----)"
    )]
    NoCertificate { field: String, file: String },
    #[error("{field}: {file} holds a damaged certificate: {fault}")]
    DamagedCertificate {
        field: String,
        file: String,
        fault: String,
    },
    #[error(
        "{field}: {file} holds no usable private key ({fault}); it must be unencrypted PKCS#8, \
         PKCS#1 or SEC1 in PEM"
    )]
    NoKey {
        field: String,
        file: String,
        fault: String,
    },
    #[error(
        "{field}: {file} is not the private key of the first certificate in {certificate}; the \
         leaf must come first and both files must be of one issue"
    )]
    Mismatch {
        field: String,
        file: String,
        certificate: String,
    },
    #[error("{field}: {fault}")]
    Context { field: String, fault: String },
}

/// A PEM file with where it was named.
#[derive(Clone, Copy)]
pub(crate) struct PemFile<'a> {
    pub(crate) field: &'a str,
    pub(crate) path: &'a Path,
    pub(crate) content: &'a [u8],
}

impl PemFile<'_> {
    fn names(&self) -> (String, String) {
        (self.field.to_owned(), self.path.display().to_string())
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let (field, file) = self.names();
        let certificates = CertificateDer::pem_slice_iter(self.content)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsError::DamagedCertificate {
                field: field.clone(),
                file: file.clone(),
                fault: error.to_string(),
            })?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate { field, file });
        }
        Ok(certificates)
    }

    /// All certificates of the file as authorities.
    pub(crate) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            let (field, file) = self.names();
            roots
                .add(certificate)
                .map_err(|error| TlsError::DamagedCertificate {
                    field,
                    file,
                    fault: error.to_string(),
                })?;
        }
        Ok(roots)
    }
}

/// The provider of everything here; `main` installs the same one as the process's default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// A chain with the key that belongs to its leaf.
pub(crate) fn certified_key(
    chain: PemFile<'_>,
    key: PemFile<'_>,
) -> Result<CertifiedKey, TlsError> {
    let certificates = chain.certificates()?;
    let (field, file) = key.names();
    let no_key = |fault: String| TlsError::NoKey {
        field: field.clone(),
        file: file.clone(),
        fault,
    };
    let der = PrivateKeyDer::from_pem_slice(key.content)
        .map_err(|_| no_key("no PEM block of a key".into()))?;
    CertifiedKey::from_der(certificates, der, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
            field: field.clone(),
            file: file.clone(),
            certificate: chain.path.display().to_string(),
        },
        rustls::Error::InvalidCertificate(fault) => TlsError::DamagedCertificate {
            field: chain.field.to_owned(),
            file: chain.path.display().to_string(),
            fault: format!("{fault:?}"),
        },
        other => no_key(other.to_string()),
    })
}

/// When the leaf expires, in seconds since the Unix epoch; `None` when it cannot be told.
pub(crate) fn expires_at(key: &CertifiedKey) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(key.end_entity_cert().ok()?).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// What a SCRAM exchange can be bound to on this connection; `end_point` is of the certificate that
/// it was made with.
pub(crate) fn channel_bindings(
    connection: &rustls::ServerConnection,
    end_point: Option<Vec<u8>>,
) -> ChannelBindings {
    // RFC 9266 section 4.2: not before TLS 1.3, unless the extended master secret was negotiated,
    // which the connection does not tell.
    let exports = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    let exporter = exports
        .then(|| connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")))
        .and_then(Result::ok);
    ChannelBindings {
        exporter,
        end_point,
    }
}

/// As [`channel_bindings`], for a connection to a server.
pub(crate) fn client_bindings(connection: &rustls::ClientConnection) -> ChannelBindings {
    let exports = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    let exporter = exports
        .then(|| connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")))
        .and_then(Result::ok);
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    ChannelBindings {
        exporter,
        end_point: leaf.and_then(|leaf| end_point_of(leaf)),
    }
}

/// RFC 5929 section 4.1: the hash of the leaf by the function of its signature, SHA-256 in place of
/// the broken ones. `None` where the signature names no such function (Ed25519, PSS).
pub(crate) fn end_point(key: &CertifiedKey) -> Option<Vec<u8>> {
    end_point_of(key.end_entity_cert().ok()?)
}

fn end_point_of(leaf: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let name = certificate.signature_algorithm.algorithm.to_id_string();
    let algorithm = match name.as_str() {
        // With RSA: MD5, SHA-1, SHA-256; ECDSA with SHA-1, SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => &digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, leaf).as_ref().to_vec())
}

/// For SMTP listeners. The whole chain is sent (case T14), no client certificate is asked for, and
/// sessions resume by tickets, so that no session cache has to survive a reload.
pub(crate) fn server(key: Arc<CertifiedKey>) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| context("tls", &error))?;
    let mut config = builder
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.ticketer =
        rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| context("tls", &error))?;
    Ok(Arc::new(config))
}

/// For the admin port: only clients whose certificate chains to `authority` get in.
pub(crate) fn admin(
    key: Arc<CertifiedKey>,
    authority: PemFile<'_>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()?), provider())
            .build()
            .map_err(|error| TlsError::Context {
                field: authority.field.to_owned(),
                fault: error.to_string(),
            })?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| context("admin", &error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    Ok(Arc::new(config))
}

/// For the admin ports of other shards, whose certificates chain to `authority`; `key` is shown to them.
pub(crate) fn sibling(
    key: Arc<CertifiedKey>,
    authority: PemFile<'_>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| context("siblings", &error))?
        .with_root_certificates(authority.roots()?)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    Ok(Arc::new(config))
}

/// For a smarthost: verified against `authorities`, or the built-in web roots. No client
/// certificate (case T20).
pub(crate) fn client(authorities: Option<PemFile<'_>>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match authorities {
        Some(file) => file.roots()?,
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| context("delivery.smarthosts", &error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn context(field: &str, fault: &rustls::Error) -> TlsError {
    TlsError::Context {
        field: field.to_owned(),
        fault: fault.to_string(),
    }
}

#[cfg(test)]
mod tests;
