//! What can go wrong with telemetry, as one type.

use std::io;
use std::path::PathBuf;

/// Why something cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter of the log cannot be understood.
    #[error(
        "`{filter}` is not a log filter like `info` or `warn,posthouse_gateway=debug`: {reason}"
    )]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a log already in this process.
    #[error("the log of this process is set up already")]
    SetTwice,
    /// A file of lines cannot be opened.
    #[error("{path} cannot be opened for appending: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no thread for writing.
    #[error("no thread can be started to write lines: {0}")]
    Thread(io::Error),
}
