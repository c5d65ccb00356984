//! Who may attach to a relay, and who comes first where two want the same.
//!
//! Used both by the relay's rendering, which leaves out what is refused, and by the controllers of
//! the refused, which say why; so the two cannot disagree.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use operator_api::conditions::reason;
use operator_api::{NamespaceRule, RelayReference, SendingDomain, SmtpCredential, SmtpRelay};

use super::{Namespaces, Violation};

/// What [`judge`] needs to know of a kind that attaches to relays.
pub trait Attached: Resource<DynamicType = ()> {
    /// The relay that the object names.
    fn relay_reference(&self) -> &RelayReference;
    /// What must be unique in a relay.
    fn claim(&self) -> String;
    /// The relay's rule for namespaces, and the rule's field.
    fn rule(relay: &SmtpRelay) -> (NamespaceRule, &'static str);
    /// What [`Self::claim`] is, for messages.
    const CLAIM: &'static str;

    /// Namespace and name of the relay.
    fn relay_key(&self) -> (String, String) {
        let own = self.meta().namespace.as_deref().unwrap_or_default();
        let reference = self.relay_reference();
        (
            reference.namespace_or(own).to_owned(),
            reference.name.clone(),
        )
    }
}

impl Attached for SendingDomain {
    const CLAIM: &'static str = "domain";

    fn relay_reference(&self) -> &RelayReference {
        &self.spec.relay_ref
    }

    fn claim(&self) -> String {
        self.spec.domain.to_ascii_lowercase()
    }

    fn rule(relay: &SmtpRelay) -> (NamespaceRule, &'static str) {
        (relay.spec.domain_namespaces(), "spec.domains.namespaces")
    }
}

impl Attached for SmtpCredential {
    const CLAIM: &'static str = "user name";

    fn relay_reference(&self) -> &RelayReference {
        &self.spec.relay_ref
    }

    fn claim(&self) -> String {
        self.username()
    }

    fn rule(relay: &SmtpRelay) -> (NamespaceRule, &'static str) {
        (relay.spec.client_namespaces(), "spec.clients.namespaces")
    }
}

/// Why `object` cannot attach to the relay that it names: the first of the checks that fails.
/// `others` are all objects of the kind, `object` itself and those of other relays included.
pub fn judge<'a, T: Attached + 'a>(
    object: &T,
    relay: Option<&SmtpRelay>,
    namespaces: &Namespaces,
    others: impl IntoIterator<Item = &'a T>,
) -> Result<(), Violation> {
    let relay = exists(object, relay)?;
    allowed(object, relay, namespaces)?;
    let claim = object.claim();
    let first = others
        .into_iter()
        .filter(|other| other.relay_key() == object.relay_key() && other.claim() == claim)
        .filter(|other| competes(*other, relay, namespaces))
        .min_by_key(|other| age(*other));
    match first {
        Some(first) if age(first) < age(object) => Err(conflict(object, first)),
        _ => Ok(()),
    }
}

/// The objects that attach to `relay`, one for each claim, by claim.
pub fn attached<'a, T: Attached + 'a>(
    relay: &SmtpRelay,
    namespaces: &Namespaces,
    objects: impl IntoIterator<Item = &'a T>,
) -> BTreeMap<String, &'a T> {
    let key = (
        relay.metadata.namespace.clone().unwrap_or_default(),
        relay.metadata.name.clone().unwrap_or_default(),
    );
    let mut winners: BTreeMap<String, &T> = BTreeMap::new();
    let candidates = objects
        .into_iter()
        .filter(|object| object.relay_key() == key);
    for object in candidates.filter(|object| competes(*object, relay, namespaces)) {
        winners
            .entry(object.claim())
            .and_modify(|winner| {
                if age(object) < age(*winner) {
                    *winner = object;
                }
            })
            .or_insert(object);
    }
    winners
}

/// Who is refused or about to go has no claim against others.
fn competes<T: Attached>(object: &T, relay: &SmtpRelay, namespaces: &Namespaces) -> bool {
    object.meta().deletion_timestamp.is_none() && allowed(object, relay, namespaces).is_ok()
}

fn exists<'a, T: Attached>(
    object: &T,
    relay: Option<&'a SmtpRelay>,
) -> Result<&'a SmtpRelay, Violation> {
    relay.ok_or_else(|| {
        let (namespace, name) = object.relay_key();
        Violation::new(
            reason::RELAY_NOT_FOUND,
            format!(
                "spec.relayRef: there is no SmtpRelay {namespace}/{name}; create it, or name \
                 another relay in a new object"
            ),
        )
    })
}

fn allowed<T: Attached>(
    object: &T,
    relay: &SmtpRelay,
    namespaces: &Namespaces,
) -> Result<(), Violation> {
    let own = relay.metadata.namespace.as_deref().unwrap_or_default();
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let (rule, field) = T::rule(relay);
    let none = BTreeMap::new();
    let labels = namespaces.get(namespace).unwrap_or(&none);
    if rule.allows(own, namespace, labels) {
        return Ok(());
    }
    let name = relay.metadata.name.as_deref().unwrap_or_default();
    Err(Violation::new(
        reason::NOT_ALLOWED_BY_RELAY,
        format!(
            "spec.relayRef: SmtpRelay {own}/{name} does not allow namespace {namespace:?}; ask its \
             owner to allow it in {field}, which says from: {:?}",
            rule.from
        ),
    ))
}

/// The relay's Secrets have room for only so many.
pub fn has_room<T: Attached>(lacks_room: bool, object: &T) -> Result<(), Violation> {
    if !lacks_room {
        return Ok(());
    }
    let (namespace, name) = object.relay_key();
    let claim = object.claim();
    Err(Violation::new(
        reason::RELAY_FULL,
        format!(
            "spec.relayRef: bucket {} of SmtpRelay {namespace}/{name}, a Secret of at most {} octets, has no room \
             for {} {claim:?} beside older ones; remove some, shorten their senders, or use a second \
             SmtpRelay",
            relay_config::bucket_of(&claim),
            super::SECRET_LIMIT,
            T::CLAIM,
        ),
    ))
}

fn conflict<T: Attached>(object: &T, first: &T) -> Violation {
    let holder = format!(
        "{} {}/{}",
        T::kind(&()),
        first.namespace().unwrap_or_default(),
        first.name_any()
    );
    Violation::new(
        reason::CONFLICT,
        format!(
            "{} {:?} belongs to the older {holder}; delete one of the two, or let the older one \
             serve both",
            T::CLAIM,
            object.claim()
        ),
    )
}

/// Time, namespace and name.
pub(super) type Age = (Timestamp, String, String);

/// The older comes first; of the same second, the first by namespace and name.
pub(super) fn age<T: Attached>(object: &T) -> Age {
    let meta = object.meta();
    (
        // An object that the API server has not stamped yet is younger than all.
        meta.creation_timestamp
            .as_ref()
            .map_or(Timestamp::MAX, |time| time.0),
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}
