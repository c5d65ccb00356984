//! What faults of names, connections and our own disk mean for the recipients.

use std::io;

use relay_smtp::EnhancedCode;

use crate::delivery::connection::ConnectionError;
use crate::delivery::outcome::{self, Fate, Kind, Remote};
use crate::delivery::resolve::ResolveError;

/// What it means that a domain has no mail exchangers to try.
pub(super) fn of_resolve(error: &ResolveError) -> Fate {
    let (kind, status) = match error {
        ResolveError::NoSuchName(_) | ResolveError::NoRecords(_) | ResolveError::NotAName(_) => {
            (Kind::Failed, EnhancedCode::new(5, 1, 2))
        }
        ResolveError::NullExchanger(_) => (Kind::Failed, EnhancedCode::new(5, 1, 10)),
        ResolveError::NoService(_) => (Kind::Failed, EnhancedCode::new(5, 4, 4)),
        ResolveError::Temporary { .. } | ResolveError::NoNameServers(_) => {
            (Kind::Deferred, EnhancedCode::new(4, 4, 3))
        }
    };
    Fate::local(kind, status, error.to_string())
}

/// What it means that a host has no address; another host may have one (case M8).
pub(super) fn of_host_lookup(error: &ResolveError) -> Fate {
    let fate = of_resolve(error);
    let status = match fate.kind {
        Kind::Failed => EnhancedCode::new(5, 4, 4),
        _ => fate.status,
    };
    Fate {
        host_fault: true,
        status,
        ..fate
    }
}

/// A smarthost that DNS does not know is a mistake in the configuration, which passes.
pub(super) fn hopeful(fate: Fate) -> Fate {
    Fate {
        kind: Kind::Deferred,
        status: EnhancedCode {
            class: 4,
            ..fate.status
        },
        ..fate
    }
}

/// Address literals are refused by policy.
pub(super) fn refused_literal(domain: &str) -> Fate {
    let text = format!(
        "mail for the address {domain} in place of a domain is not delivered here; \
         delivery.addressLiterals can permit it"
    );
    Fate::local(Kind::Failed, EnhancedCode::new(5, 1, 2), text)
}

pub(super) fn forbidden(host: &str) -> Fate {
    Fate::host(
        Kind::Failed,
        EnhancedCode::new(5, 4, 6),
        None,
        format!(
            "mail exchanger {host} lies at an address of this relay, or at one that is not of the \
             internet; delivery.permittedNetworks can permit it"
        ),
    )
}

/// What it means that the disk did not give a message. Damage does not heal; a disk that fails may.
pub(super) fn unreadable(error: &io::Error) -> Fate {
    if error.kind() == io::ErrorKind::InvalidData {
        let text = "the message was damaged on the relay's disk";
        Fate::local(Kind::Failed, EnhancedCode::new(5, 3, 0), text)
    } else {
        let text = "the relay could not read the message from its disk";
        Fate::local(Kind::Deferred, EnhancedCode::new(4, 3, 0), text)
    }
}

/// What a connection that failed means.
pub(super) fn of_connection(error: &ConnectionError, remote: &Remote) -> Fate {
    let (subject, detail) = match error {
        ConnectionError::Session(failure) => return outcome::of_failure(failure, remote),
        ConnectionError::Connect(_) | ConnectionError::ConnectTimeout(_) => (4, 1),
        ConnectionError::Tls(_) | ConnectionError::TlsTimeout(_) => (7, 5),
        ConnectionError::Closed
        | ConnectionError::Broken(_)
        | ConnectionError::Silent(_)
        | ConnectionError::Slow(_) => (4, 2),
    };
    let status = EnhancedCode::new(4, subject, detail);
    Fate::host(
        Kind::Deferred,
        status,
        Some(remote.clone()),
        error.to_string(),
    )
}
