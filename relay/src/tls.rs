//! TLS contexts from PEM files: one provider (aws-lc-rs), TLS 1.2 and 1.3.
