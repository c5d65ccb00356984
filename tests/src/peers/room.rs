//! A root and a process tree of its own for one server; see `tests/peers/room`.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use crate::prerequisites;
use crate::process::checkout;

/// A server's directory, and its processes once they run.
#[derive(Debug)]
pub(super) struct Room {
    directory: PathBuf,
    supervisor: Option<Child>,
}

impl Room {
    /// An empty directory for a server called `name`.
    pub(super) fn new(name: &str) -> anyhow::Result<Self> {
        if !prerequisites::is_root()? {
            bail!("{name} listens at a privileged port and needs root");
        }
        let directory = tempfile::Builder::new()
            .prefix(&format!("mailrelay-{name}-"))
            .tempdir()?
            .keep();
        // The servers' own users have to pass through.
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self {
            directory,
            supervisor: None,
        })
    }

    /// Makes a directory in it.
    pub(super) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(name);
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Writes a file into it.
    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(name);
        std::fs::write(&path, content).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Runs a shell script with the directory as its argument, over the unpacked `packages`. What it
    /// says is the first part of [`Self::log`].
    pub(super) fn run(
        &mut self,
        script: &str,
        packages: Option<&Path>,
        resolver: Ipv4Addr,
    ) -> anyhow::Result<()> {
        let script = self.write("start", script)?;
        let said = std::fs::File::create(self.directory.join("said"))?;
        let child = Command::new(checkout().join("tests/peers/room"))
            .arg(&self.directory)
            .arg(packages.unwrap_or(Path::new("")))
            .arg(resolver.to_string())
            .arg(script)
            .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("{}: cannot be started", self.directory.display()))?;
        self.supervisor = Some(child);
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    /// The last lines of what the processes said and of the files in `log`, for errors.
    pub(super) fn log(&self) -> String {
        let mut files = vec![self.directory.join("said")];
        if let Ok(entries) = std::fs::read_dir(self.directory.join("log")) {
            files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
        let tails: Vec<String> = files
            .iter()
            .map(|file| {
                let text = std::fs::read(file).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let lines: Vec<&str> = text.lines().collect();
                lines[lines.len().saturating_sub(30)..].join("\n")
            })
            .collect();
        tails.join("\n")
    }
}

impl Drop for Room {
    /// A running server's directory is removed by its supervisor, which ends with its standard input.
    fn drop(&mut self) {
        if self.supervisor.is_none() {
            // A leftover below the temporary directory is no reason to fail.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
