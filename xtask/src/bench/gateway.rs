//! The comparison: every proxy does every case in turn, round by round, so that whatever else the
//! machine does meets all of them alike. A proxy starts afresh for each measurement, alone on its core;
//! for guard cases all stay, and have their turns.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;

use super::guard;
use super::install::{self, Source};
use super::load::{self, Generators, Sample};
use super::machine::{self, Machine};
use super::peers::{self, Place, Proxy, Running};
use super::process::{Usage, raise_descriptor_limit};
use super::report::{self, Table};
use super::stats::median;
use super::work::Case;

/// Of a proxy that did not answer on the last of its routes.
const NOT_STARTED: &str = "did not start";

/// Connections are open and caches filled after this much load.
const WARM_UP_SECONDS: u32 = 2;

/// How long a process that stays is loaded before it is the next one's turn.
const TURN_SECONDS: u32 = 1;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measurements of each proxy in each case; tables show medians.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Length of one measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Proxies to measure, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Proxy>,
    /// Cases to measure, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    case: Vec<Case>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Install what is missing (apt-get as root, pip into target/venv-bench).
    #[arg(long)]
    install: bool,
    /// Put the table of each measured case into BENCHMARKS.md, in place of the one before.
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// One measurement, or the median of several.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) cpu_us_per_request: f64,
    user_us_per_request: f64,
    system_us_per_request: f64,
    requests_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    idle_mib: f64,
    loaded_mib: f64,
    /// How much of its core the proxy used: well below 1, the load was the limit of requests/s.
    core_share: f64,
}

#[derive(Serialize)]
pub(super) struct Outcome {
    pub(super) proxy: Proxy,
    /// None when no round succeeded.
    pub(super) median: Option<Figures>,
    rounds: Vec<Figures>,
    errors: Vec<String>,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    versions: BTreeMap<&'static str, String>,
    seconds: u32,
    rounds: u32,
    cases: Vec<(String, Vec<Outcome>)>,
}

/// What all measurements of a run share.
struct Bench {
    root: PathBuf,
    folder: PathBuf,
    proxy_core: usize,
    proxies: Vec<(Proxy, PathBuf)>,
    nginx: PathBuf,
    bench_load: PathBuf,
    generators: Generators,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.rounds > 0 && options.seconds > 0, "rounds and seconds are above 0");
    raise_descriptor_limit()?;
    let bench = Bench::prepare(options)?;
    let chosen = |case: &Case| options.case.is_empty() || options.case.contains(case);
    let cases: Vec<Case> = Case::value_variants().iter().copied().filter(chosen).collect();
    let cases = bench.compare(&cases, options)?;
    let mut outcomes = cases.iter().flat_map(|(_, outcomes)| outcomes);
    let failed = outcomes.any(|o| o.proxy == Proxy::Posthouse && !o.errors.is_empty());
    let (machine, versions) = (Machine::here(&bench.root), bench.versions());
    let Options { rounds, seconds, .. } = options;
    let of = |what: &str| origin(&machine, &versions, what);
    let origin = of(&format!("{rounds} interleaved rounds of {seconds} s"));
    let texts: Vec<(Case, String)> =
        cases.iter().map(|(case, outcomes)| (*case, describe(*case, outcomes, &origin))).collect();
    let turns =
        of(&format!("{} turns of {TURN_SECONDS} s, in which all are kept", rounds * seconds));
    let guard = guard::table(&cases).map(|table| format!("{table}\n{turns}"));
    match options.output {
        Format::Text => {
            texts.iter().for_each(|(_, text)| println!("{text}"));
            guard.iter().for_each(|text| println!("### What a guard costs\n\n{text}"));
        }
        Format::Json => {
            let cases = cases.into_iter().map(|(case, outcomes)| (case.name(), outcomes)).collect();
            let (seconds, rounds) = (options.seconds, options.rounds);
            let report = Report { machine, versions, seconds, rounds, cases };
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
    }
    ensure!(!failed, "some measurements of Posthouse failed (see above)");
    if options.write {
        if let Some(text) = &guard {
            report::write_section(&bench.root, "gateway-guard", text)?;
        }
        for (case, text) in texts.iter().filter(|(case, _)| !case.guard().credentials) {
            report::write_section(&bench.root, &format!("gateway-{}", case.name()), text)?;
        }
    }
    Ok(())
}

