//! DKIM keys that a domain's owner brings in a Secret. Pure.
//!
//! They are taken over into the domain's key Secret, from where the relay has all keys: a Secret that is
//! lost or damaged later changes nothing, and a changed one is in force with the next reconcile.

use std::collections::BTreeMap;

use operator_api::conditions::reason;
use operator_api::{OwnDkimKey, SendingDomain};

use super::keyring::Keyring;
use super::keys::{self, SigningKey};
use crate::certificates::SecretData;
use crate::render::Violation;

/// Entry of a Secret whose reference names none.
const ENTRY: &str = "private.pem";

/// The own keys that the spec names.
pub(super) fn references(domain: &SendingDomain) -> &[OwnDkimKey] {
    let dkim = domain.spec.dkim.as_ref();
    dkim.map_or(&[], |dkim| &dkim.keys)
}

/// Names of the Secrets that they lie in.
pub(crate) fn named_secrets(domain: &SendingDomain) -> impl Iterator<Item = &str> {
    let references = references(domain).iter();
    references.map(|key| key.secret_ref.name.as_str())
}

/// The own keys by selector, out of what the Secrets hold by name, or the first thing that is wrong.
/// `keyring` is what is in use.
pub(super) fn read(
    domain: &SendingDomain,
    secrets: &BTreeMap<String, Option<SecretData>>,
    keyring: &Keyring,
) -> Result<BTreeMap<String, SigningKey>, Violation> {
    let mut found: BTreeMap<String, SigningKey> = BTreeMap::new();
    for (index, reference) in references(domain).iter().enumerate() {
        let name = &reference.secret_ref.name;
        let entry = reference.secret_ref.key.as_deref().unwrap_or(ENTRY);
        let field = format!("spec.dkim.keys[{index}]");
        let missing = |what: String| {
            Violation::new(
                reason::SECRET_NOT_FOUND,
                format!("{field}.secretRef: {what}"),
            )
        };
        let data = secrets.get(name).and_then(Option::as_ref);
        let data = data.ok_or_else(|| missing(format!("there is no Secret {name}; create it")))?;
        let pem = data
            .get(entry)
            .ok_or_else(|| missing(format!("Secret {name} has no entry {entry}; add it")))?;
        let invalid =
            |what: String| Violation::new(reason::KEYS_INVALID, format!("{field}: {what}"));
        let key = keys::parse(pem)
            .map_err(|error| invalid(format!("entry {entry} of Secret {name} {error}")))?;
        let selector = &reference.selector;
        if let Some((other, _)) = found
            .iter()
            .find(|(_, other)| other.algorithm == key.algorithm)
        {
            return Err(invalid(format!(
                "selectors {other} and {selector} have keys of one algorithm, and there is one signature for \
                 each; give one RSA and one Ed25519 key"
            )));
        }
        let stored = keyring.keys.get(selector).map(|stored| &stored.key);
        if let Some(Ok(stored)) = stored
            && stored.algorithm != key.algorithm
        {
            return Err(invalid(format!(
                "selector {selector} is that of a key of another algorithm; give the new key a selector of its \
                 own"
            )));
        }
        found.insert(selector.clone(), key);
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
