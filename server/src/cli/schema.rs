//! `posthouse schema`: the JSON Schema of the configuration file.

use anyhow::Context as _;

use super::{Failure, print};

pub(crate) fn run() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&crate::config::schema()).context("schema as JSON")?;
    print(&(text + "\n"))
}
