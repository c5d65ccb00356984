//! SendingDomain: DKIM keys, the records to publish, and what DNS shows of them.

pub mod keyring;
pub mod keys;
mod tags;
