//! Instructions per request as the table of routes and instances grows. Valgrind's callgrind counts
//! them without the noise of a shared machine, so a few percent mean something. It dumps and resets
//! its counters on demand, which leaves start-up and the opening of connections out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::install::{self, Source};
use super::machine::{self, Machine};
use super::peers::{self, Place, Proxy};
use super::process::{Group, Launch, raise_descriptor_limit};
use super::report::{self, Table};
use super::work::Work;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The proxy to count in; valgrind runs C and Rust programs, not Go's.
    #[arg(long, value_enum, default_value_t = Proxy::Posthouse)]
    only: Proxy,
    /// Requests that are counted.
    #[arg(long, default_value_t = 40_000)]
    requests: u64,
    /// Install what is missing (apt-get as root).
    #[arg(long)]
    install: bool,
    /// Put the table into BENCHMARKS.md.
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

const TABLES: [usize; 3] = [10, 1_000, 10_000];

/// From the smallest to the largest table.
const ALLOWED_GROWTH: f64 = 1.05;

/// Active checks are not the requests' work, and valgrind's slowness would count many per request.
const NO_CHECKS_MS: usize = 3_600_000;

/// Each route is asked this often before counting begins, so that its connection is open.
const WARM_UP_PER_ROUTE: u64 = 2;
const WARM_UP_AT_LEAST: u64 = 5_000;

struct Setting {
    root: PathBuf,
    folder: PathBuf,
    program: PathBuf,
    nginx: PathBuf,
    bench_load: PathBuf,
    proxy_core: usize,
    load_core: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    raise_descriptor_limit()?;
    let root = super::root()?;
    let need = |program, package| {
        install::require(&root, program, Source::Debian { package }, options.install)
    };
    need("valgrind", "valgrind")?;
    let (proxy_core, load_core) = machine::two_cores()?;
    let setting = Setting {
        folder: super::fresh_folder(&root, "instructions")?,
        nginx: need("nginx", "nginx")?,
        program: options.only.program(&root, options.install)?,
        bench_load: install::build(&root, "posthouse-bench-load", "bench-load")?,
        proxy_core,
        load_core,
        root,
    };
    super::certificate(&setting.bench_load, &setting.folder)?;
    let mut counts = Vec::new();
    for routes in TABLES {
        let count = setting.count(options, routes).with_context(|| format!("{routes} routes"))?;
        eprintln!("{routes} routes and instances: {count:.0} instructions/request");
        counts.push(count);
    }
    let machine = Machine::here(&setting.root);
    let version = options.only.version(&setting.program);
    let text = format!(
        "Machine: {machine}.\\\n{} {version}, {} requests counted by callgrind (user space only).\n\n{}",
        options.only.name(),
        options.requests,
        table(&counts)
    );
    print!("{text}");
    if options.write {
        report::write_section(&setting.root, "instructions", &text)?;
    }
    let growth = counts[counts.len() - 1] / counts[0];
    let promised = options.only == Proxy::Posthouse;
    ensure!(!promised || growth <= ALLOWED_GROWTH, "grows by more than 5 %");
    Ok(())
}

fn table(counts: &[f64]) -> Table {
    let mut table = Table::new(&["routes and instances", "instructions/request", "× 10 routes"]);
    for (routes, count) in TABLES.iter().zip(counts) {
        let ratio = count / counts[0];
        table.row(vec![routes.to_string(), format!("{count:.0}"), format!("{ratio:.3}")]);
    }
    table
}

impl Setting {
    /// Instructions per request with a table of this many routes.
    fn count(&self, options: &Options, routes: usize) -> anyhow::Result<f64> {
        let port = peers::free_address()?.port();
        let work = Work { check_interval_ms: NO_CHECKS_MS, ..Work::routes(routes, port) };
        let place = Place { root: &self.root, folder: &self.folder, core: Some(self.load_core) };
        let _backends = peers::start_backends(&work, &self.nginx, &self.bench_load, &place)?;
        let counters = self.folder.join(format!("callgrind-{routes}"));
        fs::create_dir(&counters)?;
        let wrapper = Launch::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--callgrind-out-file={}/%p", counters.display()));
        let place = Place { core: Some(self.proxy_core), ..place };
        let running = options.only.start(&self.program, Some(wrapper), &work, &place)?;
        let warm_up = WARM_UP_AT_LEAST.max(u64::try_from(routes)? * WARM_UP_PER_ROUTE);
        self.sweep(running.http, routes, warm_up)?;
        running.group.wait_idle()?;
        // Each dump sets the counters back, so the second one is the counted requests'.
        dump(&running.group)?;
        let mut known = dumps(&counters)?;
        let mut counted = || -> anyhow::Result<u64> {
            dump(&running.group)?;
            let all = dumps(&counters)?;
            let new = all.iter().filter(|path| !known.contains(path));
            let total = new.map(|path| read_total(path)).sum();
            known = all;
            total
        };
        let begun = Instant::now();
        self.sweep(running.http, routes, options.requests)?;
        let with_requests = counted()?;
        // What is done each second (connections that rest are looked at) is no request's work either,
        // and valgrind's slowness counts it many times: as much is counted without any request.
        thread::sleep(begun.elapsed());
        let without = counted()?;
        ensure!(with_requests > without, "callgrind counted nothing");
        let upkeep = super::float(without) / super::float(with_requests);
        eprintln!("{routes} routes: {:.1} % of it was upkeep, and is left out", 100.0 * upkeep);
        Ok(super::float(with_requests - without) / super::float(options.requests))
    }

    fn sweep(
        &self,
        address: std::net::SocketAddr,
        routes: usize,
        requests: u64,
    ) -> anyhow::Result<()> {
        let status = Launch::new(&self.bench_load)
            .args(["sweep", "--address"])
            .arg(address.to_string())
            .args(["--routes", &routes.to_string(), "--requests", &requests.to_string()])
            .command(Some(self.load_core))
            .status()?;
        ensure!(status.success(), "the load ended with {status}");
        Ok(())
    }
}

/// Makes every process of the group write its counters, and waits until all have.
fn dump(group: &Group) -> anyhow::Result<()> {
    const LIMIT: Duration = Duration::from_secs(30);
    for pid in group.members()? {
        let begun = Instant::now();
        // A process that sleeps in a system call may need to be asked twice.
        loop {
            let output = Command::new("callgrind_control").args(["-d", &pid.to_string()]).output();
            let output = output.context("start callgrind_control")?;
            if output.status.success() {
                break;
            }
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(begun.elapsed() < LIMIT, "callgrind_control {pid}: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

fn dumps(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    Ok(paths)
}

fn read_total(path: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = line.with_context(|| format!("{} has no total", path.display()))?;
    total.trim().parse().with_context(|| format!("total `{total}`"))
}
