//! Makes the keys that are missing and the Secret as it should be; no client.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_api::SendingDomain;
use operator_api::names::dkim_secret;
use relay_config::DkimAlgorithm;

use super::DomainError;
use super::dereference::Seen;
use super::keyring::{self, Keyring};
use super::keys::{self, SigningKey};
use super::return_keys;
use super::validate::Judged;
use crate::certificates::SecretData;
use crate::guarded_secret::{self, Change, Desired};

/// What [`super::apply`] shall write.
pub(super) struct Prepared {
    /// The write.
    pub(super) change: Option<Change>,
    /// Data of the key Secret after it; `None` when there are no keys.
    pub(super) data: Option<SecretData>,
    /// Selectors of new keys.
    pub(super) made: Vec<String>,
    /// Selectors of keys that took over from others.
    pub(super) switched: Vec<String>,
}

pub(super) async fn run(
    domain: &SendingDomain,
    seen: &Seen,
    judged: &Judged,
    now: Timestamp,
) -> Result<Prepared, DomainError> {
    let existing = seen.keys(domain);
    let Ok(plan) = &judged.keys else {
        // Whatever keys there are go on being shown and used while nothing may be changed.
        return Ok(Prepared {
            change: None,
            data: existing,
            made: Vec::new(),
            switched: Vec::new(),
        });
    };
    let made = make(plan.make.clone()).await?;
    let before = Keyring::read(&existing.clone().unwrap_or_default());
    let signed: BTreeSet<&str> = before.signing().map(|(selector, _)| selector).collect();
    let new = plan
        .active
        .iter()
        .filter(|one| !signed.contains(one.as_str()));
    let switched = if signed.is_empty() {
        Vec::new()
    } else {
        new.cloned().collect()
    };
    let data = keyring::apply(&existing.unwrap_or_default(), plan, &made, now);
    let data = return_keys::apply(data, domain.spec.bounces.is_some(), &fresh()?, now);
    let desired = Desired {
        name: &dkim_secret(&domain.name_any()),
        kind: "Opaque",
        component: "dkim",
        data: &data,
    };
    let change = guarded_secret::change(domain, seen.secret.as_ref(), &desired);
    Ok(Prepared {
        change: Some(change),
        data: Some(data),
        made: made.into_keys().collect(),
        switched,
    })
}

/// A secret for return paths, should one be due.
fn fresh() -> Result<String, DomainError> {
    let mut octets = [0; 32];
    let filled = SystemRandom::new().fill(&mut octets);
    filled.map_err(|_| keys::KeyError::Generate)?;
    Ok(BASE64.encode(octets))
}

/// On a thread for such work: RSA takes some tenths of a second.
async fn make(
    wanted: BTreeMap<String, DkimAlgorithm>,
) -> Result<BTreeMap<String, SigningKey>, DomainError> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let generate = move || {
        let made = wanted
            .into_iter()
            .map(|(selector, algorithm)| Ok((selector, keys::generate(algorithm)?)));
        made.collect::<Result<BTreeMap<_, _>, keys::KeyError>>()
    };
    let made = tokio::task::spawn_blocking(generate).await;
    Ok(made.map_err(|_| DomainError::Stopped)??)
}
