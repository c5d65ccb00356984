//! Bounds on what one client may ask for.

use serde::{Deserialize, Serialize};

use crate::Duration;

/// Octets of a header at most, whatever [`Limits::header_bytes`] says.
pub const LONGEST_HEADER: u64 = 512 * 1024;

/// Bounds on clients. All have defaults that suit an application relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Largest message in octets, announced as `SIZE` (RFC 1870). Default 26214400 (25 MiB).
    pub message_bytes: u64,
    /// Largest header of a message in octets. Default and most 524288 (512 KiB); one more is
    /// refused with 552.
    pub header_bytes: u64,
    /// Recipients of one message, announced as `LIMITS RCPTMAX` (RFC 9422). Default 1000; RFC 5321
    /// section 4.5.3.1.8 asks for at least 100.
    pub recipients: u32,
    /// Sessions at one time over all listeners. Default 1000; one more is answered 421.
    pub connections: u32,
    /// Sessions at one time from one address, behind a proxy the client's own. Default 500; one
    /// more is answered 421.
    pub connections_per_address: u32,
    /// Sessions at one time that are authenticated as one identity. Default 500; one more is
    /// answered 421 when it authenticates.
    pub connections_per_identity: u32,
    /// Octets of messages that are being received at one time, over all sessions. Default
    /// 134217728 (128 MiB); a message that does not fit is answered 452.
    pub receiving_bytes: u64,
    /// A session without a command for this long is closed with 421. Default 5m (RFC 5321 section
    /// 4.5.3.2.7).
    pub idle_timeout: Duration,
    /// A session that is this old is closed with 421 as soon as no transaction is open, and
    /// whatever is open after `idleTimeout` more. Default 2h.
    pub session_timeout: Duration,
    /// Octets a second that a message must arrive at, on average over `idleTimeout` and more; a
    /// slower one is closed with 421. Default 256; 0 is no limit.
    pub minimum_rate: u64,
    /// Commands of a session without a message in between, recipients not counted. Default 1000;
    /// one more is closed with 421.
    pub commands: u32,
    /// How far ahead a client may have a message sent, announced as `FUTURERELEASE` (RFC 4865).
    /// Default 168h (7 days); 0s is not at all.
    pub maximum_hold: Duration,
    /// How long the relay goes on as if nothing were once it is told to stop, so that whoever leads
    /// clients to it has learnt to lead them elsewhere. Default 0s; at most 1m.
    pub shutdown_delay: Duration,
    /// Time that open transactions get to finish when the relay stops. Default 25s.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 25 * 1024 * 1024,
            header_bytes: LONGEST_HEADER,
            recipients: 1000,
            connections: 1000,
            connections_per_address: 500,
            connections_per_identity: 500,
            receiving_bytes: 128 * 1024 * 1024,
            idle_timeout: Duration::from_secs(300),
            session_timeout: Duration::from_secs(2 * 3600),
            minimum_rate: 256,
            commands: 1000,
            maximum_hold: Duration::from_secs(7 * 24 * 3600),
            shutdown_delay: Duration::from_secs(0),
            shutdown_grace: Duration::from_secs(25),
        }
    }
}
