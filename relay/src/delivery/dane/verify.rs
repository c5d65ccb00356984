//! The verifier that holds a certificate against TLSA records within the handshake.
//!
//! DANE-EE(3): the server's own certificate or key is the one in DNS; names and dates do not count
//! (RFC 7672 section 3.1.1). DANE-TA(2): a certificate of the chain, or one that stands whole in DNS,
//! is the anchor from which the chain has to verify, dates included, and the certificate has one of
//! the host's names (sections 3.1.2 and 3.2.2).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::parse_x509_certificate;

use super::{Parts, Tlsa};

/// Certificates of a chain that are looked at beside the server's own.
const CHAIN: usize = 16;

/// The verifier for a host.
pub(in crate::delivery) fn verifier(
    tlsa: Arc<Tlsa>,
    provider: Arc<CryptoProvider>,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier { tlsa, provider })
}

#[derive(Debug)]
struct Verifier {
    tlsa: Arc<Tlsa>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let own = public_key(end_entity)
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let own = parts(end_entity, own);
        if self.tlsa.matches_end_entity(own) {
            return Ok(ServerCertVerified::assertion());
        }
        if self.tlsa.matches_trust_anchor(own) {
            // A certificate that vouches for itself: a chain of one.
            check_dates(end_entity, now)?;
            self.check_names(&ParsedCertificate::try_from(end_entity)?)?;
            return Ok(ServerCertVerified::assertion());
        }
        let chain = intermediates.get(..CHAIN).unwrap_or(intermediates);
        let anchors = self.anchors(chain);
        if anchors.is_empty() {
            return Err(no_match());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &anchors, chain, now, algorithms)?;
        self.check_names(&certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl Verifier {
    /// What the records let a chain begin with.
    fn anchors(&self, chain: &[CertificateDer<'_>]) -> RootCertStore {
        let mut anchors = RootCertStore::empty();
        for certificate in chain {
            if let Some(key) = public_key(certificate)
                && self.tlsa.matches_trust_anchor(parts(certificate, key))
            {
                // One that cannot be an anchor leaves the others.
                let _ = anchors.add(certificate.clone().into_owned());
            }
        }
        for whole in self.tlsa.trust_anchors() {
            let _ = anchors.add(CertificateDer::from(whole.to_vec()));
        }
        anchors
    }

    fn check_names(&self, certificate: &ParsedCertificate<'_>) -> Result<(), Error> {
        let mut result = Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        for name in &self.tlsa.names {
            let Ok(name) = ServerName::try_from(&**name) else {
                continue;
            };
            result = verify_server_name(certificate, &name);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let wrong = |error| Err(Error::InvalidCertificate(error));
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
        return wrong(CertificateError::BadEncoding);
    };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return wrong(CertificateError::NotValidYet);
    }
    if now > validity.not_after.timestamp() {
        return wrong(CertificateError::Expired);
    }
    Ok(())
}

fn parts<'a>(certificate: &'a [u8], public_key: &'a [u8]) -> Parts<'a> {
    Parts {
        certificate,
        public_key,
    }
}

/// The `SubjectPublicKeyInfo` of a certificate.
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(parsed.tbs_certificate.subject_pki.raw)
}

fn no_match() -> Error {
    Error::General("the server's certificate is none that its TLSA records name".into())
}

#[cfg(test)]
mod tests;
