//! Reads everything that a reconcile looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use operator_api::conditions::DNS_VERIFIED;
use operator_api::names::dkim_secret;
use operator_api::{SendingDomain, SmtpRelay};

use super::DomainError;
use super::dns::{Check, Spread};
use super::judge::Facts;
use super::keyring::Keyring;
use super::records::{Answer, WantedRecord};
use super::spf::Answers;
use super::{own_keys, tags, validate};
use crate::certificates::{self, SecretData};
use crate::conditions::{self, Conditioned as _};
use crate::context::Context;
use crate::guarded_secret::is_owned;
use crate::kubernetes::queue::Key;
use crate::kubernetes::store::Index;
use crate::render::Namespaces;
use crate::render::admission::Attached as _;

/// What was read.
pub(super) struct Seen {
    /// The relay that the domain names.
    pub(super) relay: Option<Arc<SmtpRelay>>,
    /// Labels of all namespaces.
    pub(super) namespaces: Arc<Namespaces>,
    /// Domains of the same name, this one included.
    pub(super) rivals: Vec<Arc<SendingDomain>>,
    /// The key Secret, whoever made it.
    pub(super) secret: Option<Secret>,
    /// What the Secrets hold that the spec names for keys of the owner, by name; `None` where there is none.
    pub(super) own: BTreeMap<String, Option<SecretData>>,
    /// The namespace is about to go.
    pub(super) terminating: bool,
    /// The relay's Secrets have no room for it.
    pub(super) lacks_room: bool,
    /// What DNS said.
    pub(super) check: Check,
    /// Of keys that wait to sign, where their records are seen.
    pub(super) spread: BTreeMap<String, Spread>,
}

impl Seen {
    /// Data of the key Secret, if that is the domain's.
    pub(super) fn keys(&self, domain: &SendingDomain) -> Option<SecretData> {
        let secret = self
            .secret
            .as_ref()
            .filter(|secret| is_owned(domain, secret))?;
        Some(certificates::data_of(secret))
    }
}

pub(super) async fn run(
    domain: &SendingDomain,
    context: &Context,
    now: Timestamp,
) -> Result<Seen, DomainError> {
    let namespace = domain.namespace().unwrap_or_default();
    let (relay_namespace, relay_name) = domain.relay_key();
    let claim = domain.claim();
    let secret = read_secret(domain, context, &namespace).await?;
    let mut seen = Seen {
        relay: context
            .stores
            .relays
            .get(&ObjectRef::new(&relay_name).within(&relay_namespace)),
        namespaces: context.stores.namespaces(),
        rivals: context.stores.domains.sharing(&Index::Claim(claim.clone())),
        secret,
        own: read_own(domain, context, &namespace).await?,
        terminating: context.stores.is_terminating(&namespace),
        lacks_room: context
            .programmed
            .lacks_room_for_domain(&domain.relay_key(), &claim),
        check: Check::default(),
        spread: BTreeMap::new(),
    };
    let key = (namespace, domain.name_any());
    let keyring = seen.keys(domain).map(|data| Keyring::read(&data));
    if let Some(keyring) = keyring {
        seen.check = check(domain, context, &keyring, seen.relay.as_deref(), &key, now).await;
        seen.spread = spread(domain, context, &keyring, &seen.check).await;
    }
    Ok(seen)
}

/// From the cache if it is there, else from the API server: the cache holds what carries the
/// operator's label, and a Secret that lacks it must be seen as well.
async fn read_secret(
    domain: &SendingDomain,
    context: &Context,
    namespace: &str,
) -> Result<Option<Secret>, DomainError> {
    let name = dkim_secret(&domain.name_any());
    let cached = context
        .stores
        .secrets
        .get(&ObjectRef::new(&name).within(namespace));
    if let Some(secret) = cached.filter(|secret| is_owned(domain, secret)) {
        return Ok(Some(secret.as_ref().clone()));
    }
    Api::<Secret>::namespaced(context.client.clone(), namespace)
        .get_opt(&name)
        .await
        .map_err(|source| DomainError::ReadKeys {
            name,
            source: Box::new(source),
        })
}

/// Always from the API server: the cache holds only what is the operator's.
async fn read_own(
    domain: &SendingDomain,
    context: &Context,
    namespace: &str,
) -> Result<BTreeMap<String, Option<SecretData>>, DomainError> {
    let mut found = BTreeMap::new();
    for key in own_keys::references(domain) {
        let name = &key.secret_ref.name;
        let secret = Api::<Secret>::namespaced(context.client.clone(), namespace)
            .get_opt(name)
            .await
            .map_err(|source| DomainError::ReadKeys {
                name: name.clone(),
                source: Box::new(source),
            })?;
        found.insert(name.clone(), secret.as_ref().map(certificates::data_of));
    }
    Ok(found)
}

async fn check(
    domain: &SendingDomain,
    context: &Context,
    keyring: &Keyring,
    relay: Option<&SmtpRelay>,
    key: &(String, String),
    now: Timestamp,
) -> Check {
    let facts = Facts::new(domain, relay);
    let wanted = |answers: &Answers| validate::wanted(domain, keyring, relay, answers);
    let questions = |answers: &Answers| {
        let wanted = wanted(answers);
        let further = facts.needs(&wanted, answers);
        let first = wanted.into_iter().map(|one| one.question);
        first
            .chain(further)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    };
    let progress = |answers: &Answers| facts.progress(&wanted(answers), answers);
    forget(context);
    let waiting = waiting(domain, keyring, now);
    context.dns.check(key, questions, waiting, progress).await
}

/// Where the records are seen of keys that wait to sign.
async fn spread(
    domain: &SendingDomain,
    context: &Context,
    keyring: &Keyring,
    check: &Check,
) -> BTreeMap<String, Spread> {
    let waiting = keyring.keys.iter();
    let waiting = waiting.filter(|(_, stored)| !stored.active && stored.retired.is_none());
    let looked = waiting.filter_map(|(selector, stored)| {
        let key = stored.key.as_ref().ok()?;
        let wanted = WantedRecord::dkim(selector, &domain.spec.domain, key);
        let answer = check.answers.get(&wanted.question);
        Some(async move {
            let fits = |answer: &Answer| tags::is_dkim(answer, &wanted.value);
            let spread = match answer {
                None | Some(Answer::Failed(_)) => Some(Spread::Unknown),
                Some(answer) if fits(answer) => {
                    Some(context.dns.spread(&wanted.question.name, fits).await)
                }
                // Where the resolver sees none, there is no need to ask everywhere.
                Some(_) => None,
            };
            Some((selector.clone(), spread?))
        })
    });
    futures_util::future::join_all(looked)
        .await
        .into_iter()
        .flatten()
        .collect()
}

/// How long the records have not been as they should be.
fn waiting(domain: &SendingDomain, keyring: &Keyring, now: Timestamp) -> Duration {
    let made = keyring
        .keys
        .values()
        .filter_map(|stored| stored.created)
        .max();
    let changed = conditions::find(domain.conditions(), DNS_VERIFIED)
        .map(|condition| condition.last_transition_time.0);
    let since = made.max(changed).unwrap_or(now);
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// Keeps what is remembered of DNS within the number of domains.
fn forget(context: &Context) {
    let known = &context.stores.domains;
    if context.dns.remembered() > known.len() {
        context
            .dns
            .retain(|(namespace, name)| known.has(&Key::new(namespace.as_str(), name.as_str())));
    }
}
