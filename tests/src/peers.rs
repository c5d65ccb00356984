//! Mail and name servers that other people wrote and that are not installed: Exim, OpenSMTPD, Haraka,
//! Knot and Unbound. `tests/peers/setup` fetches them; each runs in a [`room::Room`] of its own, as if
//! it were installed, and ends with the test's process at the latest.
//!
//! Every server has a directory with its settings, its log and the mail it delivered; a server may be
//! many hosts, each with its own address and certificate. Where a server shows a verdict of its own
//! (Exim on DKIM, `posttls-finger` on DANE) the tests compare it with the relay's.

pub mod dkim;
mod exim;
pub mod finger;
mod haraka;
pub mod names;
mod opensmtpd;
mod room;
mod server;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::prerequisites;
use crate::process::{Run, checkout};

pub use opensmtpd::Keys;
pub use server::{Kind, Server};

/// A name that a server has, with its own address and certificate.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name, as in the MX record.
    pub name: String,
    /// Address to listen at; the port is always 25.
    pub address: Ipv4Addr,
    /// Certificates in PEM, the host's own first.
    pub chain: String,
    /// Private key in PEM.
    pub key: String,
    /// What is offered in `EHLO`'s reply and in the handshake.
    pub offer: Offer,
}

/// What a host offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    /// Whatever the server does when it is left alone.
    #[default]
    Current,
    /// TLS 1.2 only.
    Tls12,
    /// No `STARTTLS`. Not by Haraka.
    Nothing,
}

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// At least one; the first is the server's own name.
    pub hosts: Vec<Host>,
    /// Name server.
    pub resolver: Ipv4Addr,
    /// Recipients as `local@domain`; every other one is refused with 550.
    pub recipients: Vec<String>,
    /// Those of the recipients that are refused with 4xx at the first try, by OpenSMTPD at each.
    pub greylisted: Vec<String>,
    /// Octets of the largest message.
    pub size_limit: u32,
}

/// Fetches everything and returns the directory that holds it.
pub async fn fetch() -> anyhow::Result<PathBuf> {
    prerequisites::ensure(&["peers"]).await?;
    let path = Run::new(checkout().join("tests/peers/setup"))
        .succeed()
        .await?;
    Ok(path.trim().into())
}
