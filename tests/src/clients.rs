//! Clients that applications use: Python's smtplib, swaks and msmtp.
//!
//! They run on the cluster's node with the name service of a pod: in a mount namespace of their own
//! whose `/etc/resolv.conf` asks the cluster's DNS. So they connect to the host name that the
//! binding Secret gives and verify the server's certificate against that name, as a pod would.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::process::{Finished, Run};
use crate::wait;

const SUBMIT: &str = include_str!("clients/submit.py");
/// Debian's own interpreter.
const PYTHON: &str = "/usr/bin/python3";
/// Bulk runs included.
const LIMIT: Duration = Duration::from_mins(5);
/// How long a refused connection is tried again.
const RECONNECT: Duration = Duration::from_secs(10);

/// How a client encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Encryption {
    /// In clear.
    None,
    /// Upgraded by `STARTTLS`.
    StartTls,
    /// From the first octet.
    Implicit,
}

/// Where a client connects and who it is.
#[derive(Clone, Debug)]
pub struct Account {
    /// Host name of the relay, as the binding Secret gives it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Encryption.
    pub encryption: Encryption,
    /// PEM of the authority that the server's certificate must come from.
    pub authority: String,
    /// User name and password; none to send without.
    pub login: Option<(String, String)>,
}

/// One mail as an application hands it over: the envelope, and a text without `Date` and
/// `Message-ID`.
#[derive(Clone, Debug, Serialize)]
pub struct Mail {
    /// Envelope sender.
    pub sender: String,
    /// Envelope recipients.
    pub recipients: Vec<String>,
    /// Header and body.
    pub text: String,
}

/// What came of one mail.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Outcome {
    /// Which mail of the run, from 0.
    pub number: usize,
    /// Whether the relay took it over with 250.
    pub accepted: bool,
    /// Where it was refused: `auth`, `mail`, `rcpt`, `data`, `connect` or `connection`.
    pub stage: String,
    /// The reply code, 0 when there was none.
    pub code: u16,
    /// The reply's text.
    pub text: String,
}

/// The name service that clients run with.
#[derive(Debug)]
pub struct Place {
    resolver: NamedTempFile,
}

impl Mail {
    /// A short mail from and to one address.
    pub fn new(sender: &str, recipient: &str, subject: &str) -> Self {
        Self {
            sender: sender.into(),
            recipients: vec![recipient.into()],
            text: format!(
                "From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {subject}\r\n\r\n\
                 This is the text of the message.\r\n.A line that begins with a dot.\r\n"
            ),
        }
    }
}

impl Account {
    /// The same account at another port.
    #[must_use]
    pub fn at(&self, port: u16, encryption: Encryption) -> Self {
        Self {
            port,
            encryption,
            ..self.clone()
        }
    }

    /// The same account with another password.
    #[must_use]
    pub fn with_password(&self, password: &str) -> Self {
        let username = self.login.as_ref().map(|(username, _)| username.clone());
        Self {
            login: username.map(|name| (name, password.into())),
            ..self.clone()
        }
    }
}

impl Place {
    /// The name service of a pod in `namespace`.
    pub fn pod(resolver: std::net::Ipv4Addr, namespace: &str) -> anyhow::Result<Self> {
        Self::with(&format!(
            "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver {resolver}\noptions ndots:5\n"
        ))
    }

    /// A machine whose only name server is a trusted one that validates.
    pub fn validating(resolver: std::net::Ipv4Addr) -> anyhow::Result<Self> {
        Self::with(&format!("nameserver {resolver}\noptions trust-ad\n"))
    }

    fn with(settings: &str) -> anyhow::Result<Self> {
        let mut file = NamedTempFile::new()?;
        file.write_all(settings.as_bytes())?;
        // swaks and msmtp may run as anybody.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(file.path(), readable)?;
        Ok(Self { resolver: file })
    }

