//! The same constant rate twice, quiet and while the configuration is reloaded: every other time by
//! a changed file, the other times by SIGHUP. That a changed file is in force is seen from outside:
//! each version has a route that no other has.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::sys::signal::Signal;

use super::house::{self, ConstantLoad, House, Rate};
use super::install::{self, Source};
use super::load::fetch;
use super::machine::Machine;
use super::peers::{self, Place};
use super::report::{self, Table};
use super::stats::{Request, latencies, median, percentile};
use super::work::{Service, Work};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    rate: Rate,
    /// Pairs of a quiet and a reloading run; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Reloads of a run.
    #[arg(long, default_value_t = 200)]
    reloads: u32,
    /// Routes and services in the configuration.
    #[arg(long, default_value_t = 100)]
    routes: usize,
    /// Put the table into BENCHMARKS.md.
    #[arg(long)]
    write: bool,
}

/// Time for each reload; the load goes on for as long as all of them take.
const PACE: Duration = Duration::from_millis(100);

/// A changed file is to be in force after this.
const LIMIT: Duration = Duration::from_secs(5);

/// p99 may grow by this when reloading.
const ALLOWED: f64 = 1.5;

struct Setting {
    root: PathBuf,
    folder: PathBuf,
    posthouse: PathBuf,
    bench_load: PathBuf,
    work: Work,
}

/// What one pair of runs saw; latencies in milliseconds.
struct Round {
    quiet_p99: f64,
    reload_p99: f64,
    failed: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.rounds > 0 && options.reloads > 0 && options.routes > 0, "all above 0");
    super::process::raise_descriptor_limit()?;
    let root = super::root()?;
    let nginx = install::require(&root, "nginx", Source::Debian { package: "nginx" }, false)?;
    let work = Work::routes(options.routes, peers::free_address()?.port());
    let setting = Setting {
        folder: super::fresh_folder(&root, "reload")?,
        posthouse: install::posthouse(&root)?,
        bench_load: install::build(&root, "posthouse-bench-load", "bench-load")?,
        root,
        work,
    };
    let place = Place { root: &setting.root, folder: &setting.folder, core: None };
    let _backends = peers::start_backends(&setting.work, &nginx, &setting.bench_load, &place)?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let round = setting.round(options)?;
        let Round { quiet_p99, reload_p99, failed } = &round;
        eprintln!(
            "round {number}/{}: p99 {quiet_p99:.2} ms quiet, {reload_p99:.2} ms reloading, {failed} failed",
            options.rounds
        );
        rounds.push(round);
    }
    let (text, kept) = describe(&Machine::here(&setting.root), options, &rounds);
    print!("{text}");
    if options.write {
        report::write_section(&setting.root, "reload", &text)?;
    }
    ensure!(kept, "the promise is not kept");
    Ok(())
}

impl Setting {
    fn round(&self, options: &Options) -> anyhow::Result<Round> {
        let mut house =
            House::start(&self.posthouse, &self.root, &self.folder, "calm.yaml", &self.version(0))?;
        let quiet = self.load(&house, options)?.finish()?;
        let load = self.load(&house, options)?;
        let begun = Instant::now();
        for number in 1..=options.reloads {
            if number % 2 == 1 {
                self.change_file(&mut house, number)?;
            } else {
                house.group.signal(Signal::SIGHUP)?;
            }
            thread::sleep((PACE * number).saturating_sub(begun.elapsed()));
        }
        let reloading = load.finish()?;
        let failed = |requests: &[Request]| requests.iter().filter(|r| r.failed()).count();
        let p99 = |requests: &[Request]| super::milliseconds(percentile(&latencies(requests), 99));
        Ok(Round {
            quiet_p99: p99(&quiet),
            reload_p99: p99(&reloading),
            failed: failed(&quiet) + failed(&reloading),
        })
    }

    fn load(&self, house: &House, options: &Options) -> anyhow::Result<ConstantLoad> {
        let time = PACE * options.reloads;
        let seconds = u32::try_from(time.as_millis().div_ceil(1_000))?;
        ConstantLoad::start(
            &self.bench_load,
            &self.folder,
            house.address,
            options.rate,
            seconds,
            &["--path", "/svc-0/hello"],
        )
    }

    /// The table, with a route that only this version of it has.
    fn version(&self, number: u32) -> Work {
        let mut work = self.work.clone();
        work.services.push(Service {
            name: "version".to_owned(),
            prefix: format!("/version-{number}/"),
            instances: work.services[0].instances.clone(),
        });
        work
    }

    fn change_file(&self, house: &mut House, number: u32) -> anyhow::Result<()> {
        let work = self.version(number);
        house::write_config(&self.root, &self.folder, "calm.yaml", &work)?;
        let begun = Instant::now();
        let path = work.last_path();
        while !fetch(house.address, &path).is_ok_and(|(status, _)| status == 200) {
            house.group.ensure_alive()?;
            ensure!(begun.elapsed() < LIMIT, "the changed file is not in force after {LIMIT:?}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// The tables, and whether the promise is kept.
fn describe(machine: &Machine, options: &Options, rounds: &[Round]) -> (String, bool) {
    let quiet = median(rounds.iter().map(|round| round.quiet_p99).collect());
    let reloading = median(rounds.iter().map(|round| round.reload_p99).collect());
    let failed: usize = rounds.iter().map(|round| round.failed).sum();
    let mut table = Table::new(&["p99 ms", "quiet", "reloading", "ratio", "failed requests"]);
    let mut row = |name: String, quiet: f64, reloading: f64, failed: usize| {
        table.row(vec![
            name,
            format!("{quiet:.2}"),
            format!("{reloading:.2}"),
            format!("{:.2}", reloading / quiet),
            failed.to_string(),
        ]);
    };
    for (round, number) in rounds.iter().zip(1..) {
        row(format!("round {number}"), round.quiet_p99, round.reload_p99, round.failed);
    }
    row("median".to_owned(), quiet, reloading, failed);
    let Options { rate: Rate { rate, connections }, reloads, routes, .. } = options;
    let mut text = format!("Machine: {machine}.\\\n");
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{rate} GET/s over {connections} connections, {routes} routes; in the reloading runs \
         {reloads} reloads, every {} ms, by a changed file and by SIGHUP in turn.\n\n{table}",
        PACE.as_millis()
    );
    (text, failed == 0 && reloading <= quiet * ALLOWED)
}
