//! Buckets of domains and credentials.

use std::collections::BTreeMap;

use operator_api::{Sender, SendingDomain, SmtpCredential, UnauthorizedFromPolicy};
use relay_config::{Bounces, Bucket, Credential, DkimKey, Domain, Grant, Suppression, bucket_of};

use super::programmed::Digest;
use super::{
    CredentialInput, DomainInput, Entries, RelayInputs, SECRET_LIMIT, Violation, admission, json,
};
use crate::certificates::SecretData;
use crate::credential::binding;
use crate::domain::keyring::Keyring;
use crate::domain::return_keys;

/// Room in each bucket.
struct Filling {
    bucket: Bucket,
    size: usize,
}

/// What goes into a bucket.
enum Entry {
    Domain(Domain),
    Credential(Credential),
}

/// Bucket contents by number, and what is in them.
///
/// Where a bucket would be larger than a Secret may be, the oldest objects have it, and the others are left out
/// until there is room: nobody's new object takes anything from those that work.
pub(super) fn build(
    inputs: &RelayInputs<'_>,
) -> Result<(BTreeMap<usize, Vec<u8>>, Entries), Violation> {
    let mut wanted: Vec<(admission::Age, Entry)> = domains(inputs)
        .map(|(age, domain)| (age, Entry::Domain(domain)))
        .collect();
    wanted.extend(credentials(inputs).map(|(age, one)| (age, Entry::Credential(one))));
    wanted.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut buckets: BTreeMap<usize, Filling> = BTreeMap::new();
    let mut entries = Entries::default();
    let empty = json(&Bucket::default())?.len();
    for (_, entry) in wanted {
        put(&mut buckets, &mut entries, empty, entry)?;
    }
    let mut contents = BTreeMap::new();
    for (index, Filling { mut bucket, .. }) in buckets {
        bucket
            .domains
            .sort_by(|one, other| one.name.cmp(&other.name));
        bucket
            .credentials
            .sort_by(|one, other| one.username.cmp(&other.username));
        contents.insert(index, json(&bucket)?);
    }
    Ok((contents, entries))
}

/// Puts an entry into its bucket, if there is room, and into the lists.
fn put(
    buckets: &mut BTreeMap<usize, Filling>,
    entries: &mut Entries,
    empty: usize,
    entry: Entry,
) -> Result<(), Violation> {
    let (name, text) = match &entry {
        Entry::Domain(domain) => (domain.name.clone(), json(domain)?),
        Entry::Credential(credential) => (credential.username.clone(), json(credential)?),
    };
    let index = bucket_of(&name);
    let size = buckets.get(&index).map_or(empty, |filling| filling.size);
    // A comma each.
    let size = size.saturating_add(text.len()).saturating_add(1);
    if size > SECRET_LIMIT {
        match entry {
            Entry::Domain(_) => entries.domains_left_out.insert(name),
            Entry::Credential(_) => entries.credentials_left_out.insert(name),
        };
        return Ok(());
    }
    let filling = buckets.entry(index).or_insert_with(|| Filling {
        bucket: Bucket::default(),
        size: empty,
    });
    filling.size = size;
    let digest = Digest::of_text(&text);
    match entry {
        Entry::Domain(domain) => {
            entries.domains.insert(name, digest);
            filling.bucket.domains.push(domain);
        }
        Entry::Credential(credential) => {
            entries.credentials.insert(name, digest);
            filling.bucket.credentials.push(credential);
        }
    }
    Ok(())
}

fn domains(inputs: &RelayInputs<'_>) -> impl Iterator<Item = (admission::Age, Domain)> {
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
        Some((admission::age(domain), build_domain(domain, keys)?))
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
        rewrite_from: rewrite_from(domain),
        suppression: suppression(domain),
        bounces: bounces(domain, keys),
        dkim,
    })
}