impl Bench {
    fn prepare(options: &Options) -> anyhow::Result<Self> {
        let root = super::root()?;
        let (proxy_core, core) = machine::two_cores()?;
        let folder = super::fresh_folder(&root, "gateway")?;
        let need = |program, package| {
            install::require(&root, program, Source::Debian { package }, options.install)
        };
        let generators = Generators {
            wrk: need("wrk", "wrk")?,
            h2load: need("h2load", "nghttp2-client")?,
            script: load::script(&root),
            folder: folder.clone(),
            core,
        };
        let nginx = need("nginx", "nginx")?;
        let bench_load = install::build(&root, "posthouse-bench-load", "bench-load")?;
        super::certificate(&bench_load, &folder)?;
        super::credentials(&bench_load, &folder)?;
        let chosen = |proxy: &Proxy| options.only.is_empty() || options.only.contains(proxy);
        let mut proxies = Vec::new();
        for proxy in Proxy::value_variants().iter().copied().filter(chosen) {
            match proxy.program(&root, options.install) {
                Ok(program) => proxies.push((proxy, program)),
                Err(error) if proxy == Proxy::Posthouse => return Err(error),
                Err(error) => eprintln!("skipping {}: {error:#}", proxy.name()),
            }
        }
        ensure!(!proxies.is_empty(), "no proxy to measure");
        Ok(Self { root, folder, proxy_core, proxies, nginx, bench_load, generators })
    }

