//! The Debian packages that the harness runs, installed when it may.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::process::Run;

/// A program and the Debian package that has it.
#[derive(Clone, Copy, Debug)]
pub struct Needed {
    /// Absolute path of the program.
    pub program: &'static str,
    /// Package.
    pub package: &'static str,
}

/// What a receiving mail server needs.
pub const RECEIVER: &[Needed] = &[
    Needed { program: "/usr/sbin/postfix", package: "postfix" },
    Needed { program: "/usr/sbin/opendkim", package: "opendkim" },
];

/// What the clients need.
pub const CLIENTS: &[Needed] = &[
    Needed { program: "/usr/bin/swaks", package: "swaks" },
    Needed { program: "/usr/bin/msmtp", package: "msmtp" },
    // Debian's own interpreter, whatever else is first in the PATH.
    Needed { program: "/usr/bin/python3", package: "python3" },
];

/// Where Debian's maintainer scripts ask whether they may start what they installed.
const START_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Makes sure that the programs are there; fails with one line that names what is missing.
pub async fn ensure(needed: &[Needed]) -> anyhow::Result<()> {
    let missing: Vec<&str> = needed
        .iter()
        .filter(|needed| !Path::new(needed.program).exists())
        .map(|needed| needed.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let debian = Path::new("/etc/debian_version").exists();
    if !debian || !is_root()? {
        bail!("missing {list}; run `apt-get install {list}` or run this as root on Debian");
    }
    eprintln!("installing {list}");
    install(&missing)
        .await
        .with_context(|| format!("missing {list}, and apt-get cannot install it"))
}

/// Whether this process is root, which a system-wide installation, port 25 and a cluster need.
pub fn is_root() -> anyhow::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata("/proc/self").context("/proc cannot be read")?;
    Ok(own.uid() == 0)
}

async fn install(packages: &[&str]) -> anyhow::Result<()> {
    // The packages must not start daemons of their own on this machine: the harness starts its own
    // instances on its own addresses. A policy that is there already is left as it is.
    let own_policy = !Path::new(START_POLICY).exists();
    if own_policy {
        std::fs::write(START_POLICY, "#!/bin/sh\nexit 101\n")?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(START_POLICY, executable)?;
    }
    let result = apt(packages).await;
    if own_policy {
        std::fs::remove_file(START_POLICY)?;
    }
    result
}

async fn apt(packages: &[&str]) -> anyhow::Result<()> {
    for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends"]] {
        let mut run = Run::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .limit(Duration::from_secs(600));
        if arguments[0] == "install" {
            run = run.args(packages);
        }
        run.succeed().await?;
    }
    Ok(())
}
