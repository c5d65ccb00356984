//! What can be wrong with a configuration: always the file, the field and the remedy.

use std::path::PathBuf;

/// Why files are not a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is larger than [`crate::files::FILE_LIMIT`].
    #[error("{}: is {size} octets; a configuration file has at most {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in octets.
        size: u64,
        /// The limit in octets.
        limit: u64,
    },
    /// A file is not well-formed or has a field of the wrong type or name.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Place and cause.
        message: String,
    },
    /// A field's value cannot be used.
    #[error("{field}: {message}")]
    Invalid {
        /// Path of the field, such as `listeners[0].clients`.
        field: String,
        /// The value, why it cannot be used, and what would do.
        message: String,
    },
}
