//! `posthouse`: the command line, and the one crate that knows all others.
//!
//! In reading order: this list, [`cli`] (what can be asked), [`config`] (the file), [`house`] (what
//! is started, in which order, and how it ends), [`control`], [`inputs`] and [`backroom`]
//! (reloading), [`calls`] and [`access`] (the gateway as the house holds it), [`caller`] (calls by parts of the house), [`guard`] (who may pass it, and by
//! which version), [`admin`] (the API and
//! metrics) and [`audit`] (who changed what by it), [`demo`].

mod access;
mod admin;
mod audit;
mod backroom;
mod caller;
mod calls;
mod cli;
mod config;
mod control;
mod data;
mod demo;
mod guard;
mod house;
mod inputs;
mod messages;
mod signals;
mod token;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use cli::{Command, CommandLine, Failure, Up};
use config::{Config, Source};
use house::House;
use signals::Signals;

/// Threads of the runtime that carries everything but calls.
const HOUSEKEEPERS: usize = 2;

fn main() -> ExitCode {
    let CommandLine { command, log } = CommandLine::parse();
    let done = match command {
        Command::Up(options) => up(&options, &log),
        Command::Check(options) => cli::check::run(&options),
        Command::Schema => cli::schema::run(),
        Command::Demo(options) => demo::run(&options, &log),
        Command::DemoService(options) => demo::service(options, &log),
        Command::Services(options) => cli::services::run(options, &log),
        Command::Kv(options) => cli::kv::run(options),
        Command::Nodes(options) => cli::look::nodes(&options),
        Command::Routes(options) => cli::look::routes(&options),
        Command::Queues(options) => cli::messages::queues(options),
        Command::Exchanges(options) => cli::messages::exchanges(options),
        Command::Publish(options) => cli::messages::publish(options),
        Command::Consume(options) => cli::messages::consume(options),
        Command::Purge(options) => cli::messages::purge(&options),
        Command::Connections(options) => cli::messages::connections(options),
        Command::Definitions(options) => cli::messages::definitions(&options),
        Command::Drain(options) => cli::messages::drain(&options),
        Command::Guard(options) => cli::guard::run(options),
        Command::Apis(options) => cli::apis::run(options),
        Command::Plans(options) => cli::plans::run(options),
        Command::Consumers(options) => cli::consumers::run(options),
        Command::Keys(options) => cli::consumers::keys(options),
        Command::Export(options) => cli::managed::export(&options),
        Command::Apply(options) => cli::managed::apply(&options),
        Command::Reload(options) => cli::look::reload(&options),
        Command::Audit(options) => cli::look::audit(&options),
        Command::Backup(options) => cli::backup::run(&options),
        Command::Restore(options) => cli::restore::run(&options),
        Command::Completions { shell } => cli::completions(shell),
    };
    done.map_or_else(Failure::exit, |()| ExitCode::SUCCESS)
}

/// The life of a house.
fn up(options: &Up, log: &cli::Log) -> Result<(), Failure> {
    // 1. Everything that is wrong with the configuration is said before anything is touched.
    let (source, config) = cli::configuration(options)?;
    // 2. From here on the house speaks through its log.
    log.start("info")?;
    let runtime = runtime()?;
    let ended = runtime.block_on(live(config, source, options));
    // Whatever still waits (for a disk, a name server, a cut call) must not hold the end up.
    runtime.shutdown_background();
    ended
}

/// From the first part that starts to the last that ends.
async fn live(config: Config, source: Source, options: &Up) -> Result<(), Failure> {
    // 3. Signals are caught before there is anything that they could end too early.
    let mut signals = Signals::catch()?;
    // 4. The pillars, each on its addresses; whatever cannot start is the user's to mend.
    let house = House::start(config, source, &options.only).await.map_err(Failure::setup)?;
    let control = house.control();
    // 5. Reload when told (signal, changed file, admin API), until told to end.
    house.run(&mut signals).await;
    // 6. Accept nothing more, let what is under way end; a second signal ends it at once.
    let ended = tokio::select! {
        () = house.stop() => Ok(()),
        () = signals.end() => Err(Failure::other(anyhow::anyhow!("ended at once, as told"))),
    };
    // 7. Nobody is to come here any more.
    control.leave();
    ended
}

/// The runtime of everything but calls, which have threads of their own.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(HOUSEKEEPERS)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_name("house")
        .enable_all()
        .build();
    runtime
        .map_err(|error| Failure::other(anyhow::Error::new(error).context("no threads to be had")))
}
