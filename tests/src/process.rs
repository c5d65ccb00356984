//! Running other programs: every run has a deadline, and a failure says what was run and what it
//! said.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The longest that a failed program's own words may be in an error, in characters.
const QUOTED_LIMIT: usize = 4000;

/// A program to run once, to its end.
#[derive(Debug)]
pub struct Run {
    command: Command,
    shown: String,
    input: Vec<u8>,
    limit: Duration,
    progress: bool,
}

/// What a program that ended said.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// `program` without arguments and input, to be ended after a minute.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command.kill_on_drop(true);
        Self {
            command,
            shown: program.to_string_lossy().into_owned(),
            input: Vec::new(),
            limit: Duration::from_mins(1),
            progress: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        let argument = argument.as_ref();
        // Writing to a String cannot fail.
        let _ = write!(self.shown, " {}", argument.to_string_lossy());
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Adds an argument that errors do not show.
    #[must_use]
    pub fn secret(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.shown.push_str(" ***");
        self.command.arg(argument);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What the program reads from its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Shows the program's standard error as it comes, for programs that take minutes.
    #[must_use]
    pub fn progress(mut self) -> Self {
        self.progress = true;
        self
    }

    /// How long the program may take.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs to the end, whatever the exit code.
    pub async fn finish(mut self) -> anyhow::Result<Finished> {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if self.progress {
                Stdio::inherit()
            } else {
                Stdio::piped()
            });
        let mut child = self
            .command
            .spawn()
            .with_context(|| format!("cannot start: {}", self.shown))?;
        let mut stdin = child.stdin.take();
        let input = std::mem::take(&mut self.input);
        let feed = async move {
            if let Some(stdin) = &mut stdin {
                // A program that does not read its input is not an error of its own.
                let _ = stdin.write_all(&input).await;
            }
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(self.limit, both)
            .await
            .with_context(|| format!("not done within {:?}: {}", self.limit, self.shown))??;
        Ok(Finished::new(&output))
    }

    /// Runs to the end and fails unless the exit code is 0. Returns standard output.
    pub async fn succeed(self) -> anyhow::Result<String> {
        let shown = self.shown.clone();
        let finished = self.finish().await?;
        if finished.code != Some(0) {
            let code = finished
                .code
                .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
            bail!("{shown}: ended with {code}\n{}", finished.said());
        }
        Ok(finished.stdout)
    }
}

impl Finished {
    fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The end of everything said, for an error.
    pub fn said(&self) -> String {
        let all = format!("{}{}", self.stdout, self.stderr);
        let from = all
            .char_indices()
            .rev()
            .nth(QUOTED_LIMIT)
            .map_or(0, |(index, _)| index);
        all[from..].trim().to_owned()
    }
}

/// The root of the checkout.
pub fn checkout() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_names_the_command_and_quotes_it_but_no_secret() {
        let error = Run::new("sh")
            .args(["-c", "echo from-$0; exit 3"])
            .secret("swordfish")
            .succeed()
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit code 3"), "{error}");
        assert!(
            error.starts_with("sh -c echo from-$0; exit 3 ***"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended() {
        let error = Run::new("sleep")
            .arg("600")
            .limit(Duration::from_millis(50))
            .succeed()
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("not done within 50ms: sleep 600"), "{error}");
    }

    #[tokio::test]
    async fn input_larger_than_a_pipe_arrives_whole() {
        let input = "x".repeat(1_000_000);
        let output = Run::new("cat")
            .input(input.clone())
            .succeed()
            .await
            .unwrap();
        assert_eq!(output.len(), input.len());
    }
}
