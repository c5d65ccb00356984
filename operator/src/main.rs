//! Reconciles SmtpRelay, SendingDomain and SmtpCredential into relay workloads.

fn main() {}
