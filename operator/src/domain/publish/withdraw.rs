//! The end of a domain: what was put into DNS for it is taken away, unless that takes too long.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use operator_api::{Publication, Rfc2136, SendingDomain};

use super::attempts::TURN;
use super::{former, read_secret, server, tsig, wanted};
use crate::context::Context;
use crate::domain::DomainError;
use crate::kubernetes::controller::Action;
use crate::kubernetes::{events, finalizer};

/// How long a name server that does not answer may keep a domain that is deleted.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);
/// Between attempts.
const AGAIN: Duration = Duration::from_secs(20);
/// Reason of the Event on records that stay.
pub(in crate::domain) const RECORDS_LEFT: &str = "RecordsLeft";

/// Takes the records of a domain that is deleted out of DNS, and then its finalizer off.
pub(in crate::domain) async fn at_end(
    domain: &Arc<SendingDomain>,
    context: &Context,
    now: Timestamp,
) -> Result<Action, DomainError> {
    if !finalizer::is_set(domain.as_ref()) {
        // The keys go by their owner reference, the relay forgets the domain by its own watch.
        return Ok(Action::await_change());
    }
    let Some(_permit) = context.publishing.permit() else {
        return Ok(Action::requeue(TURN));
    };
    if let Some((publication, target)) = published(domain)
        && let Err(why) = take_away(domain, context, publication, target, now).await?
    {
        let since = domain.metadata.deletion_timestamp.as_ref();
        let waited = since.map(|since| now.duration_since(since.0));
        let namespace = domain.namespace().unwrap_or_default();
        if !gives_up(
            waited,
            why.is_final,
            context.stores.is_terminating(&namespace),
        ) {
            tracing::warn!(
                namespace,
                domain = domain.name_any(),
                why = why.text,
                "records cannot be removed yet"
            );
            return Ok(Action::requeue(AGAIN));
        }
        let names: Vec<&str> = publication
            .records
            .iter()
            .map(|record| record.name.as_str())
            .collect();
        let note = format!(
            "records stay in DNS, remove them by hand: {}; {}",
            names.join(", "),
            why.text
        );
        let recorder = &context.recorder;
        events::warning(
            recorder,
            domain.as_ref(),
            RECORDS_LEFT,
            events::RECONCILE,
            &note,
        )
        .await;
    }
    finalizer::remove(&context.client, domain.as_ref())
        .await
        .map_err(|source| DomainError::Finalizer(Box::new(source)))?;
    Ok(Action::await_change())
}

/// Whether the domain goes without its records. In a namespace that goes, a Secret that is gone does not come back.
fn gives_up(waited: Option<SignedDuration>, is_final: bool, is_terminating: bool) -> bool {
    (is_final && is_terminating) || waited.is_some_and(|waited| waited >= PATIENCE)
}

fn published(domain: &SendingDomain) -> Option<(&Publication, &Rfc2136)> {
    let publication = former(domain)?;
    let target = publication.rfc2136.as_ref()?;
    (!publication.records.is_empty()).then_some((publication, target))
}

struct Why {
    text: String,
    /// Nothing of it passes by itself.
    is_final: bool,
}

async fn take_away(
    domain: &SendingDomain,
    context: &Context,
    publication: &Publication,
    target: &Rfc2136,
    now: Timestamp,
) -> Result<Result<(), Why>, DomainError> {
    let name = &target.tsig_secret_ref.name;
    let lacking = |text: String| {
        Ok(Err(Why {
            text,
            is_final: true,
        }))
    };
    let Some(data) = read_secret(domain, context, name).await? else {
        return lacking(format!("there is no Secret {name} with the TSIG key"));
    };
    let signer = match tsig::read(&data) {
        Ok(signer) => signer,
        Err(error) => return lacking(format!("Secret {name} {error}")),
    };
    let zone = wanted::zone(domain, target);
    let place = server::Place {
        host: &target.server,
        port: target.port.and_then(|port| u16::try_from(port).ok()),
        zone: &zone,
    };
    let taken = server::take_away(&context.dns, place, &signer, &publication.records, now).await;
    Ok(taken.map_err(|fault| Why {
        text: fault.to_string(),
        is_final: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_name_server_holds_a_domain_for_five_minutes_and_a_secret_that_went_with_the_namespace_not_at_all()
     {
        let after = |minutes| Some(SignedDuration::from_mins(minutes));
        assert!(!gives_up(after(4), false, false) && !gives_up(after(4), false, true));
        assert!(gives_up(after(5), false, false));
        assert!(gives_up(after(0), true, true));
        // The Secret may be made again.
        assert!(!gives_up(after(0), true, false) && !gives_up(None, true, false));
    }
}
