//! What the harness needs of the machine. `tests/prerequisites` knows the packages, installs them
//! where it may, and otherwise says in one line what is missing.

use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::process::{Run, checkout};

/// apt-get on a slow line.
const INSTALL_LIMIT: Duration = Duration::from_mins(15);

/// Makes sure that sets of packages are there: `mail` for the clients, `receiver` for the receiving
/// mail server.
pub async fn ensure(sets: &[&str]) -> anyhow::Result<()> {
    let finished = Run::new(checkout().join("tests/prerequisites"))
        .args(sets)
        .limit(INSTALL_LIMIT)
        .finish()
        .await?;
    if finished.code != Some(0) {
        bail!("{}", finished.said());
    }
    Ok(())
}

/// Whether this process is root, which port 25, a mount namespace and a cluster need.
pub fn is_root() -> anyhow::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata("/proc/self").context("/proc cannot be read")?;
    Ok(own.uid() == 0)
}
