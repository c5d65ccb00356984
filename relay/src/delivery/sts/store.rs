//! The policies that are known, in memory and on disk.
//!
//! One file per domain, named by a hash of it, written beside and moved into place. A file is believed
//! only if its checksum fits, it is about the domain that its name says, and its policy still reads as
//! one; every other file of that form is deleted. A directory that cannot be written costs the policies at
//! the next start, and is logged.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use relay_queue::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{Policy, PolicyError};

/// Policies that are kept at most; the oldest go first.
const ENTRIES: usize = 5_000;
/// How many go at a time.
const SURPLUS: usize = 100;
/// Octets of a file: those of a policy, escaped at worst sixfold, and what stands beside it.
const FILE: u64 = 400 * 1024;
const SUFFIX: &str = ".json";
/// Of a file that is being written.
const UNFINISHED: &str = ".json.new";

/// A policy with where it comes from.
#[derive(Debug)]
pub(in crate::delivery) struct Entry {
    domain: String,
    /// What DNS showed for it.
    pub(super) id: String,
    fetched_at: Timestamp,
    pub(in crate::delivery) policy: Policy,
}

impl Entry {
    pub(super) fn new(
        domain: &str,
        id: &str,
        text: &[u8],
        fetched_at: Timestamp,
    ) -> Result<Self, PolicyError> {
        Ok(Self {
            domain: domain.to_owned(),
            id: id.to_owned(),
            fetched_at,
            policy: Policy::parse(text)?,
        })
    }

    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether the policy still holds. One from the future does not: nobody knows how old it is.
    fn is_valid(&self, now: Timestamp) -> bool {
        self.age(now).is_some_and(|age| age < self.policy.max_age)
    }

    fn age(&self, now: Timestamp) -> Option<Duration> {
        let age = now.0.checked_sub(self.fetched_at.0)?;
        Some(Duration::from_millis(age))
    }

    /// Whether it is time to fetch it again: half of its life is over, or a day.
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        let limit = (self.policy.max_age / 2).min(Duration::from_hours(24));
        self.age(now).is_none_or(|age| age >= limit)
    }
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Saved {
    domain: String,
    id: String,
    fetched_at: u64,
    policy: String,
    /// Over all of the above.
    checksum: String,
}

impl Saved {
    fn checksum(&self) -> String {
        let whole = format!(
            "{}\n{}\n{}\n{}",
            self.domain, self.id, self.fetched_at, self.policy
        );
        hexadecimal(whole.as_bytes())
    }
}

pub(super) struct Store {
    directory: PathBuf,
    entries: Mutex<HashMap<String, Arc<Entry>>>,
}

impl Store {
    /// Reads what is in `directory`.
    pub(super) fn open(directory: PathBuf, now: Timestamp) -> Self {
        let entries = load(&directory, now).unwrap_or_else(|error| {
            let directory = directory.display();
            tracing::warn!(%directory, %error, "MTA-STS policies are not kept over a restart");
            HashMap::new()
        });
        Self {
            directory,
            entries: Mutex::new(entries),
        }
    }

    /// The policy of a domain, if it still holds.
    pub(super) fn get(&self, domain: &str, now: Timestamp) -> Option<Arc<Entry>> {
        let entries = self.entries.lock();
        let entry = entries.get(domain)?;
        entry.is_valid(now).then(|| Arc::clone(entry))
    }

    /// The policies whose time to be fetched again has come.
    pub(super) fn stale(&self, now: Timestamp) -> Vec<Arc<Entry>> {
        let entries = self.entries.lock();
        let stale = entries.values().filter(|entry| entry.is_stale(now));
        stale.cloned().collect()
    }

    /// Forgets what no longer holds.
    pub(super) fn sweep(&self, now: Timestamp) {
        let mut gone = Vec::new();
        self.entries.lock().retain(|domain, entry| {
            let keep = entry.is_valid(now);
            if !keep {
                gone.push(domain.clone());
            }
            keep
        });
        self.delete(&gone);
    }

    /// Takes the place of what was known of its domain. `text` is the policy as it was fetched.
    pub(super) fn put(&self, entry: Entry, text: &[u8]) {
        let saved = Saved {
            domain: entry.domain.clone(),
            id: entry.id.clone(),
            fetched_at: entry.fetched_at.0,
            policy: String::from_utf8_lossy(text).into_owned(),
            checksum: String::new(),
        };
        let saved = Saved {
            checksum: saved.checksum(),
            ..saved
        };
        if let Err(error) = self.write(&saved) {
            let domain = &entry.domain;
            tracing::warn!(domain, %error, "an MTA-STS policy cannot be kept on disk");
        }
        let mut entries = self.entries.lock();
        entries.insert(entry.domain.clone(), Arc::new(entry));
        let gone = surplus(&mut entries);
        drop(entries);
        self.delete(&gone);
    }

    fn write(&self, saved: &Saved) -> io::Result<()> {
        let path = self.path(&saved.domain);
        let beside = path.with_extension("json.new");
        let mut file = fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec(saved)?)?;
        file.sync_data()?;
        fs::rename(beside, path)
    }

    fn delete(&self, domains: &[String]) {
        for domain in domains {
            // A file that stays is judged again at the next start.
            let _ = fs::remove_file(self.path(domain));
        }
    }

    fn path(&self, domain: &str) -> PathBuf {
        self.directory.join(file_name(domain))
    }
}

fn file_name(domain: &str) -> String {
    format!("{}{SUFFIX}", hexadecimal(domain.as_bytes()))
}

fn hexadecimal(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for octet in digest(&SHA256, octets).as_ref() {
        // Writing to a string does not fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// Takes the oldest out when there are too many.
fn surplus(entries: &mut HashMap<String, Arc<Entry>>) -> Vec<String> {
    if entries.len() <= ENTRIES {
        return Vec::new();
    }
    let mut by_age: Vec<(Timestamp, String)> = entries
        .values()
        .map(|entry| (entry.fetched_at, entry.domain.clone()))
        .collect();
    by_age.sort();
    let gone: Vec<String> = by_age.into_iter().take(SURPLUS).map(|one| one.1).collect();
    for domain in &gone {
        entries.remove(domain);
    }
    gone
}

fn load(directory: &Path, now: Timestamp) -> io::Result<HashMap<String, Arc<Entry>>> {
    fs::create_dir_all(directory)?;
    let mut entries = HashMap::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| name.ends_with(SUFFIX) || name.ends_with(UNFINISHED))
        else {
            continue;
        };
        match read(&path, name) {
            Some(entry) if entry.is_valid(now) && entries.len() < ENTRIES => {
                entries.insert(entry.domain.clone(), Arc::new(entry));
            }
            _ => {
                tracing::info!(file = name, "an MTA-STS policy on disk is of no more use");
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(entries)
}

/// The entry in a file, if it is one.
fn read(path: &Path, name: &str) -> Option<Entry> {
    let mut content = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(FILE).read_to_end(&mut content).ok()?;
    let saved: Saved = serde_json::from_slice(&content).ok()?;
    let good = saved.checksum == saved.checksum() && name == file_name(&saved.domain);
    let fetched_at = Timestamp(saved.fetched_at);
    let entry = good.then(|| {
        Entry::new(
            &saved.domain,
            &saved.id,
            saved.policy.as_bytes(),
            fetched_at,
        )
    })?;
    entry.ok()
}

#[cfg(test)]
mod tests;
