//! The end of an uninstall: SmtpRelays and SendingDomains without their finalizer, so that they and their namespaces
//! can be deleted while no operator is there to say that their mail is delivered (case O7) and to take records out
//! of DNS. Nothing else is
//! touched: relays go on, their claims are nobody's to delete, and those of another operator are its own.

use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use operator_api::names::OPERATOR_ANNOTATION;
use operator_api::{SendingDomain, SmtpRelay};

use crate::kubernetes::apply::Owned;
use crate::kubernetes::finalizer;

/// Objects that are read at a time.
const PAGE: u32 = 500;
/// Looks at all of them; another writer may come in between, and then the next look has it.
const LOOKS: usize = 10;
/// Between two looks: with all of them longer than an operator that was told to stop needs for that.
const PAUSE: Duration = Duration::from_secs(4);

/// Takes the finalizer off all relays and domains of `namespaces`, or of all namespaces when that is empty, that no other
/// operator than that of namespace `operator` has in hand, or off all without one; how many had it.
///
/// # Errors
/// Without a cluster, or when the API server refuses.
pub fn run(namespaces: &[String], operator: Option<&str>) -> anyhow::Result<usize> {
    crate::run::runtime()?.block_on(async {
        let client = Client::try_default()
            .await
            .context("no cluster; set KUBECONFIG or run in a pod")?;
        let mut released = 0;
        for api in apis::<SmtpRelay>(&client, namespaces) {
            released += release(&client, &api, operator).await?;
        }
        for api in apis::<SendingDomain>(&client, namespaces) {
            released += release(&client, &api, operator).await?;
        }
        Ok(released)
    })
}

fn apis<K: Owned>(client: &Client, namespaces: &[String]) -> Vec<Api<K>> {
    if namespaces.is_empty() {
        return vec![Api::all(client.clone())];
    }
    let one = |name: &String| Api::namespaced(client.clone(), name);
    namespaces.iter().map(one).collect()
}

async fn release<K: Owned>(
    client: &Client,
    api: &Api<K>,
    operator: Option<&str>,
) -> anyhow::Result<usize> {
    let mut released = 0;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let mut held = held(api).await?;
        held.retain(|object| operator.is_none_or(|operator| is_of(object, operator)));
        if held.is_empty() {
            return Ok(released);
        }
        for object in held {
            match finalizer::remove(client, &object).await {
                Ok(()) => released += 1,
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => {
                    return Err(error).with_context(|| {
                        let key = (object.namespace(), object.name_any());
                        format!("the finalizer of {key:?} cannot be removed")
                    });
                }
            }
        }
    }
    bail!("finalizers come back; is the operator still running?")
}

/// Whether no other operator than that of namespace `operator` has the object in hand.
fn is_of<K: Owned>(object: &K, operator: &str) -> bool {
    let named = object.annotations().get(OPERATOR_ANNOTATION);
    named.is_none_or(|named| named.is_empty() || named == operator)
}

/// Objects with the finalizer. A cluster without the kind has none.
async fn held<K: Owned>(api: &Api<K>) -> anyhow::Result<Vec<K>> {
    let mut held = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = match api.list(&parameters).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            page => page.with_context(|| format!("{} cannot be listed", K::plural(&())))?,
        };
        let more = page.metadata.continue_.clone();
        held.extend(page.items.into_iter().filter(finalizer::is_set));
        match more.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(held),
        }
    }
}

#[cfg(test)]
mod tests;
