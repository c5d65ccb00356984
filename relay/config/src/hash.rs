//! One hash over all files of a configuration, by which operator and relay agree on what is in
//! force.
//!
//! It covers private keys and salted verifiers of long random passwords, so that publishing the
//! hash in a status gives nothing to guess against.

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest;

/// SHA-256 over the sequence of (path, content), each with its length before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConfigHash([u8; 32]);

/// Collects files in the order in which [`crate::parse_files`] visits them.
pub(crate) struct Builder(digest::Context);

impl ConfigHash {
    pub(crate) fn builder() -> Builder {
        Builder(digest::Context::new(&digest::SHA256))
    }
}

impl Builder {
    pub(crate) fn add(&mut self, path: &Path, content: &[u8]) {
        for part in [path.as_os_str().as_encoded_bytes(), content] {
            self.0.update(&(part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    pub(crate) fn finish(self) -> ConfigHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.0.finish().as_ref());
        ConfigHash(hash)
    }
}

/// Lower-case hexadecimal.
impl fmt::Display for ConfigHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ConfigHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
