//! `posthouse definitions`: what there is, in RabbitMQ's JSON.

use std::fmt::Write as _;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::Within;
use crate::cli::api::{Sent, ask, cell, print_json, send};
use crate::cli::{Failure, Output, file, print};

#[derive(Debug, Args)]
pub(crate) struct Definitions {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print virtual hosts, users, permissions, exchanges, queues and bindings, as `rabbitmqctl
    /// import_definitions` takes them; of one virtual host (`--vhost`) only what is in it. Hashes of
    /// passwords are among them.
    Export {
        /// Write it to this file.
        #[arg(long, value_name = "FILE")]
        output_file: Option<String>,
        #[command(flatten)]
        within: Within,
    },
    /// Take in what RabbitMQ (`rabbitmqctl export_definitions`) or Posthouse has exported. What cannot
    /// be taken is told, and the rest taken.
    Import {
        /// The file; `-` for standard input.
        file: String,
        #[command(flatten)]
        within: Within,
    },
}

pub(crate) fn run(options: &Definitions) -> Result<(), Failure> {
    match &options.command {
        Command::Export { output_file, within } => {
            let address = within.address("definitions");
            let answer = ask(&within.look, Method::GET, address.as_str())?;
            let Some(file) = output_file else { return print_json(&answer) };
            let written = std::fs::write(file, format!("{answer:#}\n"));
            written.with_context(|| format!("{file} cannot be written")).map_err(Failure::setup)
        }
        Command::Import { file, within } => import(file, within),
    }
}

fn import(file: &str, within: &Within) -> Result<(), Failure> {
    let wanted: Value = serde_json::from_str(&file::text(file)?)
        .with_context(|| format!("{file} is no JSON"))
        .map_err(Failure::setup)?;
    let address = within.address("definitions");
    let answer = send(&within.look, Method::POST, address.as_str(), Sent::Json(wanted))?;
    match within.look.output {
        Output::Json => print_json(&answer)?,
        Output::Text => print(&told(&answer))?,
    }
    match answer["refused"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        count => Err(Failure::other(anyhow!("{count} definitions were refused"))),
    }
}

fn told(answer: &Value) -> String {
    let mut text = String::new();
    let counts = |key: &str| answer[key].as_object().cloned().unwrap_or_default();
    // Writing to a text does not fail.
    for (kind, count) in counts("taken") {
        let _written = writeln!(text, "{count} {kind} are as wanted");
    }
    for (kind, count) in counts("ignored") {
        let _written = writeln!(text, "{count} {kind} have no meaning here and are left out");
    }
    for refused in answer["refused"].as_array().into_iter().flatten() {
        let (item, reason) = (cell(&refused["item"]), cell(&refused["reason"]));
        let _written = writeln!(text, "refused: {item}: {reason}");
    }
    text
}
