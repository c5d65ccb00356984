//! The server's certificate, and the keys of ServiceAccount tokens.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Writes `ca.crt`, `server.crt`, `server.key`, `tokens.key` and `tokens.pub`.
pub(super) fn create(files: &Path) -> anyhow::Result<()> {
    let write = |name: &str, text: String| std::fs::write(files.join(name), text);
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.crt", authority.self_signed(&authority_key)?.pem())?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    write("server.crt", certificate.pem())?;
    write("server.key", key.serialize_pem())?;
    let tokens = KeyPair::generate()?;
    write("tokens.pub", tokens.public_key_pem())?;
    write("tokens.key", tokens.serialize_pem())?;
    Ok(())
}
