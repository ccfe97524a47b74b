//! The same constant rate twice, quiet and while the configuration is reloaded: every other time by
//! a changed file, the other times by SIGHUP. Each version of the file has a route that no other has,
//! by which is seen from outside that it is in force, and a service with another instance.
//!
//! The quiet run does everything else that the reloading one does (files are written, though nobody
//! reads them, and routes looked at), so that the difference is what reloading costs.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
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

const TEMPLATE: &str = "calm.yaml";

/// Time for each reload; the load goes on for as long as all of them take.
const PACE: Duration = Duration::from_millis(100);

/// A changed file is to be in force after this.
const LIMIT: Duration = Duration::from_secs(5);

/// Time between two looks at whether it is, once it is late.
const LOOK: Duration = Duration::from_millis(5);

/// p99 may grow by this when reloading.
const ALLOWED: f64 = 1.5;

struct Setting {
    root: PathBuf,
    folder: PathBuf,
    posthouse: PathBuf,
    bench_load: PathBuf,
    work: Work,
}

/// What is done beside the load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Quiet,
    Reloading,
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
    setting.prepare(options.reloads)?;
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
            House::start(&self.posthouse, &self.root, &self.folder, TEMPLATE, &self.version(0))?;
        house.group.wait_idle()?;
        let quiet = self.measure(&mut house, options, Run::Quiet)?;
        let reloading = self.measure(&mut house, options, Run::Reloading)?;
        let failed = |requests: &[Request]| requests.iter().filter(|r| r.failed()).count();
        let p99 = |requests: &[Request]| super::milliseconds(percentile(&latencies(requests), 99));
        Ok(Round {
            quiet_p99: p99(&quiet),
            reload_p99: p99(&reloading),
            failed: failed(&quiet) + failed(&reloading),
        })
    }

    fn measure(
        &self,
        house: &mut House,
        options: &Options,
        run: Run,
    ) -> anyhow::Result<Vec<Request>> {
        let load = self.load(house, options)?;
        let begun = Instant::now();
        for number in 1..=options.reloads {
            let by_file = number % 2 == 1;
            if by_file {
                self.put_in_place(number, run)?;
            } else if run == Run::Reloading {
                house.group.signal(Signal::SIGHUP)?;
            }
            thread::sleep((PACE * number).saturating_sub(begun.elapsed()));
            if by_file {
                self.wait_in_force(house, if run == Run::Reloading { number } else { 0 })?;
            }
        }
        load.finish()
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

    /// The table, with a route that only this version of it has, and a service that changes.
    fn version(&self, number: u32) -> Work {
        let mut work = self.work.clone();
        let turn = number as usize % work.services.len();
        work.services.push(Service {
            name: "version".to_owned(),
            prefix: format!("/version-{number}/"),
            instances: work.services[turn].instances.clone(),
        });
        work
    }

    /// Writes all versions beforehand: making them is work that no reload causes.
    fn prepare(&self, reloads: u32) -> anyhow::Result<()> {
        for run in [Run::Quiet, Run::Reloading] {
            let folder = self.versions(run);
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
            for number in (1..=reloads).step_by(2) {
                let text =
                    house::config_text(&self.root, &self.folder, TEMPLATE, &self.version(number))?;
                fs::write(folder.join(number.to_string()), text)?;
            }
        }
        Ok(())
    }

    fn versions(&self, run: Run) -> PathBuf {
        self.folder.join(match run {
            Run::Quiet => "versions-quiet",
            Run::Reloading => "versions",
        })
    }

    /// Replaces the file in one step, as editors and deployments do; in the quiet run one that
    /// nobody reads.
    fn put_in_place(&self, number: u32, run: Run) -> anyhow::Result<()> {
        let versions = self.versions(run);
        let new = versions.join("new");
        fs::copy(versions.join(number.to_string()), &new)?;
        let place = match run {
            Run::Quiet => versions.join("current"),
            Run::Reloading => self.folder.join(TEMPLATE),
        };
        fs::rename(&new, place).context("put the configuration in place")
    }

    fn wait_in_force(&self, house: &mut House, number: u32) -> anyhow::Result<()> {
        let path = self.version(number).last_path();
        let begun = Instant::now();
        while !fetch(house.address, &path).is_ok_and(|(status, _)| status == 200) {
            house.group.ensure_alive()?;
            ensure!(begun.elapsed() < LIMIT, "the changed file is not in force after {LIMIT:?}");
            thread::sleep(LOOK);
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