    fn versions(&self) -> BTreeMap<&'static str, String> {
        let proxies = self.proxies.iter();
        let mut versions: BTreeMap<_, _> =
            proxies.map(|(proxy, program)| (proxy.name(), proxy.version(program))).collect();
        versions.insert("wrk", machine::version(&self.generators.wrk, "-v"));
        versions.insert("h2load", machine::version(&self.generators.h2load, "--version"));
        versions
    }

    /// All rounds of all cases. A proxy that fails is said and does not stop the others.
    fn compare(
        &self,
        cases: &[Case],
        options: &Options,
    ) -> anyhow::Result<Vec<(Case, Vec<Outcome>)>> {
        let mut compared: Vec<(Case, Vec<Outcome>)> =
            cases.iter().map(|case| (*case, self.nothing_yet(*case))).collect();
        let (mut guarded, mut others): (Vec<_>, Vec<_>) =
            compared.iter_mut().partition(|(case, _)| case.guard().credentials);
        for round in 1..=options.rounds {
            for (case, outcomes) in &mut others {
                self.round(*case, round, outcomes, options)?;
            }
        }
        if !guarded.is_empty() {
            self.turns(&mut guarded, options.rounds * options.seconds)?;
        }
        for outcome in compared.iter_mut().flat_map(|(_, outcomes)| outcomes) {
            outcome.median = Figures::median(&outcome.rounds);
        }
        Ok(compared)
    }

    /// The proxies that can do a case, before any has.
    fn nothing_yet(&self, case: Case) -> Vec<Outcome> {
        let able = self.proxies.iter().filter(|(proxy, _)| proxy.can(case.guard()));
        able.map(|(proxy, _)| Outcome::of(*proxy)).collect()
    }

    /// One round of one case.
    fn round(
        &self,
        case: Case,
        round: u32,
        outcomes: &mut [Outcome],
        options: &Options,
    ) -> anyhow::Result<()> {
        let port = peers::free_address()?.port();
        let place =
            Place { root: &self.root, folder: &self.folder, core: Some(self.generators.core) };
        let work = case.work(port);
        let _backends = peers::start_backends(&work, &self.nginx, &self.bench_load, &place)
            .context("the backends")?;
        let able = self.proxies.iter().filter(|(proxy, _)| proxy.can(case.guard()));
        for ((proxy, program), outcome) in able.zip(outcomes) {
            let what = format!("{} {round}/{} {}", case.name(), options.rounds, proxy.name());
            match self.measure(*proxy, program, case, port, options.seconds) {
                Ok(figures) => {
                    eprintln!("{what}: {:.1} µs/request", figures.cpu_us_per_request);
                    outcome.rounds.push(figures);
                }
                Err(error) => outcome.fail(&what, &error),
            }
        }
        Ok(())
    }

    fn measure(
        &self,
        proxy: Proxy,
        program: &Path,
        case: Case,
        port: u16,
        seconds: u32,
    ) -> anyhow::Result<Figures> {
        let place = Place { root: &self.root, folder: &self.folder, core: Some(self.proxy_core) };
        let running = proxy.start(program, None, &case.work(port), &place).context(NOT_STARTED)?;
        let idle = running.group.wait_idle()?;
        self.load(&running, case, WARM_UP_SECONDS).context("warm-up")?;
        self.figures(&running, idle, case, seconds)
    }

    /// The cases of guards, whose differences are smaller than what a machine's speed changes by
    /// between two rounds: everything is started once, and then loaded in turns of a second.
    fn turns(&self, compared: &mut [&mut (Case, Vec<Outcome>)], turns: u32) -> anyhow::Result<()> {
        let port = peers::free_address()?.port();
        let place =
            Place { root: &self.root, folder: &self.folder, core: Some(self.generators.core) };
        let _backends = peers::start_backends(
            &Case::GuardOpen.work(port),
            &self.nginx,
            &self.bench_load,
            &place,
        )
        .context("the backends")?;
        let mut all = Vec::new();
        for (case, outcomes) in compared.iter_mut().map(|compared| &mut **compared) {
            let able = self.proxies.iter().filter(|(proxy, _)| proxy.can(case.guard()));
            for ((proxy, program), outcome) in able.zip(outcomes) {
                match self.keep(*proxy, program, *case, port) {
                    Ok((running, idle)) => all.push((*case, outcome, running, idle)),
                    Err(error) => {
                        outcome.fail(&format!("{} {}", case.name(), proxy.name()), &error)
                    }
                }
            }
        }
        for turn in 1..=turns {
            // Whoever comes late in one turn comes early in the next.
            all.reverse();
            for (case, outcome, running, idle) in &mut all {
                match self.figures(running, *idle, *case, TURN_SECONDS) {
                    Ok(figures) => outcome.rounds.push(figures),
                    Err(error) => {
                        let what = format!("{} {turn} {}", case.name(), outcome.proxy.name());
                        outcome.fail(&what, &error);
                    }
                }
            }
            eprintln!("guard: turn {turn} of {turns}");
        }
        Ok(())
    }

    /// Starts a proxy in a folder of its own, to stay, and warms it up.
    fn keep(
        &self,
        proxy: Proxy,
        program: &Path,
        case: Case,
        port: u16,
    ) -> anyhow::Result<(Running, Usage)> {
        let folder = self.folder.join(format!("{}-{}", case.name(), proxy.name()));
        fs::create_dir(&folder)?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), folder.join(entry.file_name()))?;
            }
        }
        let place = Place { root: &self.root, folder: &folder, core: Some(self.proxy_core) };
        let running = proxy.start(program, None, &case.work(port), &place).context(NOT_STARTED)?;
        let idle = running.group.wait_idle()?;
        self.load(&running, case, WARM_UP_SECONDS).context("warm-up")?;
        Ok((running, idle))
    }

    fn load(&self, running: &Running, case: Case, seconds: u32) -> anyhow::Result<Sample> {
        self.generators.run(&case.load(), running.http, running.tls, seconds)
    }

    /// What it takes to answer so many seconds of load.
    fn figures(
        &self,
        running: &Running,
        idle: Usage,
        case: Case,
        seconds: u32,
    ) -> anyhow::Result<Figures> {
        let before = running.group.usage()?;
        let begun = std::time::Instant::now();
        let sample = self.load(running, case, seconds)?;
        let after = running.group.usage()?;
        let elapsed = begun.elapsed().as_secs_f64();
        let requests = super::float(sample.requests);
        let per_request = |seconds: f64| seconds * 1e6 / requests;
        let mib = |kib: u64| super::float(kib) / 1024.0;
        let cpu_seconds = after.cpu_seconds() - before.cpu_seconds();
        Ok(Figures {
            cpu_us_per_request: per_request(cpu_seconds),
            user_us_per_request: per_request(after.user_seconds - before.user_seconds),
            system_us_per_request: per_request(after.system_seconds - before.system_seconds),
            requests_per_second: requests * 1e6 / sample.microseconds,
            p50_ms: super::milliseconds(sample.p50_us),
            p99_ms: super::milliseconds(sample.p99_us),
            idle_mib: mib(idle.resident_kib),
            loaded_mib: mib(after.resident_kib),
            core_share: cpu_seconds / elapsed,
        })
    }
}

