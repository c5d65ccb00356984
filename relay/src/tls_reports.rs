//! TLS reports (RFC 8460): what became of TLS with the servers of each domain is counted, and told once
//! a day to the domains that ask for it.
//!
//! Every shard counts. Shard 0 reports for all, since it is the one that a relay always has; the others
//! hand their counts to it within seconds, and keep them while it is away. That a report's sending
//! begins is written down before it begins, so that no domain is mailed two of them for one day, whatever
//! crashes when: a report that a crash falls into is lost, which is better. A place that takes reports
//! over HTTPS may get one again after a crash, under the same id.

mod document;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod ledger;
mod mail;
mod record;
mod results;
mod session;
mod store;

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;

use parking_lot::Mutex;
use relay_queue::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use document::{Document, Submitter, build as document};
use ledger::Progress;
pub(crate) use mail::{Letter, build as letter};
pub(crate) use record::{Place, places};
pub(crate) use results::{Day, Failure, Policies, Policy, PolicyType, ResultType};
pub(crate) use session::Ending;
pub(crate) use store::Batch;
use store::{State, Store};

/// Where shards hand their counts in, on the admin port of the shard that reports for all.
pub(crate) const HANDED_IN: &str = "/v1/siblings/tls-results";

/// Counts are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedIn {
    /// How many came after their report was made, and are in none.
    pub(crate) late: usize,
}

/// Octets of one hand-in, roughly.
const BATCH_OCTETS: usize = 256 * 1024;

/// The policy that a session is held against, and what is known of it before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The recipients' domain.
    pub(crate) domain: Arc<str>,
    pub(crate) policy: Policy,
    /// The policy itself is at fault, whatever the session brings.
    pub(crate) fault: Option<ResultType>,
}

/// Whose session it is.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) basis: Arc<Basis>,
    pub(crate) host: Arc<str>,
    pub(crate) address: IpAddr,
    /// From where, if that is known.
    pub(crate) from: Option<IpAddr>,
    /// What an MTA-STS policy in testing would have said of the certificate.
    pub(crate) judged: Arc<OnceLock<Ending>>,
    pub(crate) reports: Arc<TlsReports>,
}

impl Watch {
    /// Counts the session.
    pub(crate) fn note(&self, ending: &Ending, now: Timestamp) {
        let basis = &self.basis;
        let fault = basis.fault.map(Failure::of);
        let ending = match ending {
            Ending::Good => self.judged.get().unwrap_or(ending),
            other => other,
        };
        let failure = fault.or_else(|| ending.failure()).map(|failure| Failure {
            sending_mta_ip: self.from.filter(|from| session::is_public(*from)),
            receiving_mx_hostname: Some(self.host.to_string()),
            receiving_ip: Some(self.address),
            ..failure
        });
        self.reports.note(basis, failure, now);
    }
}

/// All counts, and how far the reports are.
#[derive(Debug)]
pub(crate) struct TlsReports {
    state: Mutex<State>,
    /// Locked before the state, where both are.
    store: Mutex<Store>,
    started: Timestamp,
}

impl TlsReports {
    /// Reads what is in the queue's `directory`; also how many records could not be read.
    pub(crate) fn open(directory: &Path, now: Timestamp) -> io::Result<(Self, u64)> {
        let (store, state, damaged) = Store::open(directory)?;
        let this = Self {
            state: Mutex::new(state),
            store: Mutex::new(store),
            started: now,
        };
        Ok((this, damaged))
    }

    /// Counts one session, or one host that was not used for what its policy says.
    pub(crate) fn note(&self, basis: &Basis, failure: Option<Failure>, now: Timestamp) {
        let mut state = self.state.lock();
        let day = Day::of(now);
        state
            .results
            .note(day, &basis.domain, &basis.policy, failure);
        state.changed = true;
    }

    /// Adds what another shard counted; durable when it returns. How many of its counts came too
    /// late, or `None` when it was in before.
    pub(crate) fn take_in(&self, batch: Batch) -> io::Result<Option<usize>> {
        let mut store = self.store.lock();
        if self.state.lock().has(&batch.id) {
            return Ok(None);
        }
        store.add_batch(&batch)?;
        let mut state = self.state.lock();
        // The journal is written anew in time.
        state.changed = true;
        Ok(state.take_in(batch))
    }

    /// What is to be handed to the shard that reports for all, if there is anything; the same until [`Self::handed_in`].
    pub(crate) fn outgoing(&self) -> Option<Batch> {
        self.state
            .lock()
            .next_outgoing(BATCH_OCTETS, || format!("{:032x}", fastrand::u128(..)))
    }

    /// That shard has it.
    pub(crate) fn handed_in(&self, id: &str) {
        let mut state = self.state.lock();
        state.outgoing.take_if(|batch| batch.id == id);
        state.changed = true;
    }

    /// The reports for which something is to be done.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<(Day, String)> {
        let state = self.state.lock();
        let is_due =
            |(day, domain): &(Day, &str)| state.ledger.is_due(*day, domain, self.started, now);
        let due = state.results.keys().filter(is_due);
        due.map(|(day, domain)| (day, domain.to_owned())).collect()
    }

    /// What was counted of a domain, and the HTTPS places that have not taken the report; `None` for
    /// these before its sending has begun.
    pub(crate) fn report(&self, day: Day, domain: &str) -> Option<(Policies, Option<Vec<String>>)> {
        let state = self.state.lock();
        let policies = state.results.of(day, domain)?.clone();
        let progress = state.ledger.get(day, domain);
        Some((policies, progress.begun.then_some(progress.open)))
    }

    /// Its sending has begun, and these places over HTTPS have not taken it; durable when it returns.
    pub(crate) fn begin(&self, day: Day, domain: &str, open: Vec<String>) -> io::Result<()> {
        let mut store = self.store.lock();
        let mut state = self.state.lock();
        let progress = Progress {
            begun: true,
            open,
            ..state.ledger.get(day, domain)
        };
        // The state is locked for the time of a small write: nothing may be counted in between.
        store.add_report(day, domain, &progress)?;
        if progress.is_done() {
            state.results.forget(day, domain);
        }
        state.ledger.set(day, domain, progress);
        Ok(())
    }

    /// A try failed; whether there will be another.
    pub(crate) fn failed(&self, day: Day, domain: &str, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let again = state.ledger.failed(day, domain, now).is_some();
        if !again {
            state.results.forget(day, domain);
        }
        state.changed = true;
        again
    }

    /// Writes what is not on the disk yet, without what is over.
    pub(crate) fn flush(&self, now: Timestamp) -> io::Result<()> {
        let mut store = self.store.lock();
        let records = {
            let mut state = self.state.lock();
            state.sweep(now);
            if !std::mem::replace(&mut state.changed, false) {
                return Ok(());
            }
            state.records()
        };
        let result = store.rewrite(&records);
        if result.is_err() {
            self.state.lock().changed = true;
        }
        result
    }

    /// Domains and days of which something is known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state.lock().results.keys().count()
    }
}
