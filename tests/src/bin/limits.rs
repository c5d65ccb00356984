//! What this machine can do at the most, for benchmarks: appends that are synced alone and in groups, and
//! signatures on one core by the library that the relay signs with.
//!
//! The last line on standard output is JSON.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use clap::Parser;

const APPEND: [u8; 4096] = [b'x'; 4096];
const GROUP: u32 = 32;
/// About what the canonical header fields of a message are.
const SIGNED: [u8; 512] = [b'x'; 512];

/// Measures the limits of the machine.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Directory on the file system that is measured.
    #[arg(long)]
    directory: PathBuf,
    /// Seconds for each figure.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let limit = Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?;
    let (alone, p50) = synced(&arguments.directory, 1, limit)?;
    let (grouped, _) = synced(&arguments.directory, GROUP, limit)?;
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let mut signature = vec![0; rsa.public_modulus_len()];
    let rsa = rate(limit, || {
        Ok(rsa.sign(&RSA_PKCS1_SHA256, &random, &SIGNED, &mut signature)?)
    })?;
    let ed25519 = Ed25519KeyPair::generate()?;
    let ed25519 = rate(limit, || {
        std::hint::black_box(ed25519.sign(&SIGNED));
        Ok(())
    })?;
    let figures = serde_json::json!({
        "synced_appends_per_second": alone,
        "sync_p50_ms": p50,
        "group": GROUP,
        "grouped_appends_per_second": grouped,
        "rsa_2048_signatures_per_second": rsa,
        "ed25519_signatures_per_second": ed25519,
    });
    writeln!(io::stdout(), "{figures}")?;
    Ok(())
}

/// Appends of 4 KiB per second with one `fdatasync` after each `group` of them, and the median of the
/// milliseconds that such a group took.
fn synced(directory: &Path, group: u32, limit: Duration) -> anyhow::Result<(f64, f64)> {
    let path = directory.join("limits");
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < limit {
        let begun = Instant::now();
        for _ in 0..group {
            file.write_all(&APPEND)?;
        }
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    let groups = u32::try_from(times.len())?;
    times.sort_unstable();
    let median = times.get(times.len() / 2).context("no time to append")?;
    let appends = f64::from(groups) * f64::from(group);
    Ok((appends / seconds, median.as_secs_f64() * 1000.0))
}

/// How often per second `step` can be done.
fn rate(limit: Duration, mut step: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut steps = 0_u32;
    while start.elapsed() < limit {
        step()?;
        steps += 1;
    }
    Ok(f64::from(steps) / start.elapsed().as_secs_f64())
}
