//! Puts changed files in force without a restart.
//!
//! Once a second the files' metadata is looked at, following symbolic links, so that the kubelet's
//! swap of a whole directory counts; when it changed, or after [`RETRY`] with an error, or after
//! [`RECHECK`] in any case, everything is read and compared by its hash. A configuration that
//! cannot be used leaves the last good one in force and says why, once, in the log and for as long
//! as it lasts in the status.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay_config::{BUCKETS, Config, bucket_file};
use relay_queue::Timestamp;

use crate::context::{ConfigState, Context, SharedContext, now};
use crate::snapshot::{Snapshot, SnapshotError};

/// Between two looks at the files.
const POLL: Duration = Duration::from_secs(1);
/// Between two readings while the files are in error: a file that the broken configuration names
/// first may appear without any known file changing.
const RETRY: Duration = Duration::from_secs(5);
/// Between two readings of files whose metadata stays the same.
const RECHECK: Duration = Duration::from_mins(1);
/// A certificate that runs out within this many days is worth a warning.
const EXPIRY_NOTICE_DAYS: i64 = 7;

/// Watches the configuration at `path` until the relay stops.
pub(crate) async fn run(context: SharedContext, path: PathBuf) {
    let mut watch = Watch::new(path);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            () = tokio::time::sleep(POLL) => {}
        }
        let context = Arc::clone(&context);
        // Reading files and parsing keys must not stop sessions.
        let looked = tokio::task::spawn_blocking(move || {
            watch.look(&context, Instant::now());
            watch
        });
        match looked.await {
            Ok(back) => watch = back,
            Err(error) => {
                // Only a panic ends up here. Without the watch there is no reload; the
                // configuration in force stays.
                tracing::error!(%error, "the configuration is no longer watched; restart the relay");
                return;
            }
        }
    }
}

/// What was seen of the files so far.
struct Watch {
    path: PathBuf,
    seen: Vec<Option<Stamp>>,
    read_at: Instant,
    /// The last error that was logged.
    error: Option<String>,
}

/// Metadata that changes when content does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Watch {
    /// Nothing was seen yet: the files may have changed since the relay read them at its start, so
    /// the first look reads them again.
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            seen: Vec::new(),
            read_at: Instant::now(),
            error: None,
        }
    }

    /// One look, with a reload if it is due.
    fn look(&mut self, context: &Context, instant: Instant) {
        let running = context.snapshot.load_full();
        // Before reading: what changes while it is read changes the stamps of the next look.
        let seen = stamps(&self.path, &running.config);
        let since = instant.saturating_duration_since(self.read_at);
        let retry = self.error.is_some() && since >= RETRY;
        if seen == self.seen && !retry && since < RECHECK {
            return;
        }
        (self.seen, self.read_at) = (seen, instant);
        match Snapshot::load(&self.path, Some(&running)) {
            Ok(next) if next.hash == running.hash => self.settled(context),
            Ok(next) => self.put_in_force(context, &running, next),
            Err(error) => self.refuse(context, &error),
        }
    }

    /// The files are those in force (again).
    fn settled(&mut self, context: &Context) {
        if self.error.take().is_some() {
            context.config.lock().refused = None;
            tracing::info!("the configuration files are those in force again");
        }
    }

    fn put_in_force(&mut self, context: &Context, running: &Snapshot, mut next: Snapshot) {
        let restart = keep_what_needs_a_restart(&running.config, &mut next.config);
        let next = Arc::new(next);
        context.snapshot.store(Arc::clone(&next));
        context.reloaded.send_modify(|generation| *generation += 1);
        context.metrics.reload("ok");
        *context.config.lock() = ConfigState {
            refused: None,
            restart: restart.clone(),
            since: now(),
        };
        self.error = None;
        // Said once it is true, for whoever waits for it.
        tracing::info!(
            hash = %next.hash,
            domains = next.domains.len(),
            credentials = next.credentials.len(),
            "configuration reloaded"
        );
        if let Some(fields) = restart {
            tracing::warn!("{fields}");
        }
        warn_of_expiry(&next, now());
    }

    fn refuse(&mut self, context: &Context, error: &SnapshotError) {
        let text = error.to_string();
        if self.error.as_ref() == Some(&text) {
            return;
        }
        tracing::error!(
            error = text,
            "the changed configuration cannot be used; the last good one stays in force"
        );
        context.metrics.reload("refused");
        context.config.lock().refused = Some(text.clone());
        self.error = Some(text);
    }
}

/// Logs what has run out, or soon will.
pub(crate) fn warn_of_expiry(snapshot: &Snapshot, now: Timestamp) {
    for warning in notices(snapshot, now) {
        tracing::warn!("{warning}");
    }
}

/// What there is to say of a configuration that can be used: of the listeners' certificate, and of
/// overrides that have no effect any more.
pub(crate) fn notices(snapshot: &Snapshot, now: Timestamp) -> Vec<String> {
    let at = i64::try_from(now.0).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::MAX);
    let expired = snapshot.config.delivery.expired_overrides(at);
    let overrides = expired.map(|(index, one)| {
        format!(
            "delivery.tlsOverrides[{index}]: that for {} expired at {} and has no effect; remove it, \
             or give it a new date",
            one.domain, one.expires
        )
    });
    expiry(snapshot, now).into_iter().chain(overrides).collect()
}

