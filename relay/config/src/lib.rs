//! The versioned configuration that the operator renders and the relay reads.
//!
//! One main file (JSON, or YAML when a person writes it) and a fixed number of hash buckets for
//! what grows with the number of domains and credentials. Both sides use this crate, so that the
//! hash which a relay reports and the hash which the operator expects are computed by one function.
//!
//! This crate knows no Kubernetes, no socket and no clock.

mod bucket;
mod duration;
mod error;
pub mod files;
mod grant;
mod hash;
mod issuer;
mod jwks;
mod network;
mod schema;
mod secret;
mod status;
mod validate;
mod verifier;

pub use bucket::{BUCKETS, Bucket, bucket_file, bucket_of};
pub use duration::Duration;
pub use error::ConfigError;
pub use files::{ConfigFiles, MAIN_FILE, Source, parse_files, read};
pub use grant::Grant;
pub use hash::ConfigHash;
pub use issuer::{AuthenticationSettings, Issuer, IssuerKind};
pub use jwks::{KeyFault, KeySet, KeySetError, TokenAlgorithm};
pub use network::Cidr;
pub use schema::*;
pub use secret::Secret;
pub use status::{
    HandOverStatus, QueueStatus, RelayStatus, SmarthostLoginStatus, SmarthostTokenStatus,
};
pub use verifier::{ScramVerifier, VerifierError};
