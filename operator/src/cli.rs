//! The command line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::{crds, release, run};

/// Turns SmtpRelay, SendingDomain and SmtpCredential objects into running mail relays.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator against the cluster of KUBECONFIG, or the one it runs in.
    Run(RunArguments),
    /// Print the custom resource definitions, or write or check them as files.
    Crds(CrdArguments),
    /// Take the operator's finalizer off SmtpRelays: the last step of an uninstall.
    Release(ReleaseArguments),
}

#[derive(Debug, Args)]
struct ReleaseArguments {
    /// Namespace of the SmtpRelays; may be repeated. All namespaces when not given.
    #[arg(long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,

    /// Namespace of the operator whose SmtpRelays are meant; those that another one has in hand keep the
    /// finalizer. All SmtpRelays when not given.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    operator_namespace: Option<String>,
}

/// Arguments of `operator run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// Image of relay pods whose SmtpRelay names none.
    #[arg(long, env = "RELAY_IMAGE", value_name = "IMAGE")]
    pub relay_image: String,

    /// Namespace to watch; may be repeated. All namespaces when not given.
    #[arg(
        long = "namespace",
        env = "WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub namespaces: Vec<String>,

    /// Address for /healthz, /readyz and /metrics.
    #[arg(
        long,
        env = "HEALTH_ADDRESS",
        default_value = "[::]:8080",
        value_name = "ADDRESS:PORT"
    )]
    pub health_address: SocketAddr,

    /// Whether to wait for the Lease before doing anything; switch off only for a lone process.
    #[arg(
        long,
        env = "LEADER_ELECTION",
        default_value_t = true,
        action = clap::ArgAction::Set,
        value_name = "BOOL"
    )]
    pub leader_election: bool,

    /// Namespace of the Lease, and of the operator's pods. The client's own namespace when not
    /// given.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub operator_namespace: Option<String>,

    /// Name of this process in the Lease; must be unique. Made up when not given.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,

    /// Name server that sending domains are checked at; may be repeated. The system's when not
    /// given.
    #[arg(
        long = "dns-server",
        env = "DNS_SERVERS",
        value_delimiter = ',',
        value_name = "ADDRESS:PORT"
    )]
    pub dns_servers: Vec<SocketAddr>,
}

#[derive(Debug, Args)]
struct CrdArguments {
    /// Write one file for each kind into this directory.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "check")]
    output: Option<PathBuf>,

    /// Fail unless the files in this directory are what --output would write.
    #[arg(long, value_name = "DIRECTORY")]
    check: Option<PathBuf>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(arguments) => run::run(arguments),
        Command::Crds(arguments) => write_crds(arguments),
        Command::Release(arguments) => release(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn release(arguments: &ReleaseArguments) -> anyhow::Result<()> {
    let operator = arguments.operator_namespace.as_deref();
    let released = release::run(&arguments.namespaces, operator)?;
    writeln!(
        std::io::stdout(),
        "finalizer taken off {released} SmtpRelays"
    )?;
    Ok(())
}

fn write_crds(arguments: CrdArguments) -> anyhow::Result<()> {
    match (arguments.output, arguments.check) {
        (Some(directory), _) => crds::write(&directory)?,
        (None, Some(directory)) => crds::check(&directory)?,
        (None, None) => std::io::stdout().write_all(crds::text()?.as_bytes())?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn faults_name_the_argument() {
        let rows = [
            (vec!["operator", "run"], "--relay-image"),
            (
                vec![
                    "operator",
                    "run",
                    "--relay-image=r",
                    "--health-address=here",
                ],
                "--health-address",
            ),
            (
                vec![
                    "operator",
                    "run",
                    "--relay-image=r",
                    "--dns-server=10.0.0.1",
                ],
                "--dns-server",
            ),
            (
                vec!["operator", "crds", "--output=a", "--check=b"],
                "--check",
            ),
        ];
        for (line, expected) in rows {
            let error = Cli::try_parse_from(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
