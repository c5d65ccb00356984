//! A receiving mail server for benchmarks that counts and may answer `450` for a share of the recipients,
//! which `smtp-sink` can do by chance only. Shows its counter as `smtp-sink -c` does: `mesg=N` and a
//! carriage return, whenever it changed.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use clap::Parser;
use mailrelay_tests::sink::{Manner, Sink};

const SHOW_EVERY: Duration = Duration::from_millis(20);

/// Takes mail and counts it.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    address: SocketAddr,
    /// Answers `450` for recipients whose local part begins with a number that this divides.
    #[arg(long)]
    refused_share: Option<NonZeroU64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut sink = Sink::new(arguments.address);
    if let Some(share) = arguments.refused_share {
        sink.behave(Manner::RefusesShare(share));
    }
    sink.open().await?;
    let mut shown = None;
    let mut ticks = tokio::time::interval(SHOW_EVERY);
    loop {
        ticks.tick().await;
        let count = sink.count();
        if shown != Some(count) {
            let mut output = io::stdout();
            write!(output, "mesg={count}\r")?;
            output.flush()?;
            shown = Some(count);
        }
    }
}