fn senders(domain: &SendingDomain) -> Vec<Grant> {
    let own = domain.metadata.namespace.as_deref().unwrap_or_default();
    let mut senders: Vec<Grant> = match &domain.spec.senders {
        None => everybody_of(own)
            .map(|identity| Grant::from(&*identity))
            .into(),
        Some(senders) => senders.iter().flat_map(grants).collect(),
    };
    senders.sort_by(|one, other| {
        (&one.identity, &one.local_parts).cmp(&(&other.identity, &other.local_parts))
    });
    senders.dedup();
    senders
}

/// All SmtpCredentials and ServiceAccounts of a namespace.
fn everybody_of(namespace: &str) -> [String; 2] {
    ["credential", "sa"].map(|kind| format!("{kind}:{namespace}/*"))
}

/// What one entry grants. What the API server refuses grants nothing, whatever it was to mean.
fn grants(sender: &Sender) -> Vec<Grant> {
    let identities = match (
        sender.namespace.as_deref(),
        sender.credential.as_deref(),
        sender.service_account.as_deref(),
        &sender.oidc,
    ) {
        // Clients without authentication have no identity and only this grant.
        (Some("*"), None, None, None) => vec!["*".to_owned()],
        (Some("*"), ..) => Vec::new(),
        (Some(namespace), None, None, None) => everybody_of(namespace).into(),
        (Some(namespace), Some(name), None, None) => vec![format!("credential:{namespace}/{name}")],
        (Some(namespace), None, Some(name), None) => vec![format!("sa:{namespace}/{name}")],
        (None, None, None, Some(oidc)) => {
            let identity = oidc.identity.as_deref().unwrap_or("*");
            vec![format!("oidc:{}/{identity}", oidc.issuer)]
        }
        _ => Vec::new(),
    };
    let grant = |identity| Grant {
        identity,
        local_parts: sender.local_parts.clone(),
    };
    identities.into_iter().map(grant).collect()
}

/// The address in place of an author who may not use the domain.
fn rewrite_from(domain: &SendingDomain) -> Option<String> {
    let unauthorized = domain.spec.unauthorized_from.as_ref()?;
    match (unauthorized.policy, &unauthorized.local_part) {
        (UnauthorizedFromPolicy::Rewrite, Some(local_part)) => Some(format!(
            "{local_part}@{}",
            admission::Attached::claim(domain)
        )),
        _ => None,
    }
}

/// Without a secret yet bounces go to the senders.
fn bounces(domain: &SendingDomain, keys: &SecretData) -> Option<Bounces> {
    let wanted = domain.spec.bounces.as_ref()?;
    let keys = return_keys::read(keys);
    // What the API server lets pass parses; anything else is the default.
    let valid_for = wanted.valid_for.as_ref().and_then(|text| text.parse().ok());
    (!keys.is_empty()).then(|| Bounces {
        domain: wanted.domain.clone(),
        address: wanted.address.clone(),
        keys,
        valid_for: valid_for.unwrap_or(Bounces::default().valid_for),
    })
}

/// What the API server lets pass parses; anything else is the default.
fn suppression(domain: &SendingDomain) -> Suppression {
    let mut built = Suppression::default();
    let Some(wanted) = &domain.spec.suppression else {
        return built;
    };
    let fields = [
        (&wanted.hard_bounces, &mut built.hard_bounces),
        (&wanted.complaints, &mut built.complaints),
    ];
    for (text, target) in fields {
        if let Some(parsed) = text.as_ref().and_then(|text| text.parse().ok()) {
            *target = parsed;
        }
    }
    built
}

fn credentials(inputs: &RelayInputs<'_>) -> impl Iterator<Item = (admission::Age, Credential)> {
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
        Some((
            admission::age(credential),
            build_credential(credential, binding)?,
        ))
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
        verifiers: binding::verifiers(data)?,
    })
}

fn id<T: kube::Resource>(object: &T) -> (Option<String>, Option<String>) {
    (object.meta().namespace.clone(), object.meta().name.clone())
}
