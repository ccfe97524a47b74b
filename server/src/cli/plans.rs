//! `posthouse plans`: what consumers may use.

use clap::{Args, Subcommand};
use http::Method;

use super::address::step;
use super::api::{Sent, ask, send, show};
use super::changes::{How, tell};
use super::{Failure, Look, apis, file};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Plans {
    #[command(flatten)]
    look: Look,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a plan.
    Show {
        /// The plan's name.
        name: String,
        #[command(flatten)]
        look: Look,
    },
    /// Write a plan down, new or anew.
    Put {
        /// The plan's name.
        name: String,
        /// The file (YAML or JSON; `-` for standard input) with what stands under the plan's name in
        /// the configuration file.
        file: String,
        /// Only when this is its revision; 0 when it is new.
        #[arg(long, value_name = "NUMBER")]
        revision: Option<u64>,
        #[command(flatten)]
        how: How,
    },
    /// Remove a plan.
    Delete {
        /// The plan's name.
        name: String,
        #[command(flatten)]
        how: How,
    },
}

pub(crate) fn run(options: Plans) -> Result<(), Failure> {
    match options.command {
        None => {
            let answer = ask(&options.look, Method::GET, "plans")?;
            let columns = ["name", "spec.title", "origin", "revision", "changed_by"];
            show(&options.look, &answer, "plans", &columns)
        }
        Some(Command::Show { name, look }) => apis::entry(&look, &path(&name)),
        Some(Command::Put { name, file, revision, how }) => {
            let plan = Sent::Json(file::document(&file)?);
            let address = how.address(path(&name)).with_number("revision", revision);
            tell(&how.look, &send(&how.look, Method::PUT, address.as_str(), plan)?)
        }
        Some(Command::Delete { name, how }) => {
            let address = how.address(path(&name));
            tell(&how.look, &ask(&how.look, Method::DELETE, address.as_str())?)
        }
    }
}

fn path(plan: &str) -> String {
    format!("plans/{}", step(plan))
}
