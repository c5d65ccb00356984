//! Certificates for one test.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the subject of its leaves they would seem to have signed themselves.
        let name = &mut parameters.distinguished_name;
        name.push(DnType::CommonName, "Authority of a test");
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate of any kind.
    #[cfg(feature = "peers")]
    pub(crate) fn sign(&self, parameters: &CertificateParams, key: &KeyPair) -> rcgen::Certificate {
        parameters.signed_by(key, &self.0).unwrap()
    }

    /// The authority's own certificate.
    #[cfg(feature = "peers")]
    pub(crate) fn certificate(&self) -> &rcgen::Certificate {
        self.0.as_ref()
    }

    /// The authority's own key.
    #[cfg(feature = "peers")]
    pub(crate) fn key(&self) -> &KeyPair {
        self.0.key()
    }

    /// A certificate for servers called `name` and for clients.
    pub(crate) fn leaf(&self, name: &str) -> Leaf {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}
