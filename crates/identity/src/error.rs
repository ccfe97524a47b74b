//! What can go wrong with identity as a whole, as one type. What is wrong with a credential is a
//! `Refusal`, and is told to nobody in detail.

use std::io;
use std::path::PathBuf;

/// Why identity could not be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the configuration names cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that the configuration names does not hold what it should.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without its content.
        message: String,
    },
    /// TLS towards issuers cannot be set up.
    #[error("TLS for asking issuers cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A key to sign with could not be made.
    #[error("a key to sign with could not be made")]
    KeyMaking,
}
