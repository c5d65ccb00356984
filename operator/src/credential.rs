//! SmtpCredential: a generated password as a Service Binding Secret, its verifier for the relay.

pub mod binding;
