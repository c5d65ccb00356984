//! BIND's `named` as the primary of zones that take dynamic updates, on a loopback address of its own at port 53,
//! where every name server is asked.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::prerequisites;
use crate::process::Run;
use crate::wait;

const START_LIMIT: Duration = Duration::from_secs(30);
const NAMED: &str = "/usr/sbin/named";
const CHECK: &str = "/usr/bin/named-checkzone";

/// A TSIG key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name.
    pub name: &'static str,
    /// In base64.
    pub secret: &'static str,
}

impl Key {
    /// May write to all zones.
    pub const WRITER: Self = Self {
        name: "outbox.writer",
        secret: "dGhlIHNlY3JldCBvZiB0aGUgd3JpdGVyIG9mIHpvbmVz",
    };
    /// Is known and may write nothing.
    pub const READER: Self = Self {
        name: "outbox.reader",
        secret: "dGhlIHNlY3JldCBvZiB0aGUgcmVhZGVyIG9mIHpvbmVz",
    };
}

/// A running `named`; ends with this.
pub struct Bind {
    /// Where it answers.
    pub address: Ipv4Addr,
    directory: TempDir,
    server: Option<Child>,
}

impl Bind {
    /// Serves `zones`, each a name and the lines that it has besides SOA and NS, at `address`.
    pub async fn start(address: Ipv4Addr, zones: &[(&str, &str)]) -> anyhow::Result<Self> {
        prerequisites::ensure(&["names"]).await?;
        // It listens only at addresses that an interface has by name.
        let own = format!("{address}/32");
        Run::new("ip")
            .args(["address", "replace", &own, "dev", "lo"])
            .succeed()
            .await?;
        let directory = tempfile::tempdir()?;
        let mut config = options(&directory.path().display().to_string(), address);
        for (zone, lines) in zones {
            let file = directory.path().join(zone);
            std::fs::write(&file, text(zone, address, lines))?;
            let file = file.display().to_string();
            Run::new(CHECK)
                .args(["-k", "fail", zone, &file])
                .succeed()
                .await?;
            // Writing to a String cannot fail.
            let _ = writeln!(
                config,
                "zone \"{zone}\" {{ type primary; file \"{zone}\"; update-policy {{ grant {} zonesub ANY; }}; }};",
                Key::WRITER.name
            );
        }
        std::fs::write(directory.path().join("named.conf"), config)?;
        let mut bind = Self {
            address,
            directory,
            server: None,
        };
        bind.begin().await?;
        Ok(bind)
    }

    /// Starts it, again after [`Self::stop`]; what was written to the zones is still there.
    pub async fn begin(&mut self) -> anyhow::Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let server = Command::new(NAMED)
            .arg("-g")
            .arg("-c")
            .arg(self.directory.path().join("named.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("named does not start")?;
        self.server = Some(server);
        wait::for_port(self.socket(), START_LIMIT)
            .await
            .with_context(|| self.log())
    }

    /// Ends it at once.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill().await?;
        }
        Ok(())
    }

    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::from((self.address, 53))
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        super::tail(&self.log_file())
    }

    /// Updates that it made so far.
    pub fn updates(&self) -> anyhow::Result<usize> {
        let log = std::fs::read_to_string(self.log_file())?;
        let is_update =
            |line: &&str| line.contains("updating zone") && line.contains("adding an RR");
        Ok(log.lines().filter(is_update).count())
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let own = format!("{}/32", self.address);
        let remove = std::process::Command::new("ip")
            .args(["address", "del", &own, "dev", "lo"])
            .status();
        // An address of loopback that is left is nobody's trouble.
        drop(remove);
    }
}

fn options(directory: &str, address: Ipv4Addr) -> String {
    let mut config = format!(
        "options {{ directory \"{directory}\"; listen-on port 53 {{ {address}; }}; listen-on-v6 {{ none; }};\n  \
         recursion no; dnssec-validation no; allow-transfer {{ any; }}; pid-file \"{directory}/pid\";\n  \
         session-keyfile \"{directory}/session.key\"; managed-keys-directory \"{directory}\"; }};\n\
         controls {{ }};\n"
    );
    for key in [Key::WRITER, Key::READER] {
        // Writing to a String cannot fail.
        let _ = writeln!(
            config,
            "key \"{}\" {{ algorithm hmac-sha256; secret \"{}\"; }};",
            key.name, key.secret
        );
    }
    config
}

fn text(zone: &str, address: Ipv4Addr, lines: &str) -> String {
    format!(
        "$TTL 2\n{zone}. IN SOA ns.{zone}. nobody.{zone}. 1 60 60 600 1\n{zone}. IN NS ns.{zone}.\n\
         ns.{zone}. IN A {address}\n{lines}\n"
    )
}