    /// `program` with this name service.
    pub fn run(&self, program: &str) -> Run {
        Run::new("unshare")
            .args(["--mount", "sh", "-c"])
            .arg("mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"")
            .arg(self.resolver.path())
            .arg(program)
            .limit(LIMIT)
    }

    /// Sends mails with Python's smtplib over `sessions` connections at a time.
    pub async fn smtplib(
        &self,
        account: &Account,
        mails: &[Mail],
        sessions: usize,
    ) -> anyhow::Result<Vec<Outcome>> {
        self.python(account, mails, sessions, Duration::ZERO, false)
            .await
    }

    /// Sends mails with Python's smtplib over one connection that stays open, with a pause after
    /// each.
    pub async fn paced(
        &self,
        account: &Account,
        mails: &[Mail],
        pause: Duration,
    ) -> anyhow::Result<Vec<Outcome>> {
        self.python(account, mails, 1, pause, false).await
    }

    /// The certificate at a port with TLS from the first octet, as PEM.
    pub async fn certificate(&self, account: &Account) -> anyhow::Result<String> {
        const SHOW: &str = "import ssl, sys\n\
            print(ssl.get_server_certificate((sys.argv[1], int(sys.argv[2]))))";
        self.run(PYTHON)
            .args(["-c", SHOW, &account.host, &account.port.to_string()])
            .succeed()
            .await
    }

    /// Sends `AUTH PLAIN` although the server does not offer it, and then the mail.
    pub async fn forced_login(&self, account: &Account, mail: &Mail) -> anyhow::Result<Outcome> {
        let outcomes = self
            .python(account, std::slice::from_ref(mail), 1, Duration::ZERO, true)
            .await?;
        outcomes
            .into_iter()
            .next()
            .context("smtplib reported nothing")
    }

    /// Sends one mail with Python's smtplib. A refused connection is tried again for a while, as
    /// applications do: a node leads a Service to a pod up to a second after the pod is ready.
    pub async fn send(&self, account: &Account, mail: &Mail) -> anyhow::Result<Outcome> {
        wait::until("a connection that is taken", RECONNECT, || async {
            match self.send_once(account, mail).await {
                Ok(outcome) if outcome.text.starts_with("ConnectionRefusedError") => {
                    Err(outcome.text)
                }
                outcome => Ok(outcome),
            }
        })
        .await?
    }

    async fn send_once(&self, account: &Account, mail: &Mail) -> anyhow::Result<Outcome> {
        let outcomes = self.smtplib(account, std::slice::from_ref(mail), 1).await?;
        outcomes
            .into_iter()
            .next()
            .context("smtplib reported nothing")
    }

    async fn python(
        &self,
        account: &Account,
        mails: &[Mail],
        sessions: usize,
        pause: Duration,
        forced: bool,
    ) -> anyhow::Result<Vec<Outcome>> {
        let authority = account.authority_file()?;
        let (username, password) = account.login.clone().unzip();
        let plan = serde_json::json!({
            "host": account.host,
            "port": account.port,
            "encryption": account.encryption,
            "authorities": authority.path(),
            "username": username,
            "password": password,
            "sessions": sessions,
            "pause": pause.as_secs_f64(),
            "forced": forced,
            "mails": mails,
        });
        let output = self
            .run(PYTHON)
            .args(["-c", SUBMIT])
            .input(plan.to_string())
            .succeed()
            .await?;
        output
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// Sends one mail with swaks; the outcome's text is its transcript.
    pub async fn swaks(&self, account: &Account, mail: &Mail) -> anyhow::Result<Outcome> {
        let authority = account.authority_file()?;
        let mut run = self
            .run("swaks")
            .args([
                "--server",
                &account.host,
                "--port",
                &account.port.to_string(),
            ])
            .args(["--from", &mail.sender, "--to", &mail.recipients.join(",")])
            .args(["--data", "-", "--hide-all", "--show-time-lapse", "i"]);
        run = match account.encryption {
            Encryption::None => run,
            Encryption::StartTls => run.arg("--tls"),
            Encryption::Implicit => run.arg("--tls-on-connect"),
        };
        if account.encryption != Encryption::None {
            run = run
                .args(["--tls-verify", "--tls-ca-path"])
                .arg(authority.path());
        }
        if let Some((username, password)) = &account.login {
            run = run
                .args([
                    "--auth",
                    "LOGIN",
                    "--auth-user",
                    username,
                    "--auth-password",
                ])
                .secret(password);
        }
        let finished = run.input(mail.text.clone()).finish().await?;
        Ok(swaks_outcome(&finished))
    }

    /// Sends one mail with msmtp.
    pub async fn msmtp(&self, account: &Account, mail: &Mail) -> anyhow::Result<Outcome> {
        let authority = account.authority_file()?;
        let configuration = msmtp_configuration(account, mail, authority.path())?;
        let finished = self
            .run("msmtp")
            .arg("--file")
            .arg(configuration.path())
            .arg("--")
            .args(&mail.recipients)
            .input(mail.text.replace("\r\n", "\n"))
            .finish()
            .await?;
        let accepted = finished.code == Some(0);
        Ok(Outcome {
            number: 0,
            accepted,
            stage: "data".into(),
            code: if accepted { 250 } else { 0 },
            text: finished.said(),
        })
    }
}

impl Account {
    fn authority_file(&self) -> anyhow::Result<NamedTempFile> {
        let mut file = NamedTempFile::new()?;
        file.write_all(self.authority.as_bytes())?;
        Ok(file)
    }
}

/// swaks ends with a code per stage; its manual lists them under EXIT CODES.
fn swaks_outcome(finished: &Finished) -> Outcome {
    let stage = match finished.code {
        Some(0 | 26) => "data",
        Some(23) => "mail",
        Some(24) => "rcpt",
        Some(28) => "auth",
        Some(2 | 21 | 22) => "connect",
        _ => "connection",
    };
    let text = finished.said();
    let accepted = finished.code == Some(0);
    Outcome {
        number: 0,
        accepted,
        stage: stage.into(),
        code: if accepted { 250 } else { 0 },
        text,
    }
}

fn msmtp_configuration(
    account: &Account,
    mail: &Mail,
    authority: &Path,
) -> anyhow::Result<NamedTempFile> {
    let (tls, upgrade) = match account.encryption {
        Encryption::None => ("off", "off"),
        Encryption::StartTls => ("on", "on"),
        Encryption::Implicit => ("on", "off"),
    };
    let mut file = NamedTempFile::new()?;
    write!(
        file,
        "defaults\ntls {tls}\ntls_starttls {upgrade}\ntls_trust_file {authority}\n\
         account relay\nhost {host}\nport {port}\nfrom {sender}\n",
        authority = PathBuf::from(authority).display(),
        host = account.host,
        port = account.port,
        sender = mail.sender,
    )?;
    match &account.login {
        Some((username, password)) => {
            write!(file, "auth plain\nuser {username}\npassword {password}\n")?;
        }
        None => writeln!(file, "auth off")?,
    }
    writeln!(file, "account default : relay")?;
    Ok(file)
}
