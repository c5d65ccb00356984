//! A mail server in a room: what is the same for all of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::TcpStream;

use super::opensmtpd::Keys;
use super::room::Room;
use super::{Host, Plan, exim, haraka, opensmtpd};
use crate::receiver::{Delivered, mailbox};
use crate::wait;

/// Starting takes a second or two on an idle machine.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Exim, with GnuTLS.
    Exim,
    /// OpenSMTPD; its keys have to be RSA.
    OpenSmtpd(Keys),
    /// Haraka; all hosts show the first one's certificate.
    Haraka,
}

/// A mail server that takes mail and keeps it.
#[derive(Debug)]
pub struct Server {
    plan: Plan,
    room: Room,
}

impl Server {
    /// Prepares and starts a server from what [`super::fetch`] fetched.
    pub async fn start(kind: Kind, fetched: &Path, plan: Plan) -> anyhow::Result<Self> {
        for host in &plan.hosts {
            ensure!(
                TcpStream::connect(address(host)).await.is_err(),
                "something listens at {} already",
                address(host)
            );
        }
        let name = match kind {
            Kind::Exim => "exim",
            Kind::OpenSmtpd(_) => "opensmtpd",
            Kind::Haraka => "haraka",
        };
        let mut room = Room::new(name)?;
        for folder in ["log", "mail", "tls"] {
            room.folder(folder)?;
        }
        for host in &plan.hosts {
            room.write(&format!("tls/{}.crt", host.address), &host.chain)?;
            room.write(&format!("tls/{}.key", host.address), &host.key)?;
        }
        for recipient in &plan.recipients {
            room.folder(&format!("mail/{recipient}"))?;
            room.folder(&format!("mail/{recipient}/new"))?;
            room.folder(&format!("mail/{recipient}/tmp"))?;
            room.folder(&format!("mail/{recipient}/cur"))?;
        }
        match kind {
            Kind::Exim => exim::run(&mut room, fetched, &plan),
            Kind::OpenSmtpd(keys) => opensmtpd::run(&mut room, fetched, &plan, keys),
            Kind::Haraka => haraka::run(&mut room, fetched, &plan),
        }
        .with_context(|| format!("{name} cannot be prepared"))?;
        let server = Self { plan, room };
        for host in &server.plan.hosts {
            wait::for_port(address(host), START_LIMIT)
                .await
                .with_context(|| format!("{name} does not start:\n{}", server.log()))?;
        }
        Ok(server)
    }

    /// The mail delivered so far for a recipient of the plan, oldest first.
    pub fn mailbox(&self, recipient: &str) -> anyhow::Result<Vec<Delivered>> {
        mailbox::read(&self.folder(recipient)?)
    }

    /// The last lines of its logs, for errors.
    pub fn log(&self) -> String {
        self.room.log()
    }

    fn folder(&self, recipient: &str) -> anyhow::Result<PathBuf> {
        ensure!(
            self.plan.recipients.iter().any(|known| known == recipient),
            "{recipient} is no recipient of this server"
        );
        Ok(self.room.path().join("mail").join(recipient).join("new"))
    }
}

fn address(host: &Host) -> SocketAddr {
    SocketAddr::from((host.address, 25))
}
