//! The end of an uninstall: SmtpRelays without their finalizer, so that they and their namespaces can be
//! deleted while no operator is there to say that their mail is delivered (case O7). Nothing else is
//! touched: relays go on, their claims are nobody's to delete, and those of another operator are its own.

use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use operator_api::SmtpRelay;
use operator_api::names::OPERATOR_ANNOTATION;

use crate::kubernetes::finalizer;

/// Relays that are read at a time.
const PAGE: u32 = 500;
/// Looks at all relays; another writer may come in between, and then the next look has it.
const LOOKS: usize = 10;
/// Between two looks: with all of them longer than an operator that was told to stop needs for that.
const PAUSE: Duration = Duration::from_secs(4);

/// Takes the finalizer off all relays of `namespaces`, or of all namespaces when that is empty, that no other
/// operator than that of namespace `operator` has in hand, or off all without one; how many had it.
///
/// # Errors
/// Without a cluster, or when the API server refuses.
pub fn run(namespaces: &[String], operator: Option<&str>) -> anyhow::Result<usize> {
    crate::run::runtime()?.block_on(async {
        let client = Client::try_default()
            .await
            .context("no cluster; set KUBECONFIG or run in a pod")?;
        let scopes: Vec<Api<SmtpRelay>> = if namespaces.is_empty() {
            vec![Api::all(client.clone())]
        } else {
            let one = |name: &String| Api::namespaced(client.clone(), name);
            namespaces.iter().map(one).collect()
        };
        let mut released = 0;
        for api in scopes {
            released += release(&client, &api, operator).await?;
        }
        Ok(released)
    })
}

async fn release(
    client: &Client,
    api: &Api<SmtpRelay>,
    operator: Option<&str>,
) -> anyhow::Result<usize> {
    let mut released = 0;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let mut held = held(api).await?;
        held.retain(|relay| operator.is_none_or(|operator| is_of(relay, operator)));
        if held.is_empty() {
            return Ok(released);
        }
        for relay in held {
            match finalizer::remove(client, &relay).await {
                Ok(()) => released += 1,
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => {
                    return Err(error).with_context(|| {
                        let key = (relay.metadata.namespace, relay.metadata.name);
                        format!("the finalizer of {key:?} cannot be removed")
                    });
                }
            }
        }
    }
    bail!("finalizers come back; is the operator still running?")
}

/// Whether no other operator than that of namespace `operator` has the relay in hand.
fn is_of(relay: &SmtpRelay, operator: &str) -> bool {
    let named = relay.annotations().get(OPERATOR_ANNOTATION);
    named.is_none_or(|named| named.is_empty() || named == operator)
}

/// Relays with the finalizer. A cluster without the kind has none.
async fn held(api: &Api<SmtpRelay>) -> anyhow::Result<Vec<SmtpRelay>> {
    let mut held = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = match api.list(&parameters).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            page => page.context("SmtpRelays cannot be listed")?,
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
