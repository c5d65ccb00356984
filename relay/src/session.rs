//! Drives one SMTP session.
