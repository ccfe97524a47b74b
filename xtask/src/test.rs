//! `cargo xtask test`: every check and test, in the order that says earliest what is wrong.
//!
//! Two builds carry all of it: the test profile for clippy's neighbours, the unit tests and the
//! harness, and the `fast` profile for the binary that the end-to-end tests run.

use std::path::PathBuf;
use std::process::Command;

use crate::steps::{self, Outcome, Step, run_command};
use crate::{docs, setup, target, workspace};

/// The package of the end-to-end and interoperability tests.
const END_TO_END: &str = "posthouse-tests";

/// Runs all of it, or only what needs nothing set up.
pub(crate) fn run(quick: bool) -> anyhow::Result<()> {
    let nextest = setup::find_program("cargo-nextest").is_some();
    let mut steps = Vec::new();
    if !quick {
        steps.push(Step::needed("set-up", || setup::run().map(|()| Outcome::Done)));
    }
    steps.push(Step::new("format", || done(cargo().args(["fmt", "--all", "--check"]))));
    steps.push(Step::new("clippy", || {
        let lints = ["--", "--deny", "warnings"];
        done(locked(cargo().args(["clippy", "--workspace", "--all-targets"])).args(lints))
    }));
    steps.push(Step::new("unit tests", move || done(&mut tests(nextest, Part::Unit))));
    if !quick {
        steps.push(Step::new("licences and sources", deny));
        steps.push(Step::new("advisories", advisories));
        steps.push(Step::new("fuzz targets", fuzz));
        steps.push(Step::needed("the binary", || build().map(|_| Outcome::Done)));
        steps.push(Step::new("configuration reference", || docs(true).map(|()| Outcome::Done)));
        steps.push(Step::new("end-to-end and interoperability tests", move || end_to_end(nextest)));
    }
    steps::run(steps)
}

/// Builds the binary and writes, or checks, the documents that come from it. What it says of its
/// commands and its API is compared by its tests, so checking that is theirs.
pub(crate) fn docs(check: bool) -> anyhow::Result<()> {
    docs::run(&build()?, check)?;
    if check {
        return Ok(());
    }
    for part in [&["--test", "golden"][..], &["--bin", "posthouse", "admin::description"]] {
        let golden = ["test", "--quiet", "--package", "posthouse"];
        run_command(locked(cargo().args(golden).args(part)).env("UPDATE_GOLDEN", "1"))?;
    }
    Ok(())
}

/// Builds the binary that the end-to-end tests run.
fn build() -> anyhow::Result<PathBuf> {
    let build = ["build", "--profile", "fast", "--package", "posthouse"];
    run_command(locked(cargo().args(build)))?;
    Ok(target()?.join("fast/posthouse"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Unit,
    EndToEnd,
}

/// The command that runs one part of the tests. With nextest both parts build the whole workspace
/// and choose by a filter, so that no dependency is built twice with other features.
fn tests(nextest: bool, part: Part) -> Command {
    let mut command = cargo();
    if nextest {
        let package = format!("package({END_TO_END})");
        let filter = if part == Part::Unit { format!("not {package}") } else { package };
        locked(command.args(["nextest", "run", "--workspace", "--filter-expr", &filter]));
    } else if part == Part::Unit {
        locked(command.args(["test", "--workspace", "--exclude", END_TO_END, "--no-fail-fast"]));
    } else {
        locked(command.args(["test", "--package", END_TO_END, "--no-fail-fast"]));
    }
    command
}

fn end_to_end(nextest: bool) -> anyhow::Result<Outcome> {
    let mut command = tests(nextest, Part::EndToEnd);
    command
        .env("POSTHOUSE_BIN", target()?.join("fast/posthouse"))
        .env("POSTHOUSE_VENV", setup::python_environment()?)
        .env("POSTHOUSE_NODE", setup::node_environment()?)
        .env("POSTHOUSE_TEST_NODE", setup::test_node_environment()?);
    done(&mut command)
}

/// Licences, sources and bans of the dependencies, by `deny.toml`.
fn deny() -> anyhow::Result<Outcome> {
    if let Some(skipped) = no_deny() {
        return Ok(skipped);
    }
    done(cargo().args(["deny", "check", "bans", "licenses", "sources"]))
}

/// Known faults of the dependencies, by the database of RustSec, which is fetched first.
fn advisories() -> anyhow::Result<Outcome> {
    if let Some(skipped) = no_deny() {
        return Ok(skipped);
    }
    if run_command(cargo().args(["deny", "fetch", "db"])).is_err() {
        return Ok(Outcome::Skipped("NOT CHECKED: their database cannot be fetched".to_owned()));
    }
    done(cargo().args(["deny", "check", "advisories"]))
}

fn no_deny() -> Option<Outcome> {
    let missing = "NOT CHECKED: cargo-deny is not installed; `cargo install cargo-deny --locked`";
    let found = setup::find_program("cargo-deny").is_some();
    (!found).then(|| Outcome::Skipped(missing.to_owned()))
}

/// That the fuzz targets still compile: nothing else builds them. Their versions are their own
/// workspace's, and go into nothing that is shipped.
fn fuzz() -> anyhow::Result<Outcome> {
    let target = target()?.join("fuzz");
    let check = ["check", "--quiet", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"];
    done(cargo().args(check).arg(target))
}

fn done(command: &mut Command) -> anyhow::Result<Outcome> {
    run_command(command).map(|()| Outcome::Done)
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// In continuous integration the committed versions are the ones that count.
fn locked(command: &mut Command) -> &mut Command {
    if std::env::var_os("CI").is_some() { command.arg("--locked") } else { command }
}