impl Outcome {
    const fn of(proxy: Proxy) -> Self {
        Self { proxy, median: None, rounds: Vec::new(), errors: Vec::new() }
    }

    fn fail(&mut self, what: &str, error: &anyhow::Error) {
        eprintln!("{what}: {error:#}");
        self.errors.push(format!("{error:#}"));
    }

    /// What each round took beyond the same round of `other`; `None` when one of them failed.
    pub(super) fn beyond(&self, other: &Self) -> Option<Vec<f64>> {
        let is_whole = self.errors.is_empty() && other.errors.is_empty();
        let pairs = self.rounds.iter().zip(&other.rounds);
        let beyond = pairs.map(|(one, other)| one.cpu_us_per_request - other.cpu_us_per_request);
        is_whole.then(|| beyond.collect())
    }

    /// In place of figures.
    fn why_none(&self) -> &'static str {
        let not_started = self.errors.iter().all(|error| error.starts_with(NOT_STARTED));
        if not_started { NOT_STARTED } else { "failed" }
    }
}

impl Figures {
    /// Each figure's own median.
    fn median(rounds: &[Self]) -> Option<Self> {
        if rounds.is_empty() {
            return None;
        }
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        Some(Self {
            cpu_us_per_request: of(|f| f.cpu_us_per_request),
            user_us_per_request: of(|f| f.user_us_per_request),
            system_us_per_request: of(|f| f.system_us_per_request),
            requests_per_second: of(|f| f.requests_per_second),
            p50_ms: of(|f| f.p50_ms),
            p99_ms: of(|f| f.p99_ms),
            idle_mib: of(|f| f.idle_mib),
            loaded_mib: of(|f| f.loaded_mib),
            core_share: of(|f| f.core_share),
        })
    }
}

/// What a table is from: each is measured and written by itself.
fn origin(machine: &Machine, versions: &BTreeMap<&'static str, String>, what: &str) -> String {
    let versions: Vec<String> =
        versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    format!(
        "Medians of {what}, {} requests in flight.\\\n{machine}.\\\n{}.\n",
        load::CONCURRENT,
        versions.join(", "),
    )
}

fn describe(case: Case, outcomes: &[Outcome], origin: &str) -> String {
    let mut text = format!("### {}\n\n{}", case.title(), table(outcomes));
    for outcome in outcomes.iter().filter(|outcome| !outcome.errors.is_empty()) {
        text.push_str(&failures(outcome));
    }
    text + "\n" + origin
}

/// A line below the table: what went wrong last is the most telling part of an error.
fn failures(outcome: &Outcome) -> String {
    let errors = outcome.errors.len();
    let rounds = errors + outcome.rounds.len();
    let last = outcome.errors.last().and_then(|error| error.lines().last()).unwrap_or_default();
    format!("\n{}: {errors} of {rounds} rounds failed: `{last}`\n", outcome.proxy.name())
}

fn table(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new(&[
        "proxy",
        "CPU µs/request",
        "user + system",
        "× Posthouse",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "MiB idle",
        "MiB loaded",
        "of its core",
    ]);
    let ours = outcomes.iter().find(|outcome| outcome.proxy == Proxy::Posthouse);
    let ours = ours.and_then(|outcome| outcome.median).map(|median| median.cpu_us_per_request);
    for outcome in outcomes {
        let mut cells = vec![outcome.proxy.name().to_owned()];
        match outcome.median {
            None => cells.extend(std::iter::repeat_n(outcome.why_none().to_owned(), 9)),
            Some(f) => cells.extend([
                format!("{:.1}", f.cpu_us_per_request),
                format!("{:.1} + {:.1}", f.user_us_per_request, f.system_us_per_request),
                ours.map_or("-".to_owned(), |ours| format!("{:.2}", f.cpu_us_per_request / ours)),
                format!("{:.0}", f.requests_per_second),
                format!("{:.2}", f.p50_ms),
                format!("{:.2}", f.p99_ms),
                format!("{:.1}", f.idle_mib),
                format!("{:.1}", f.loaded_mib),
                format!("{:.0} %", f.core_share * 100.0),
            ]),
        }
        table.row(cells);
    }
    table
}
