//! Buckets of domains and credentials.

use std::collections::BTreeMap;

use operator_api::conditions::reason;
use operator_api::{SendingDomain, SmtpCredential};
use relay_config::{Bucket, Credential, DkimKey, Domain, bucket_of};

use super::programmed::Digest;
use super::{
    CredentialInput, DomainInput, Entries, RelayInputs, SECRET_LIMIT, Violation, admission, json,
};
use crate::certificates::SecretData;
use crate::credential::binding;
use crate::domain::keyring::Keyring;

/// Bucket contents by number, and what is in them.
pub(super) fn build(
    inputs: &RelayInputs<'_>,
) -> Result<(BTreeMap<usize, Vec<u8>>, Entries), Violation> {
    let mut buckets: BTreeMap<usize, Bucket> = BTreeMap::new();
    let mut entries = Entries::default();
    // Both maps are sorted by name, and so are the lists in each bucket.
    for domain in domains(inputs) {
        entries
            .domains
            .insert(domain.name.clone(), Digest::of(&domain));
        let bucket = buckets.entry(bucket_of(&domain.name)).or_default();
        bucket.domains.push(domain);
    }
    for credential in credentials(inputs) {
        entries
            .credentials
            .insert(credential.username.clone(), Digest::of(&credential));
        let bucket = buckets.entry(bucket_of(&credential.username)).or_default();
        bucket.credentials.push(credential);
    }
    let mut contents = BTreeMap::new();
    for (index, bucket) in buckets {
        let content = json(&bucket)?;
        if content.len() > SECRET_LIMIT {
            return Err(too_large(index, &bucket, content.len()));
        }
        contents.insert(index, content);
    }
    Ok((contents, entries))
}

fn domains(inputs: &RelayInputs<'_>) -> impl Iterator<Item = Domain> {
    let keys: BTreeMap<_, _> = inputs
        .domains
        .iter()
        .map(|input| (id(input.domain), input.keys))
        .collect();
    let objects = inputs
        .domains
        .iter()
        .map(|DomainInput { domain, keys: _ }| *domain);
    let winners = admission::attached(inputs.relay, inputs.namespaces, objects);
    winners.into_values().filter_map(move |domain| {
        let keys = keys.get(&id(domain)).copied().flatten()?;
        build_domain(domain, keys)
    })
}

/// A domain as the relay gets it; `None` while it has no key that signs, since mail without a
/// signature would do the domain harm.
pub(crate) fn build_domain(domain: &SendingDomain, keys: &SecretData) -> Option<Domain> {
    let keyring = Keyring::read(keys);
    let mut dkim: Vec<DkimKey> = keyring
        .signing()
        .map(|(selector, key)| DkimKey {
            selector: selector.to_owned(),
            algorithm: key.algorithm,
            private_key: key.private.clone(),
        })
        .collect();
    dkim.sort_by(|one, other| {
        (one.algorithm, &one.selector).cmp(&(other.algorithm, &other.selector))
    });
    (!dkim.is_empty()).then(|| Domain {
        name: admission::Attached::claim(domain),
        senders: senders(domain),
        dkim,
    })
}

fn senders(domain: &SendingDomain) -> Vec<String> {
    let own = domain.metadata.namespace.as_deref().unwrap_or_default();
    let Some(senders) = &domain.spec.senders else {
        return vec![format!("{own}/*")];
    };
    let mut senders: Vec<_> = senders
        .iter()
        .filter_map(
            |sender| match (sender.namespace.as_str(), sender.credential.as_deref()) {
                // Clients without authentication have no identity and only this grant.
                ("*", None) => Some("*".to_owned()),
                // The API server refuses it; whatever it was to mean, it grants nothing.
                ("*", Some(_)) => None,
                (namespace, credential) => {
                    Some(format!("{namespace}/{}", credential.unwrap_or("*")))
                }
            },
        )
        .collect();
    senders.sort();
    senders.dedup();
    senders
}

fn credentials(inputs: &RelayInputs<'_>) -> impl Iterator<Item = Credential> {
    let bindings: BTreeMap<_, _> = inputs
        .credentials
        .iter()
        .map(|input| (id(input.credential), input.binding))
        .collect();
    let objects = inputs.credentials.iter().map(
        |CredentialInput {
             credential,
             binding: _,
         }| *credential,
    );
    let winners = admission::attached(inputs.relay, inputs.namespaces, objects);
    winners.into_values().filter_map(move |credential| {
        let binding = bindings.get(&id(credential)).copied().flatten()?;
        build_credential(credential, binding)
    })
}

/// A credential as the relay gets it; `None` while its Secret holds no usable verifier.
pub(crate) fn build_credential(
    credential: &SmtpCredential,
    data: &SecretData,
) -> Option<Credential> {
    let namespace = credential.metadata.namespace.as_deref()?;
    let name = credential.metadata.name.as_deref()?;
    Some(Credential {
        username: credential.username(),
        identity: format!("{namespace}/{name}"),
        verifiers: vec![binding::verifier(data)?],
    })
}

fn id<T: kube::Resource>(object: &T) -> (Option<String>, Option<String>) {
    (object.meta().namespace.clone(), object.meta().name.clone())
}

fn too_large(index: usize, bucket: &Bucket, size: usize) -> Violation {
    Violation::new(
        reason::INVALID_SPEC,
        format!(
            "bucket {index} of the relay would hold {} domains and {} credentials in {size} \
             octets, more than the {SECRET_LIMIT} of a Secret; move some to a second SmtpRelay",
            bucket.domains.len(),
            bucket.credentials.len()
        ),
    )
}
