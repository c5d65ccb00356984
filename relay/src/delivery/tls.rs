//! TLS towards next servers.
//!
//! Two configurations are built once, so that sessions resume per server name: one that takes any
//! certificate and one that verifies against the web's roots. Taking any certificate is what RFC 7435
//! asks for: without a policy an expired or self-signed certificate is better than clear text
//! (case T4). The handshake's signature is checked in both, so the peer holds the key it shows. No
//! client certificate is sent (case T20). What is about one host alone (its TLSA records) is built for
//! one connection, and its sessions are not resumed: a session that was begun under one policy must not
//! go on under another.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::dane::{self, Tlsa};
use crate::metrics::Metrics;
use crate::tls::provider;
use crate::tls_reports::Ending;

/// The configurations.
#[derive(Clone)]
pub(super) struct Tls {
    /// Takes any certificate.
    pub(super) unverified: Arc<ClientConfig>,
    /// Verifies chain and name against the web's roots.
    pub(super) verified: Arc<ClientConfig>,
    web: Arc<Web>,
}

/// What rests on one set of authorities.
pub(crate) struct Web {
    /// For mail servers.
    pub(crate) verified: Arc<ClientConfig>,
    /// For hosts of MTA-STS policies.
    pub(crate) https: Arc<ClientConfig>,
    judge: Arc<WebPkiServerVerifier>,
}

impl Web {
    /// Trusts `roots`.
    pub(crate) fn new(roots: RootCertStore) -> Result<Self, Error> {
        let roots = Arc::new(roots);
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut https = verified.clone();
        https.alpn_protocols = vec![b"http/1.1".to_vec()];
        https.resumption = Resumption::disabled();
        Ok(Self {
            verified: Arc::new(verified),
            https: Arc::new(https),
            judge,
        })
    }
}

impl Tls {
    pub(super) fn new() -> Result<Self, Error> {
        let unverified = with_verifier(Arc::new(AnyCertificate(provider())))?;
        let web = Web::new(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        })?;
        Ok(Self {
            unverified: Arc::new(unverified),
            verified: Arc::clone(&web.verified),
            web: Arc::new(web),
        })
    }

    /// What rests on the web's roots, or on the authorities that take their place.
    pub(super) fn web<'a>(&'a self, configured: Option<&'a Arc<Web>>) -> &'a Arc<Web> {
        configured.unwrap_or(&self.web)
    }

    /// Holds the certificate against TLSA records.
    pub(super) fn dane(&self, tlsa: &Arc<Tlsa>) -> Arc<ClientConfig> {
        self.once(dane::verifier(Arc::clone(tlsa), provider()))
    }

    /// Takes any certificate, and counts what `web` would have said of it.
    /// The answer is put into `judged`.
    pub(super) fn observing(
        &self,
        web: &Web,
        metrics: &Metrics,
        judged: Arc<OnceLock<Ending>>,
    ) -> Arc<ClientConfig> {
        self.once(Arc::new(Observer {
            any: AnyCertificate(provider()),
            judge: Arc::clone(&web.judge),
            metrics: metrics.clone(),
            judged,
        }))
    }

    /// For one connection.
    fn once(&self, verifier: Arc<dyn ServerCertVerifier>) -> Arc<ClientConfig> {
        let mut config = (*self.unverified).clone();
        config.resumption = Resumption::disabled();
        config.dangerous().set_certificate_verifier(verifier);
        Arc::new(config)
    }
}

fn with_verifier(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Judges as the web does, tells, and takes the certificate whatever it is (MTA-STS in the mode
/// `testing`, RFC 8461 section 5).
#[derive(Debug)]
struct Observer {
    any: AnyCertificate,
    judge: Arc<WebPkiServerVerifier>,
    metrics: Metrics,
    judged: Arc<OnceLock<Ending>>,
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.judge.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match judged {
            Ok(_) => self.metrics.sts_testing("ok"),
            Err(error) => {
                self.metrics.sts_testing("certificate");
                // The first handshake counts.
                let _ = self.judged.set(Ending::of_tls(&error));
                let host = server_name.to_str();
                tracing::info!(
                    %host, %error,
                    "the MTA-STS policy is in testing; enforced, it would refuse this certificate"
                );
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any.supported_verify_schemes()
    }
}

/// Judges signatures and no certificate.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
