//! What processes used, as Linux counts it (proc(5)).

use anyhow::Context as _;

/// CPU time of process `id` so far, in seconds.
pub(super) fn cpu(id: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields = stat.rsplit_once(')').context("no command in stat")?.1;
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    // Linux counts in hundredths for every user program.
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// Resident memory of process `id` in octets: now, and at its highest.
pub(super) fn memory(id: u32) -> anyhow::Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let field = |name: &str| -> anyhow::Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number
            .with_context(|| format!("no {name}"))?
            .parse::<u64>()?
            * 1024)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}
