//! The operator as a process, told of an API server by a kubeconfig.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use crate::cluster::OPERATOR_NAMESPACE;
use crate::wait;

/// A stop waits for running reconciles, and for the Lease.
const STOP_LIMIT: Duration = Duration::from_secs(30);
const READY_LIMIT: Duration = Duration::from_mins(2);

/// A running operator; ends, killed, with this.
pub struct Operator {
    child: Child,
    health: SocketAddr,
    log: PathBuf,
    /// Octets of the log that are of an earlier process.
    before: usize,
}

impl Operator {
    /// Starts `binary`. Its log is appended to `LOGS/operator-IDENTITY.log`.
    pub fn start(
        binary: &Path,
        kubeconfig: &Path,
        identity: &str,
        logs: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let [health] = super::ports::<1>()?;
        let path = logs.join(format!("operator-{identity}.log"));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&path)?;
        let before = usize::try_from(log.metadata()?.len())?;
        let child = Command::new(binary)
            .args(["run", "--relay-image=relay.example/relay:test"])
            .args([
                "--operator-namespace",
                OPERATOR_NAMESPACE,
                "--identity",
                identity,
            ])
            .arg(format!("--health-address={health}"))
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env(
                "RUST_LOG",
                std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned()),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        Ok(Self {
            child,
            health,
            log: path,
            before,
        })
    }

    /// Process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Resident memory in octets: now, and at its highest (proc(5)).
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        super::usage::memory(self.child.id().context("the operator has ended")?)
    }

    /// CPU time used so far, in seconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        super::usage::cpu(self.child.id().context("the operator has ended")?)
    }

    /// What `/metrics` says.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.health).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Waits until this operator leads: it says so, and its caches are filled.
    pub async fn leads(&self) -> anyhow::Result<()> {
        wait::until("an operator that leads", READY_LIMIT, || async {
            let text = self.whole_log().map_err(|error| error.to_string())?;
            if text.contains("caches are filled") {
                Ok(())
            } else {
                Err(self.log())
            }
        })
        .await
    }

    /// Ends it as Kubernetes does, and waits until it has ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let status = tokio::time::timeout(STOP_LIMIT, self.child.wait())
            .await
            .context("the operator does not stop")??;
        if !status.success() {
            bail!(
                "the operator ended with {status}:\n{}",
                super::tail(&self.log)
            );
        }
        Ok(())
    }

    /// Ends it at once, as when its node loses power.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .await
            .context("the operator cannot be killed")
    }

    /// Waits until it has ended by itself; its exit code.
    pub async fn ended(&mut self, limit: Duration) -> anyhow::Result<Option<i32>> {
        let status = tokio::time::timeout(limit, self.child.wait())
            .await
            .with_context(|| format!("the operator goes on:\n{}", super::tail(&self.log)))??;
        Ok(status.code())
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        super::tail(&self.log)
    }

    /// All of its log.
    pub fn whole_log(&self) -> anyhow::Result<String> {
        let text = std::fs::read(&self.log)?;
        let own = text.get(self.before..).unwrap_or_default();
        Ok(String::from_utf8_lossy(own).into_owned())
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.child.id().context("the operator has ended")?;
        let status = std::process::Command::new("kill")
            .args([format!("-{name}"), id.to_string()])
            .status()?;
        anyhow::ensure!(status.success(), "process {id} cannot be signalled");
        Ok(())
    }
}
