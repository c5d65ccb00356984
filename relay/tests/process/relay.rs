//! Starting, watching and ending the binary.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use relay_config::ScramVerifier;
use serde_json::{Value, json};

use crate::authority::Authority;

/// For anything that is waited for; far more than it takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const PASSWORD: &str = "blue-otter-42";
pub(crate) const HOSTNAME: &str = "outbox.test";

/// A directory with a configuration.
pub(crate) struct Setup {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) config: Value,
}

impl Setup {
    /// Three listeners, one domain, one credential `billing`, everything to `receiver`.
    pub(crate) fn new(receiver: SocketAddr) -> Self {
        let authority = Authority::new();
        let config = json!({
            "version": 1,
            "relay": "shop/outbox",
            "hostname": HOSTNAME,
            "listeners": [
                {"name": "submission", "address": "127.0.0.1:0", "tls": "StartTls"},
                {"name": "submissions", "address": "127.0.0.1:0", "tls": "Implicit"},
                {"name": "open", "address": "127.0.0.1:0", "tls": "None",
                 "authentication": "None", "clients": ["127.0.0.0/8"]},
            ],
            "tls": {"certificate": "tls.crt", "key": "tls.key"},
            "queue": {"directory": "queue"},
            "health": {"address": "127.0.0.1:0"},
            "delivery": {
                "smarthosts": [{
                    "host": receiver.ip().to_string(), "port": receiver.port(), "tls": "None",
                }],
                "retry": {"initial": "500ms", "maximum": "1s"},
            },
            "domains": [{"name": "shop.example", "senders": ["*"]}],
            "credentials": [credential("billing", PASSWORD)],
        });
        let setup = Self {
            directory: tempfile::tempdir().unwrap(),
            authority,
            config,
        };
        setup.renew_certificate();
        setup.write();
        setup
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a new certificate of the same authority in place, each file in one step.
    pub(crate) fn renew_certificate(&self) {
        let leaf = self.authority.leaf(HOSTNAME);
        self.replace("tls.crt", leaf.certificate.as_bytes());
        self.replace("tls.key", leaf.key.as_bytes());
    }

    /// Puts the configuration in place in one step.
    pub(crate) fn write(&self) {
        self.replace("relay.json", self.config.to_string().as_bytes());
    }

    pub(crate) fn replace(&self, name: &str, content: &[u8]) {
        let new = self.path(&format!("{name}.new"));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    pub(crate) fn start(&self) -> Relay {
        self.start_with(&[])
    }

    /// Does not wait until it is ready.
    pub(crate) fn launch(&self) -> Relay {
        Relay::launch(&self.path("relay.json"), &[])
    }

    /// With settings in the environment.
    pub(crate) fn start_with(&self, environment: &[(&str, &str)]) -> Relay {
        Relay::start(&self.path("relay.json"), environment)
    }
}

/// A credential in the form of the configuration.
pub(crate) fn credential(username: &str, password: &str) -> Value {
    let verifier = ScramVerifier::derive(password, b"salt of a test!!", 4096).to_string();
    json!({"username": username, "identity": format!("shop/{username}"), "verifiers": [verifier]})
}

/// A DKIM key (RFC 8463 appendix A) in the form of the configuration.
pub(crate) fn dkim_key() -> Value {
    let seed = base64::engine::general_purpose::STANDARD
        .decode("MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g")
        .unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(seed);
    json!({
        "selector": "winter",
        "algorithm": "Ed25519Sha256",
        "privateKey": format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"),
    })
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    command
        .env_remove("RUST_LOG")
        .env("RELAY_LOG_FORMAT", "json");
    command
}

/// A running relay. Killed when dropped.
pub(crate) struct Relay {
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<Value>, bool)>,
    more: Condvar,
}

impl Relay {
    /// Starts and waits until it says that it is ready.
    pub(crate) fn start(config: &Path, environment: &[(&str, &str)]) -> Self {
        let relay = Self::launch(config, environment);
        relay.logged("ready");
        relay
    }

    fn launch(config: &Path, environment: &[(&str, &str)]) -> Self {
        let mut child = command()
            .envs(environment.iter().copied())
            .arg("serve")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let errors = BufReader::new(child.stderr.take().unwrap());
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|_| json!({"raw": line}));
                shared.lines.lock().unwrap().0.push(value);
                shared.more.notify_all();
            }
            shared.lines.lock().unwrap().1 = true;
            shared.more.notify_all();
        });
        Self { child, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first log line with this message, now or later.
    pub(crate) fn logged(&self, message: &str) -> Value {
        self.wait_for(&format!("log line {message:?}"), |line| {
            line["message"] == message
        })
    }

    /// The first log line that `wanted` picks, now or later.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.0.iter().find(|line| wanted(line)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !lines.1, "no {what} in {:#?}", lines.0);
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// All log lines so far as text.
    pub(crate) fn log_text(&self) -> String {
        let lines = self.log.lines.lock().unwrap();
        let lines: Vec<String> = lines.0.iter().map(Value::to_string).collect();
        lines.join("\n")
    }

    /// The address that was bound for a field of the configuration.
    pub(crate) fn address(&self, field: &str) -> SocketAddr {
        let line = self.wait_for(field, |line| {
            line["message"] == "bound" && line["field"] == field
        });
        line["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn submission(&self) -> SocketAddr {
        self.address("listeners[0].address")
    }

    pub(crate) fn submissions(&self) -> SocketAddr {
        self.address("listeners[1].address")
    }

    pub(crate) fn open(&self) -> SocketAddr {
        self.address("listeners[2].address")
    }

    pub(crate) fn health(&self) -> SocketAddr {
        self.address("health.address")
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = self.pid().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// SIGKILL: no chance to tidy up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "still running: {}",
                self.log_text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
