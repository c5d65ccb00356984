//! Harness for everything that crosses a process, cut by peer: the cluster, the receiving mail
//! server, the name server, the clients.
//!
//! Peers are independent programs (Kubernetes, Postfix, OpenDKIM, Exim, OpenSMTPD, Haraka, Knot,
//! Unbound, CoreDNS, Python's smtplib, swaks, msmtp) as a user runs them; the harness only starts
//! them, feeds them and reads what they recorded. Nothing here knows the operator's or the relay's
//! code: what the tests learn, they learn from the Kubernetes API, from logs and from mail.

#[cfg(feature = "kubernetes")]
pub mod audit;
#[cfg(feature = "kubernetes")]
pub mod chart;
pub mod clients;
#[cfg(feature = "kubernetes")]
pub mod cluster;
#[cfg(feature = "control-plane")]
pub mod control_plane;
pub mod flow;
#[cfg(feature = "kubernetes")]
pub mod namespace;
#[cfg(feature = "kubernetes")]
pub mod node;
pub mod peers;
pub mod prerequisites;

pub mod process;
pub mod receiver;
#[cfg(feature = "kubernetes")]
pub mod scenario;
pub mod sink;
pub mod submission;
pub mod wait;
pub mod zone;
