//! What comes back of a domain's mail: return paths that nobody can forge, and the reports that come
//! to them.
//!
//! A message of a sending domain with a bounce address leaves with a return path of its own for each
//! recipient (`path`). What comes to one on a listener with `role: Bounces` is read as a delivery
//! report (RFC 3464) or a complaint (RFC 5965) (`report`), and feeds the domain's suppression list
//! (`accept`). A delivery report goes on to the sender of the message (`senders`), as it would have
//! without a return path of ours. Nothing else is relayed from there; it is refused.

mod accept;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod path;
mod report;
mod senders;

pub(crate) use accept::{accept, judge};
pub(crate) use path::{KeyFault, ReturnPaths};
pub(crate) use senders::Senders;
