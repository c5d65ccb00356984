//! The real relay delivers to mail servers that other people wrote: Postfix, Exim, OpenSMTPD, Haraka.
//!
//! One set of servers serves all tests; each test has a relay of its own and looks only for its own
//! messages. What arrived is read from the servers' mailboxes, DNS is Knot's and Unbound's.

#[path = "peers/certificates.rs"]
mod certificates;
#[path = "peers/commands.rs"]
mod commands;
#[path = "peers/dane.rs"]
mod dane;
#[path = "peers/draft.rs"]
mod draft;
#[path = "peers/plain.rs"]
mod plain;
#[path = "peers/policies.rs"]
mod policies;
#[path = "peers/stage.rs"]
mod stage;
#[path = "peers/sts.rs"]
mod sts;
