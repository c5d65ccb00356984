//! Reconciles SmtpRelay, SendingDomain and SmtpCredential into relay workloads.

pub mod certificates;
pub mod cli;
pub mod conditions;
pub mod context;
pub mod crds;
pub mod credential;
pub mod domain;
pub mod guarded_secret;
pub mod holder;
pub mod http;
pub mod issuers;
pub mod kubernetes;
pub mod labels;
pub mod leader;
pub mod relay;
pub mod release;
pub mod render;
pub mod run;
pub mod telemetry;

#[cfg(test)]
mod testing;
