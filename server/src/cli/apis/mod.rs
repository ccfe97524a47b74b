//! `posthouse apis`: APIs and their versions, from the first draft to what answers 410; and what differs
//! between two of their descriptions ([`diff`]).

mod diff;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::address::{Address, Api, Version};
use super::api::{Sent, add_times, ask, ask_text, cell, print_json, send, show, show_times};
use super::changes::{How, differences, tell};
use super::{Failure, Look, Output, file, print, yaml};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Apis {
    #[command(flatten)]
    look: Look,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show an API, or a version of one.
    Show {
        /// The API, or a version of it.
        #[arg(value_name = "API[@VERSION]")]
        api: Api,
        #[command(flatten)]
        look: Look,
    },
    /// Write an API or a version down, new or anew.
    ///
    /// Versions that stand in an API's file are written down as well; others stay.
    Put {
        /// The API, or a version of it.
        #[arg(value_name = "API[@VERSION]")]
        api: Api,
        /// The file (YAML or JSON; `-` for standard input) with what stands under its name in the
        /// configuration file.
        file: String,
        /// Only when this is its revision; 0 when it is new.
        #[arg(long, value_name = "NUMBER")]
        revision: Option<u64>,
        #[command(flatten)]
        how: How,
    },
    /// Give a version an OpenAPI document, from which come its routes. A version that is not there
    /// yet is made, as a draft.
    Import {
        /// The version.
        #[arg(value_name = "API@VERSION")]
        version: Version,
        /// The document (YAML or JSON; `-` for standard input).
        file: String,
        /// The service that answers its calls.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// What the paths of its calls begin with.
        #[arg(long, value_name = "PATH")]
        path: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Publish a draft, or take a deprecation back.
    Publish {
        /// The version.
        #[arg(value_name = "API@VERSION")]
        version: Version,
        #[command(flatten)]
        how: How,
    },
    /// Deprecate a version: its answers say so, and when it is expected to stop.
    Deprecate(End),
    /// Retire a deprecated version: its calls are answered with 410, which names the successor.
    ///
    /// What is not said stays as it was deprecated.
    Retire(End),
    /// Print the OpenAPI document or `.proto` file of a version.
    Document {
        /// The version.
        #[arg(value_name = "API@VERSION")]
        version: Version,
        #[command(flatten)]
        look: Look,
    },
    /// Show the changes of an API or a version, the latest first.
    History {
        /// The API, or a version of it.
        #[arg(value_name = "API[@VERSION]")]
        api: Api,
        #[command(flatten)]
        look: Look,
    },
    /// Compare two revisions of a version: by default the last with the one before it.
    Compare {
        /// The version.
        #[arg(value_name = "API@VERSION")]
        version: Version,
        /// The earlier revision.
        #[arg(long, value_name = "NUMBER")]
        from: Option<u64>,
        /// The later revision.
        #[arg(long, value_name = "NUMBER")]
        to: Option<u64>,
        #[command(flatten)]
        look: Look,
    },
    /// Make a version what it was in an earlier revision.
    Rollback {
        /// The version.
        #[arg(value_name = "API@VERSION")]
        version: Version,
        /// The revision.
        #[arg(long, value_name = "NUMBER")]
        to: u64,
        #[command(flatten)]
        how: How,
    },
    /// Remove a version that takes no calls, or an API that has no versions.
    Delete {
        /// The API, or a version of it.
        #[arg(value_name = "API[@VERSION]")]
        api: Api,
        #[command(flatten)]
        how: How,
    },
    Diff(diff::Diff),
}

#[derive(Debug, Args)]
struct End {
    /// The version.
    #[arg(value_name = "API@VERSION")]
    version: Version,
    /// Since when it is deprecated, like 2026-10-01 [default: now].
    #[arg(long, value_name = "DATE")]
    deprecated: Option<String>,
    /// When it is expected to stop.
    #[arg(long, value_name = "DATE")]
    sunset: Option<String>,
    /// The version of the same API to use instead.
    #[arg(long, value_name = "VERSION")]
    successor: Option<String>,
    /// The address of a page about it.
    #[arg(long, value_name = "URL")]
    documentation: Option<String>,
    #[command(flatten)]
    how: How,
}

pub(crate) fn run(options: Apis) -> Result<(), Failure> {
    let Some(command) = options.command else { return list(&options.look) };
    match command {
        Command::Show { api, look } => entry(&look, &api.path()),
        Command::Put { api, file, revision, how } => {
            let spec = Sent::Json(file::document(&file)?);
            let address = how.address(api.path()).with_number("revision", revision);
            change(&how, Method::PUT, &address, spec)
        }
        Command::Import { version, file, service, path, how } => {
            let document = Sent::Document(file::text(&file)?);
            let address = how.address(format!("{}/import", version.path()));
            let address = address.with("service", service.as_deref());
            change(&how, Method::POST, &address.with("path", path.as_deref()), document)
        }
        Command::Publish { version, how } => {
            let address = how.address(format!("{}/publish", version.path()));
            change(&how, Method::POST, &address, Sent::Nothing)
        }
        Command::Deprecate(end) => end.ask("deprecate"),
        Command::Retire(end) => end.ask("retire"),
        Command::Document { version, look } => document(&version, &look),
        Command::History { api, look } => {
            let answer = ask(&look, Method::GET, &format!("{}/history", api.path()))?;
            let columns = ["revision", "at", "who", "cause", "state", "note"];
            show_times(&look, answer, "revisions", &columns)
        }
        Command::Compare { version, from, to, look } => compare(&version, (from, to), &look),
        Command::Rollback { version, to, how } => {
            let address = how.address(format!("{}/rollback", version.path()));
            change(&how, Method::POST, &address, Sent::Json(json!({ "revision": to })))
        }
        Command::Delete { api, how } => {
            change(&how, Method::DELETE, &how.address(api.path()), Sent::Nothing)
        }
        Command::Diff(options) => diff::run(&options),
    }
}

fn change(how: &How, method: Method, address: &Address, sent: Sent) -> Result<(), Failure> {
    tell(&how.look, &send(&how.look, method, address.as_str(), sent)?)
}

impl End {
    fn ask(self, step: &str) -> Result<(), Failure> {
        let Self { version, deprecated, sunset, successor, documentation, how } = self;
        let ending = json!({
            "deprecated": deprecated, "sunset": sunset, "successor": successor,
            "documentation": documentation,
        });
        let address = how.address(format!("{}/{step}", version.path()));
        change(&how, Method::POST, &address, Sent::Json(ending))
    }
}

/// Shows an entry of the catalog: what is known of it, and what it is as the file would say it.
pub(super) fn entry(look: &Look, path: &str) -> Result<(), Failure> {
    let mut entry = ask(look, Method::GET, path)?;
    if look.output == Output::Json {
        return print_json(&entry);
    }
    add_times(&mut entry);
    let mut text = String::new();
    for name in ["name", "kind", "origin", "revision", "changed_by", "changed_at"] {
        text += &format!("{name:<10} {}\n", cell(&entry[name]));
    }
    for name in ["versions", "routes"] {
        if entry[name].is_array() {
            text += &format!("{name:<10} {}\n", cell(&entry[name]));
        }
    }
    if entry["spec"].as_object().is_some_and(|spec| !spec.is_empty()) {
        text += &format!("\n{}", yaml::text(&entry["spec"]));
    }
    print(&text)
}

/// A row for each version, and for an API that has none.
fn list(look: &Look) -> Result<(), Failure> {
    let answer = ask(look, Method::GET, "apis")?;
    if look.output == Output::Json {
        return print_json(&answer);
    }
    let mut rows = Vec::new();
    for api in answer["apis"].as_array().into_iter().flatten() {
        let row = |version: &Value| {
            json!({
                "api": api["name"], "version": version["name"], "state": version["state"],
                "sunset": version["sunset"], "successor": version["successor"],
                "routes": version["routes"], "origin": api["origin"], "owner": api["owner"],
            })
        };
        let versions = api["versions"].as_array().filter(|versions| !versions.is_empty());
        match versions {
            Some(versions) => rows.extend(versions.iter().map(row)),
            None => rows.push(row(&Value::Null)),
        }
    }
    let columns = ["api", "version", "state", "sunset", "successor", "routes", "origin", "owner"];
    show(look, &json!({ "versions": rows }), "versions", &columns)
}

fn document(version: &Version, look: &Look) -> Result<(), Failure> {
    let text = ask_text(look, &format!("{}/document", version.path()))?;
    match look.output {
        Output::Json => print_json(&json!({ "document": text })),
        Output::Text if text.ends_with('\n') => print(&text),
        Output::Text => print(&(text + "\n")),
    }
}

fn compare(
    version: &Version,
    (from, to): (Option<u64>, Option<u64>),
    look: &Look,
) -> Result<(), Failure> {
    let address = Address::new(format!("{}/compare", version.path()));
    let address = address.with_number("from", from).with_number("to", to);
    let answer = ask(look, Method::GET, address.as_str())?;
    if look.output == Output::Json {
        return print_json(&answer);
    }
    match differences(&answer, "") {
        text if text.is_empty() => print("nothing differs\n"),
        text => print(&text),
    }
}
