//! Command line.
//!
//! Exit codes are those of `sysexits.h` where one fits: 0 done, 64 wrong usage, 78 configuration
//! cannot be used, 71 an address cannot be bound, 74 the queue cannot be opened or written, 1
//! anything else. Whatever goes wrong is one line on standard error.

mod suppressions;

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use relay_config::ScramVerifier;

use crate::reload::notices;
use crate::serve;
use crate::snapshot::Snapshot;

const USAGE: u8 = 64;
const CONFIGURATION: u8 = 78;
const FAILURE: u8 = 1;
/// Longest password read, in octets.
const PASSWORD_LIMIT: u64 = 1024;

/// Outbound mail relay: accepts, queues durably, signs and delivers.
#[derive(Debug, Parser)]
#[command(name = "relay", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay until SIGTERM or SIGINT.
    Serve {
        /// Main configuration file, JSON or YAML; watched and reloaded when it changes.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration and everything it names, and say what is wrong.
    Check {
        /// Main configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// See and edit the suppression lists of the relay that runs here.
    #[command(subcommand)]
    Suppressions(suppressions::Action),
    /// Read a password from standard input and print the verifier for `credentials[].verifiers`.
    HashPassword,
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Clap knows which of the two streams help, version and errors belong to.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(USAGE),
            };
        }
    };
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return fail(FAILURE, "a TLS provider is already installed");
    }
    match arguments.command {
        Command::Serve { config } => match serve::run(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error.exit_code(), &error.to_string()),
        },
        Command::Check { config } => check(&config),
        Command::Suppressions(action) => match suppressions::run(action) {
            Ok(text) => print(&text),
            Err(error) => fail(FAILURE, &error),
        },
        Command::HashPassword => hash_password(),
    }
}

fn check(path: &Path) -> ExitCode {
    match Snapshot::load(path, None) {
        Ok(snapshot) => {
            let mut text = format!(
                "{}: valid; {} listeners, {} domains, {} credentials\n",
                path.display(),
                snapshot.config.listeners.len(),
                snapshot.domains.len(),
                snapshot.credentials.len(),
            );
            for warning in notices(&snapshot, crate::context::now()) {
                text.push_str(&warning);
                text.push('\n');
            }
            print(&text)
        }
        Err(error) => fail(CONFIGURATION, &error.to_string()),
    }
}

fn hash_password() -> ExitCode {
    let mut password = String::new();
    let read = io::stdin()
        .take(PASSWORD_LIMIT + 1)
        .read_to_string(&mut password);
    if let Err(error) = read {
        return fail(USAGE, &format!("the password cannot be read: {error}"));
    }
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return fail(
            USAGE,
            "no password on standard input; try: printf %s 'the password' | relay hash-password",
        );
    }
    if password.len() as u64 > PASSWORD_LIMIT {
        return fail(USAGE, "the password is longer than 1024 octets");
    }
    let mut salt = [0; 16];
    if SystemRandom::new().fill(&mut salt).is_err() {
        return fail(FAILURE, "the system gives no random numbers");
    }
    let verifier = ScramVerifier::derive(password, &salt, ScramVerifier::CHOSEN_ITERATIONS);
    print(&format!("{verifier}\n"))
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILURE, &format!("standard output: {error}")),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    // If even standard error is gone, the exit code still tells.
    let _ = writeln!(io::stderr(), "relay: {message}");
    ExitCode::from(code)
}
