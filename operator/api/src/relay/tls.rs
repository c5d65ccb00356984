//! Where the listeners' certificate comes from.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::names;
use crate::relay::{SmtpRelay, SmtpRelaySpec};

/// Certificate of the listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.secretName) && has(self.issuerRef))")
        .message("secretName and issuerRef exclude each other: a certificate of your own, or one that cert-manager issues")
        .field_path(".issuerRef"),
    validation = Rule::new("!has(self.dnsNames) || has(self.issuerRef)")
        .message("dnsNames are for a certificate of cert-manager; set issuerRef, or remove them")
        .field_path(".dnsNames"),
)]
pub struct RelayTls {
    /// Secret of type `kubernetes.io/tls` in the relay's namespace, such as cert-manager writes. A
    /// renewed certificate is in force within seconds, without a restart. Default: the operator's
    /// own certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,

    /// Issuer of cert-manager that issues and renews the certificate. The operator makes a Certificate
    /// `<name>-tls-issued`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerReference>,

    /// Names in the certificate that `issuerRef` issues. Default: `hostname` and the names of the
    /// Service. A public issuer signs names in public DNS only: give those that clients connect to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253)))]
    #[x_kube(
        validation = Rule::new("self.all(name, name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$'))")
            .message("each entry must be a host name in lower case, such as smtp.example.com")
    )]
    pub dns_names: Vec<String>,
}

/// An issuer of cert-manager, or of another controller that serves its Certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct IssuerReference {
    /// Name of the issuer; of an `Issuer` in the relay's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Kind of the issuer, such as `Issuer` (default) or `ClusterIssuer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<String>,

    /// API group of the kind. Default `cert-manager.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub group: Option<String>,
}

impl SmtpRelaySpec {
    /// Who issues the listeners' certificate, where that is cert-manager.
    pub fn issuer(&self) -> Option<&IssuerReference> {
        self.tls.as_ref()?.issuer_ref.as_ref()
    }
}

impl SmtpRelay {
    /// The Secret with the listeners' certificate, when it is not the operator's: the one that the spec
    /// names, or that cert-manager writes.
    pub fn provided_tls_secret(&self) -> Option<String> {
        let tls = self.spec.tls.as_ref()?;
        let issued = || {
            let name = self.metadata.name.as_deref().unwrap_or_default();
            names::issued_secret(name)
        };
        let named = tls.secret_name.clone();
        named.or_else(|| tls.issuer_ref.as_ref().map(|_| issued()))
    }
}
