//! Everything that is done with the source tree: `cargo xtask --help`.

#![expect(clippy::print_stdout, reason = "a command-line tool talks to its user")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod docs;
mod setup;
mod steps;
mod test;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, tests and benchmarks of Posthouse")]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check and test, setting up what they need.
    Test {
        /// Only the format check, clippy and the unit tests; needs nothing set up.
        #[arg(long)]
        quick: bool,
    },
    /// Write what the binary says of itself: configuration reference, help, the admin API.
    Docs {
        /// Write nothing; fail when it is out of date.
        #[arg(long)]
        check: bool,
    },
    /// Set up what the end-to-end and interoperability tests need.
    Setup,
    /// Run benchmarks: `cargo xtask bench --help`.
    #[command(disable_help_flag = true)]
    Bench {
        /// What to measure, and how.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match CommandLine::parse().task {
        Task::Test { quick } => test::run(quick),
        Task::Docs { check } => test::docs(check),
        Task::Setup => setup::run(),
        Task::Bench { args } => bench::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref::<setup::Missing>() {
                Some(_) => ExitCode::from(2),
                None => ExitCode::FAILURE,
            }
        }
    }
}

/// The root of the source tree.
fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lives one folder below the root").to_owned()
}

/// The folder that cargo builds into: this program runs from `TARGET/PROFILE/xtask`.
fn target() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2);
    Ok(target.ok_or_else(|| anyhow::anyhow!("{} is in no target folder", this.display()))?.into())
}
