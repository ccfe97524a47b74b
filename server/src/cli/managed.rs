//! `posthouse export` and `apply`: everything that is managed over the admin API, in one file.

use anyhow::{Context as _, anyhow};
use clap::Args;
use http::Method;
use serde_json::Value;

use super::api::{Sent, ask, send};
use super::changes::{How, tell};
use super::{Failure, Look, Output, file, print, yaml};

/// The sections that are applied; nothing else of a file is sent anywhere.
const SECTIONS: [&str; 3] = ["apis", "plans", "consumers"];

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Write it to this file.
    #[arg(long, value_name = "FILE")]
    output_file: Option<String>,
    /// Written as YAML (`text`), or as JSON.
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The file (YAML or JSON) with `apis`, `plans` and `consumers` as in the configuration file; `-`
    /// for standard input.
    file: String,
    /// Remove what is managed over the admin API and not in the file.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    how: How,
}

pub(crate) fn export(options: &Export) -> Result<(), Failure> {
    let Export { output_file, look } = options;
    let managed = shielded(ask(look, Method::GET, "export")?);
    let text = match look.output {
        Output::Text => yaml::text(&managed),
        Output::Json => format!("{managed:#}\n"),
    };
    let Some(file) = output_file else { return print(&text) };
    let written = std::fs::write(file, text);
    written.with_context(|| format!("{file} cannot be written")).map_err(Failure::setup)
}

pub(crate) fn apply(options: &Apply) -> Result<(), Failure> {
    let Apply { file, prune, how } = options;
    let wanted = file::document(file)?;
    only_sections(file, &wanted)?;
    let address = how.address("apply").with_flag("prune", *prune);
    let done = send(&how.look, Method::POST, address.as_str(), Sent::Json(wanted))?;
    tell(&how.look, &done)
}

/// What is exported is read as the configuration file is, where `$${` stands for a plain `${`. In keys
/// nothing is filled in.
fn shielded(value: Value) -> Value {
    match value {
        Value::String(text) => text.replace("${", "$${").into(),
        Value::Array(list) => list.into_iter().map(shielded).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, shielded(value))).collect(),
        other => other,
    }
}

/// A whole configuration has secrets, which must not be sent.
fn only_sections(file: &str, wanted: &Value) -> Result<(), Failure> {
    let wrong = |message: String| Failure::setup(anyhow!(message));
    let Some(sections) = wanted.as_object() else {
        return Err(wrong(format!("{file} has no sections like `apis: {{ … }}`")));
    };
    match sections.keys().find(|key| !SECTIONS.contains(&key.as_str())) {
        Some(other) => {
            let sections = SECTIONS.join("`, `");
            Err(wrong(format!("{file} has `{other}`: only `{sections}` can be applied")))
        }
        None => Ok(()),
    }
}
