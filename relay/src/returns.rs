//! What comes back of a domain's mail: return paths that nobody can forge, and the reports that come
//! to them.
//!
//! A message of a sending domain with a bounce address leaves with a return path of its own for each
//! recipient (`path`). What comes to one on a listener with `role: Bounces` is read as a delivery
//! report (RFC 3464) or a complaint (RFC 5965) (`report`), and feeds the domain's suppression list
//! (`accept`). Nothing is relayed from there, and everything else is refused.

mod accept;
mod path;
mod report;

pub(crate) use accept::{accept, judge};
pub(crate) use path::{KeyFault, ReturnPaths};
