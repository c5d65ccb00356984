//! The receiving mail server: a real Postfix that asks a real OpenDKIM for its verdict on every
//! message, and delivers into Maildirs that the tests read.
//!
//! Each receiver is an instance of its own, with its own address, configuration, queue and mail in
//! a temporary directory, so that one can be down while others serve. The two daemons are children
//! of a small supervisor that ends them when the harness lets go of its standard input, also when
//! the harness itself is killed.

mod configuration;
pub(crate) mod mailbox;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

pub use mailbox::{Delivered, Verdict};

use crate::peers::Host;
use crate::{prerequisites, wait};

/// Starting takes a second on an idle machine.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Ending likewise; Postfix lets open sessions finish their command.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Ends both daemons when its standard input ends, and then removes the directory unless it was told
/// a word before: so nothing is left also when the harness is killed.
const SUPERVISOR: &str = r#"
opendkim -f -x "$1/opendkim.conf" & verifier=$!
postfix -c "$1/postfix" start-fg & mail=$!
read -r keep
read -r master < "$1/spool/pid/master.pid"
kill -TERM "$verifier" "$mail" $master
wait
[ -n "$keep" ] || rm -rf "$1"
"#;

/// What a receiver is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Host name, as in the MX record.
    pub host: String,
    /// Address to listen at; the port is always 25.
    pub address: Ipv4Addr,
    /// Name server at which signatures' keys are looked up.
    pub resolver: Ipv4Addr,
    /// Recipients as `local@domain`. A local part that ends in `*` stands for all that begin so;
    /// they share one mailbox. Every other address of these domains is refused with 550.
    pub recipients: Vec<String>,
    /// What only some tests ask of it.
    pub more: More,
}

/// What only some tests ask of a receiver.
#[derive(Clone, Debug, Default)]
pub struct More {
    /// Other hosts that this server is, besides the plan's own.
    pub hosts: Vec<Host>,
    /// Recipients that are refused with 450 at the first try; no patterns.
    pub greylisted: Vec<String>,
    /// Octets of the largest message; Postfix's own default when absent.
    pub size_limit: Option<u32>,
}

/// A receiving mail server.
#[derive(Debug)]
pub struct Receiver {
    plan: Plan,
    directory: PathBuf,
    supervisor: Option<Child>,
}

impl Receiver {
    /// Prepares and starts a receiver.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        prerequisites::ensure(&["receiver"]).await?;
        if !prerequisites::is_root()? {
            bail!("the receiving mail server listens at port 25 and needs root");
        }
        let directory = tempfile::Builder::new()
            .prefix("mailrelay-receiver-")
            .tempdir()?
            .keep();
        configuration::write(&directory, &plan)
            .await
            .context("the receiver's directory cannot be prepared")?;
        let mut receiver = Self {
            plan,
            directory,
            supervisor: None,
        };
        receiver.resume().await?;
        Ok(receiver)
    }

    /// Starts again after [`Self::stop`], with mail and queue as they were.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        // Postfix shares a port with another one, which would get every second connection.
        ensure!(
            TcpStream::connect(self.address()).await.is_err(),
            "something listens at {} already",
            self.address()
        );
        let log = std::fs::File::create(self.path("supervisor.log"))?;
        let child = Command::new("sh")
            .args(["-c", SUPERVISOR, "receiver"])
            .arg(&self.directory)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the receiver cannot be started")?;
        self.supervisor = Some(child);
        wait::for_port(self.address(), START_LIMIT)
            .await
            .with_context(|| format!("the receiver does not start:\n{}", self.log()))?;
        let socket = self.path("verifier/socket");
        wait::until("the verifier's socket", START_LIMIT, || async {
            if socket.exists() {
                Ok(())
            } else {
                Err(format!("no {}", socket.display()))
            }
        })
        .await
        .with_context(|| format!("OpenDKIM does not start:\n{}", self.log()))
    }

    /// Ends both daemons and waits until they are gone: connections are refused from here on.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut supervisor) = self.supervisor.take() else {
            return Ok(());
        };
        if let Some(mut stdin) = supervisor.stdin.take() {
            stdin.write_all(b"keep\n").await?;
        }
        tokio::time::timeout(STOP_LIMIT, supervisor.wait())
            .await
            .with_context(|| format!("the receiver does not end:\n{}", self.log()))??;
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.plan.address, 25))
    }

    /// The mail delivered so far for a recipient of the plan, oldest first.
    pub fn mailbox(&self, recipient: &str) -> anyhow::Result<Vec<Delivered>> {
        mailbox::read(&self.mailbox_directory(recipient)?)
    }

    /// How many messages a recipient of the plan has.
    pub fn count(&self, recipient: &str) -> anyhow::Result<usize> {
        mailbox::count(&self.mailbox_directory(recipient)?)
    }

    /// Waits until a recipient of the plan has at least `number` messages, and returns all.
    pub async fn expect(
        &self,
        recipient: &str,
        number: usize,
        limit: Duration,
    ) -> anyhow::Result<Vec<Delivered>> {
        let awaited = format!("{number} messages for {recipient}");
        wait::until(&awaited, limit, || async {
            match self.count(recipient) {
                Ok(count) if count >= number => Ok(()),
                Ok(count) => Err(format!("{count} messages")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
        .with_context(|| format!("the receiver says:\n{}", self.log()))?;
        self.mailbox(recipient)
    }

    /// The last lines of the daemons' logs, for errors.
    pub fn log(&self) -> String {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(20)..].join("\n")
        };
        format!("{}\n{}", tail("supervisor.log"), tail("log/mail.log"))
    }

    fn mailbox_directory(&self, recipient: &str) -> anyhow::Result<PathBuf> {
        if !self.plan.recipients.iter().any(|known| known == recipient) {
            bail!("{recipient} is no recipient of {}", self.plan.host);
        }
        Ok(self
            .path("mail")
            .join(configuration::mailbox_name(recipient))
            .join("new"))
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Receiver {
    /// A running receiver's directory is removed by its supervisor, when the daemons are gone.
    fn drop(&mut self) {
        if self.supervisor.is_none() {
            // A leftover below the temporary directory is no reason to fail.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
