//! Reconciles SmtpRelay, SendingDomain and SmtpCredential into relay workloads.

pub mod certificates;
pub mod credential;
pub mod domain;
pub mod render;
