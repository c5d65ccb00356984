//! SmtpRelay.
pub mod admin;
