//! What the journal does per second, beside what SQLite alone does in the same run.
//!
//! `appends`: durable appends by batch and number of writers. `mixed`: appends, reads and removals
//! for minutes, with the file's size and the delays of each. `start`: how long a journal with many
//! events takes to open. `trace`: a few appends with a mark before each answer, for `strace`.

#![expect(clippy::print_stdout, reason = "it is a command line")]

mod appends;
mod load;
mod mixed;
mod raw;
mod start;
mod trace;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use serde::Serialize;

#[derive(Debug, Parser)]
struct Arguments {
    /// The folder in which journals are made; they are removed afterwards.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
    /// Bytes of data in an event.
    #[arg(long, global = true, default_value_t = 1024)]
    size: usize,
    /// The write-ahead log's bound in MiB, instead of the default.
    #[arg(long, global = true)]
    log_mib: Option<u64>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Durable appends per second, beside SQLite alone.
    Appends {
        /// Seconds for each measurement.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Events in a batch.
        #[arg(long, value_delimiter = ',', default_value = "1,8,32,128")]
        batch: Vec<usize>,
        /// Writers at the same time, each with one batch on its way.
        #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
        writers: Vec<usize>,
        /// Streams of each writer.
        #[arg(long, default_value_t = 1)]
        streams: usize,
    },
    /// Appends, reads and removals at the same time.
    Mixed {
        /// Minutes to go on.
        #[arg(long, default_value_t = 30)]
        minutes: u64,
        /// Batches per second of all writers together; 0 for as many as can be.
        #[arg(long, default_value_t = 0)]
        rate: u64,
    },
    /// How long a journal takes to open and read a pillar's checkpoint.
    Start {
        /// Events in the journal.
        #[arg(long, default_value_t = 10_000_000)]
        events: u64,
    },
    /// Some appends, each with a line on the standard output after it is confirmed.
    Trace {
        /// Appends.
        #[arg(long, default_value_t = 100)]
        appends: u32,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = match &arguments.folder {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    let folder = folder.context("a folder for the journals")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (size, json, log_mib) = (arguments.size, arguments.json, arguments.log_mib);
    match arguments.command {
        Command::Appends { seconds, batch, writers, streams } => {
            let time = Duration::from_secs_f64(seconds);
            let plan = appends::Plan { time, batch, writers, streams, size, log_mib };
            show(json, &appends::run(&plan, folder.path(), &runtime)?)
        }
        Command::Mixed { minutes, rate } => {
            let plan = mixed::Plan { minutes, rate, size, log_mib };
            runtime.block_on(mixed::run(&plan, folder.path(), |minute| show(json, minute)))
        }
        Command::Start { events } => {
            show(json, &runtime.block_on(start::run(events, size, folder.path()))?)
        }
        Command::Trace { appends } => runtime.block_on(trace::run(appends, size, folder.path())),
    }
}

/// Shows a result, as JSON or for people.
fn show<T: Serialize + std::fmt::Display>(json: bool, result: &T) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(result)?);
    } else {
        println!("{result}");
    }
    Ok(())
}