/// What there is to say of the age of the listeners' certificate.
fn expiry(snapshot: &Snapshot, now: Timestamp) -> Option<String> {
    const DAY: i64 = 86_400;
    let expires = snapshot.certificate_expires_at()?;
    let left = expires - i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    if left <= 0 {
        Some("tls.certificate: has expired; clients will refuse it, renew it now".into())
    } else if left < EXPIRY_NOTICE_DAYS * DAY {
        Some(format!(
            "tls.certificate: expires in {} days; renew it",
            left / DAY
        ))
    } else {
        None
    }
}

/// Replaces in `next` what only a restart can change by what is running; says so if it differs.
fn keep_what_needs_a_restart(running: &Config, next: &mut Config) -> Option<String> {
    let mut fields = Vec::new();
    let bound = |config: &Config| -> BTreeSet<_> {
        config
            .listeners
            .iter()
            .map(|listener| (listener.name.clone(), listener.address))
            .collect()
    };
    if bound(running) == bound(next) {
        // The running tasks count by position.
        let order = |name: &str| running.listeners.iter().position(|old| old.name == name);
        next.listeners.sort_by_key(|listener| order(&listener.name));
    } else {
        next.listeners.clone_from(&running.listeners);
        fields.push("listeners (names or addresses)");
    }
    if next.queue != running.queue {
        next.queue.clone_from(&running.queue);
        fields.push("queue");
    }
    if next.health != running.health {
        next.health.clone_from(&running.health);
        fields.push("health.address");
    }
    // Which of them this one is was settled at the start.
    if running.siblings.is_none() && next.siblings.take().is_some() {
        fields.push("siblings");
    }
    let admin = |config: &Config| config.admin.as_ref().map(|admin| admin.address);
    if admin(next) != admin(running) {
        fields.push("admin.address");
    }
    if fields.is_empty() {
        return None;
    }
    Some(format!(
        "{}: changed, but only a restart puts that in force; everything else is in force",
        fields.join(", ")
    ))
}

/// Stamps of all files that `config` at `path` is made of, in a fixed order.
fn stamps(path: &Path, config: &Config) -> Vec<Option<Stamp>> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let buckets = config
        .buckets
        .iter()
        .flat_map(|buckets| (0..BUCKETS).map(|index| buckets.join(bucket_file(index))));
    let files = buckets
        .chain(config.pem_files())
        .map(|file| directory.join(file));
    // The kubelet's link itself, in case a file is new in the next generation.
    let link = directory.join("..data");
    [path.to_path_buf(), link]
        .into_iter()
        .chain(files)
        .map(|file| stamp(&file))
        .collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = "version: 1\nrelay: a\nhostname: a.example\nlisteners:\n\
        - {name: first, address: '127.0.0.1:2525', tls: None}\n\
        - {name: second, address: '127.0.0.1:2587', tls: None}\n";

    fn config(text: &str) -> Config {
        let name = Path::new("relay.yaml");
        let mut source = std::collections::BTreeMap::from([(name.to_path_buf(), text.into())]);
        source.extend(["a", "b", "c"].map(|file| (file.into(), Vec::new())));
        relay_config::parse_files(name, &source).unwrap().config
    }

    #[test]
    fn only_what_a_restart_must_change_is_kept_and_named() {
        let running = config(RUNNING);
        let rows = [
            (RUNNING.to_owned(), None),
            (RUNNING.replace("hostname: a", "hostname: b"), None),
            (
                RUNNING.replace(
                    "first, address: '127.0.0.1:2525', tls: None",
                    "first, address: '127.0.0.1:2525', tls: None, clients: [10.0.0.0/8]",
                ),
                None,
            ),
            (
                RUNNING.replace(":2587", ":2588"),
                Some("listeners (names or addresses)"),
            ),
            (
                RUNNING.replace("second", "third"),
                Some("listeners (names or addresses)"),
            ),
            (format!("{RUNNING}queue: {{messages: 7}}\n"), Some("queue")),
            (
                format!("{RUNNING}health: {{address: '[::]:81'}}\n"),
                Some("health.address"),
            ),
            (
                format!(
                    "{RUNNING}admin: {{address: '[::]:82', certificate: a, key: b, \
                     clientAuthority: c}}\nsiblings: {{hosts: [x.test], serverName: y.test}}\n"
                ),
                Some("siblings, admin.address"),
            ),
        ];
        for (text, expected) in rows {
            let mut next = config(&text);
            let said = keep_what_needs_a_restart(&running, &mut next);
            match expected {
                None => assert_eq!(said, None, "{text}"),
                Some(field) => {
                    let said = said.unwrap();
                    assert!(said.starts_with(&format!("{field}: changed")), "{said}");
                    assert_eq!(next.listeners, running.listeners);
                    assert_eq!(next.queue, running.queue);
                    assert_eq!(next.health, running.health);
                    assert_eq!(next.siblings, None);
                }
            }
        }
    }

    #[test]
    fn listeners_in_another_order_stay_with_their_sockets() {
        let running = config(RUNNING);
        let mut next = config(
            "version: 1\nrelay: a\nhostname: a.example\nlisteners:\n\
            - {name: second, address: '127.0.0.1:2587', tls: None}\n\
            - {name: first, address: '127.0.0.1:2525', tls: None, clients: [10.0.0.0/8]}\n",
        );
        assert_eq!(keep_what_needs_a_restart(&running, &mut next), None);
        let names: Vec<_> = next
            .listeners
            .iter()
            .map(|listener| &*listener.name)
            .collect();
        assert_eq!(names, ["first", "second"]);
        assert_eq!(next.listeners[0].clients.len(), 1);
    }
}
