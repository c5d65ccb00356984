//! The decision, pure.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;

/// A Lease, and when this process first saw it in this form.
pub(super) struct Observed {
    pub(super) lease: Lease,
    since: Instant,
}

impl Observed {
    /// What is known after `lease` was read at `now`.
    pub(super) fn update(before: Option<Self>, lease: Lease, now: Instant) -> Self {
        let since = before
            .filter(|before| before.lease.spec == lease.spec)
            .map_or(now, |before| before.since);
        Self { lease, since }
    }

    /// Who holds it, if anybody.
    pub(super) fn holder(&self) -> Option<&str> {
        self.lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref())
            .filter(|holder| !holder.is_empty())
    }

    /// How long the Lease counts: what its holder wrote, but never less than our own.
    fn duration(&self, own: Duration) -> Duration {
        let written = self
            .lease
            .spec
            .as_ref()
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs);
        // A holder that wrote years would keep everybody out; ten minutes is generous.
        written
            .unwrap_or(own)
            .clamp(own, Duration::from_mins(10).max(own))
    }
}

/// What to do in this round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is no Lease.
    Create,
    /// It is ours.
    Renew,
    /// It is nobody's, or its holder has not renewed it for as long as we have looked.
    Take,
    /// Somebody else's.
    Wait,
}

pub(super) fn decide(
    observed: Option<&Observed>,
    identity: &str,
    duration: Duration,
    now: Instant,
) -> Decision {
    let Some(observed) = observed else {
        return Decision::Create;
    };
    match observed.holder() {
        None => Decision::Take,
        Some(holder) if holder == identity => Decision::Renew,
        Some(_) if now.duration_since(observed.since) > observed.duration(duration) => {
            Decision::Take
        }
        Some(_) => Decision::Wait,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn lease(holder: Option<&str>, renewed: i64) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    const DURATION: Duration = Duration::from_secs(15);

    #[test]
    fn a_candidate_takes_only_what_is_free_or_was_not_renewed_while_it_looked() {
        let start = Instant::now();
        let rows = [
            (None, 0, Decision::Create),
            (Some(lease(None, 5)), 0, Decision::Take),
            (Some(lease(Some(""), 5)), 0, Decision::Take),
            (Some(lease(Some("me"), 5)), 0, Decision::Renew),
            (Some(lease(Some("other"), 5)), 0, Decision::Wait),
            (Some(lease(Some("other"), 5)), 15, Decision::Wait),
            (Some(lease(Some("other"), 5)), 16, Decision::Take),
        ];
        for (lease, later, expected) in rows {
            let observed = lease.map(|lease| Observed::update(None, lease, start));
            let now = start + Duration::from_secs(later);
            assert_eq!(decide(observed.as_ref(), "me", DURATION, now), expected);
        }
    }

    #[test]
    fn a_renewal_that_is_seen_starts_the_wait_anew_whatever_its_time_says() {
        let start = Instant::now();
        let first = Observed::update(None, lease(Some("other"), 5), start);
        // The holder's clock runs years behind ours: only the change counts.
        let later = start + Duration::from_secs(14);
        let second = Observed::update(Some(first), lease(Some("other"), 7), later);
        let now = start + Duration::from_secs(20);
        assert_eq!(decide(Some(&second), "me", DURATION, now), Decision::Wait);
    }
}
