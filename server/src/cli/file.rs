//! What is read from files for the admin API: text as it is, and YAML or JSON in the form of the
//! configuration file, with `${env:NAME}` and `${file:PATH}` filled in here, where these are.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use super::{Failure, check, wants_colours};
use crate::config;

/// The text of a file, or of standard input (`-`).
pub(super) fn text(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file {
        "-" => io::stdin().lock().read_to_string(&mut text).map(|_| text),
        file => std::fs::read_to_string(file),
    };
    read.with_context(|| format!("{file} cannot be read")).map_err(Failure::setup)
}

/// A file of YAML or JSON. What is wrong with it is told with its place.
pub(super) fn document(file: &str) -> Result<Value, Failure> {
    let base = Path::new(file).parent().unwrap_or(Path::new(""));
    config::read_part(&text(file)?, file, base).map_err(|findings| {
        // Nobody to tell it to; the exit code still says it.
        let said = findings.to_text(wants_colours(&io::stderr()));
        let _unheard = io::stderr().write_all(said.as_bytes());
        Failure::setup(anyhow!(check::summary(&findings)))
    })
}
