//! Work in named steps: where it stands while it runs, and how each step ended.

use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It did what it should.
    Done,
    /// It was not run, for this reason.
    Skipped(String),
}

/// One step.
pub(crate) struct Step {
    name: &'static str,
    work: Box<dyn FnOnce() -> anyhow::Result<Outcome>>,
    /// Whether the later steps make no sense when this one fails.
    needed: bool,
}

impl Step {
    /// A step that the others do not depend on.
    pub(crate) fn new(
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<Outcome> + 'static,
    ) -> Self {
        Self { name, work: Box::new(work), needed: false }
    }

    /// A step without which the later ones are not run.
    pub(crate) fn needed(
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<Outcome> + 'static,
    ) -> Self {
        Self { needed: true, ..Self::new(name, work) }
    }
}

/// Runs the steps in order, says how each went, and fails when one has failed. A failed step does
/// not keep the others from running unless they need it.
pub(crate) fn run(steps: Vec<Step>) -> anyhow::Result<()> {
    let count = steps.len();
    let began = Instant::now();
    let mut summary = Vec::new();
    let mut failure = None;
    for (number, step) in (1..).zip(steps) {
        println!("\n[{number}/{count}] {} ({} so far)", step.name, Time(began.elapsed()));
        let step_began = Instant::now();
        let result = (step.work)();
        let took = Time(step_began.elapsed());
        summary.push(match &result {
            Ok(Outcome::Done) => format!("  ok       {} in {took}", step.name),
            Ok(Outcome::Skipped(why)) => format!("  skipped  {}: {why}", step.name),
            Err(error) => format!("  FAILED   {} in {took}: {error:#}", step.name),
        });
        println!("[{number}/{count}]{}", summary.last().map_or("", String::as_str));
        if let Err(error) = result {
            failure.get_or_insert(error.context(format!("{} failed", step.name)));
            if step.needed {
                break;
            }
        }
    }
    let skipped = summary.iter().filter(|line| line.starts_with("  skipped")).count();
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("\n{} of {count} steps in {}{skipped}:", summary.len(), Time(began.elapsed()));
    println!("{}", summary.join("\n"));
    failure.map_or(Ok(()), Err)
}

/// Runs a command with its output shown.
///
/// # Errors
/// When it does not start or ends with another status than 0.
pub(crate) fn run_command(command: &mut Command) -> anyhow::Result<()> {
    let what = command.get_program().to_string_lossy().into_owned();
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    let what = format!("{what} {}", arguments.join(" "));
    let status = command.status().with_context(|| format!("{what} does not start"))?;
    anyhow::ensure!(status.success(), "{what} ended with {status}");
    Ok(())
}

struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds < 60 {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        } else {
            write!(f, "{} min {:02} s", seconds / 60, seconds % 60)
        }
    }
}
