//! `posthouse apis diff`: what differs between two OpenAPI documents, and whether clients of the old one
//! may break. Files are compared here; a version of a running house is fetched from there.

use anyhow::anyhow;
use clap::Args;
use posthouse_catalog::openapi::diff::{self, Change};
use posthouse_catalog::openapi::{self, Document};
use serde_json::{Value, json};

use super::super::address::Version;
use super::super::api::{ask_text, print_json};
use super::super::{Failure, Look, Output, file, print};

/// Compare two OpenAPI documents, and tell what may break clients of the old one.
///
/// Files are compared where they are, and nothing needs to run.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing breaks; 1 clients of the old document may break, or it could \
not be compared; 2 something for you to mend: a file, a document."
)]
pub(super) struct Diff {
    /// The old document: a file (YAML or JSON), or a version of a running Posthouse, like `users@v1`.
    old: String,
    /// The new document, in the same way; `-` for standard input.
    new: String,
    #[command(flatten)]
    look: Look,
}

pub(super) fn run(options: &Diff) -> Result<(), Failure> {
    let Diff { old, new, look } = options;
    let changes = diff::diff(&read(old, look)?, &read(new, look)?);
    let breaking = changes.iter().filter(|change| change.breaking).count();
    match look.output {
        Output::Json => print_json(&json!({
            "breaking": breaking,
            "compatible": changes.len() - breaking,
            "changes": changes.iter().map(shown).collect::<Vec<Value>>(),
        }))?,
        Output::Text if changes.is_empty() => print("nothing differs that clients see\n")?,
        Output::Text => {
            print(&changes.iter().map(|change| format!("{change}\n")).collect::<String>())?;
        }
    }
    match breaking {
        0 => Ok(()),
        1 => Err(Failure::other(anyhow!("1 change may break clients of {old}"))),
        many => Err(Failure::other(anyhow!("{many} changes may break clients of {old}"))),
    }
}

/// The document that is meant: what is there as a file is one.
fn read(named: &str, look: &Look) -> Result<Document, Failure> {
    let is_file = named == "-" || std::path::Path::new(named).exists();
    let text = match named.parse::<Version>() {
        Ok(version) if !is_file => ask_text(look, &format!("{}/document", version.path()))?,
        _ => file::text(named)?,
    };
    openapi::read(&text).map_err(|unreadable| {
        let mistakes = unreadable.mistakes().iter().map(ToString::to_string);
        Failure::setup(anyhow!("{named}: {}", mistakes.collect::<Vec<_>>().join("; ")))
    })
}

fn shown(change: &Change) -> Value {
    let Change { rule, breaking, operation, pointer, message } = change;
    json!({
        "rule": rule, "breaking": breaking, "operation": operation, "pointer": pointer,
        "message": message,
    })
}
