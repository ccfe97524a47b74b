//! Diagnostics: what the house does, on standard error, so that standard output stays free for
//! what a command was asked for.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::Error;

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line for people, coloured on a terminal.
    #[default]
    Text,
    /// A JSON object on a line.
    Json,
}

/// Sets up the log of this process. `filter` is a level (`info`) or more of them by target
/// (`warn,posthouse_gateway=debug`).
///
/// # Errors
/// When the filter cannot be understood, and when there is a log already.
pub fn start(filter: &str, format: Format) -> Result<(), Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    };
    let parsed = EnvFilter::try_new(filter).map_err(|error| wrong(&error))?;
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(io::stderr);
    let set = match format {
        Format::Text => builder.with_ansi(colourful()).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    set.map_err(|_already| Error::SetTwice)
}

/// Whether standard error is a terminal whose user has nothing against colours (`NO_COLOR`).
fn colourful() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
