//! Registrations, reads and waiting reads of the registry, and beside them etcd's puts and gets: the
//! registry in a process of its own, its load in another (`bench/registry`), on the same machine.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::install::{self, Source};
use super::machine::{self, Machine};
use super::process::{Group, Launch, raise_descriptor_limit};
use super::report::{self, Table};
use super::{float, house, peers};

/// What is promised: a change wakes exactly its one watcher, so soon; all of a thousand are told so
/// soon; a watcher and its connection need less than this; and churn adds no more than this.
const ONE_TOLD_MS: f64 = 5.0;
const ALL_TOLD_MS: f64 = 20.0;
const WATCHER_BYTES: f64 = 24.0 * 1024.0;
const GROWTH: f64 = 1.10;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Services that are registered.
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Instances of each.
    #[arg(long, default_value_t = 10)]
    instances: usize,
    /// Reads that wait.
    #[arg(long, default_value_t = 10_000)]
    watchers: usize,
    /// Minutes during which clients come and go.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Leave etcd out.
    #[arg(long)]
    alone: bool,
    /// Install etcd if it is missing (apt-get as root).
    #[arg(long)]
    install: bool,
    /// Put the tables into BENCHMARKS.md.
    #[arg(long)]
    write: bool,
}

/// How many of something were done a second, and how long each took.
#[derive(Debug, Deserialize)]
struct Rate {
    count: u64,
    per_second: f64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

#[derive(Debug, Deserialize)]
struct Watched {
    watchers: u64,
    watched: u64,
    told: Rate,
    all_told: Rate,
    false_alarms: u64,
    memory: Memory,
}

#[derive(Debug, Deserialize)]
struct Memory {
    before_kib: u64,
    waiting_kib: u64,
    after_kib: u64,
    bytes_a_watcher: u64,
}

#[derive(Debug, Deserialize)]
struct Minute {
    minute: u64,
    changes: u64,
    told: u64,
    comings: u64,
    resident_kib: u64,
}

#[derive(Debug, Deserialize)]
struct Etcd {
    puts: Rate,
    gets: Rate,
}

/// Everything that was measured.
struct Results {
    registrations: Rate,
    reads: Rate,
    spread: Watched,
    crowd: Watched,
    churn: Vec<Minute>,
    etcd: Option<(String, Etcd)>,
}

/// A registry under load.
struct Setting {
    load: PathBuf,
    address: String,
    house: Group,
    options: [String; 4],
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    raise_descriptor_limit()?;
    let root = super::root()?;
    let folder = super::fresh_folder(&root, "registry")?;
    let posthouse = install::posthouse(&root)?;
    let load = install::build(&root, "posthouse-bench-registry", "bench-registry")?;
    let etcd = match options.alone {
        true => None,
        false => {
            let source = Source::Debian { package: "etcd-server" };
            Some(install::require(&root, "etcd", source, options.install)?)
        }
    };
    let setting = Setting::start(&posthouse, load, &folder, options)?;
    let results = setting.measure(options, etcd.as_deref(), &folder)?;
    let text = describe(&Machine::here(&root), options, &results);
    print!("{text}");
    if options.write {
        report::write_section(&root, "registry", &text)?;
    }
    let broken = results.broken_promises();
    ensure!(broken.is_empty(), "not as promised: {}", broken.join("; "));
    Ok(())
}

impl Setting {
    fn start(
        posthouse: &Path,
        load: PathBuf,
        folder: &Path,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let (config, data) = (folder.join("posthouse.yaml"), folder.join("data"));
        let registry = "registry: { address: 127.0.0.1:0, dns: off }";
        fs::write(&config, format!("data: {}\n{registry}\n", data.display()))?;
        let launch = house::up(Launch::new(posthouse), &config);
        let mut house = launch.spawn(None, &folder.join("posthouse.log"))?;
        let address = house::wait(&mut house, "write its addresses", || {
            let text = fs::read_to_string(data.join("addresses.json"))?;
            let addresses: Value = serde_json::from_str(&text)?;
            Ok(addresses["registry"].as_str().context("no registry")?.to_owned())
        })?;
        let Options { services, instances, .. } = options;
        let options = [
            "--services".to_owned(),
            services.to_string(),
            "--instances".to_owned(),
            instances.to_string(),
        ];
        Ok(Self { load, address, house, options })
    }

    fn measure(
        mut self,
        options: &Options,
        etcd: Option<&Path>,
        folder: &Path,
    ) -> anyhow::Result<Results> {
        let registrations = self.one("register", &[])?;
        let reads = self.one("read", &[])?;
        let watchers = options.watchers;
        let watch = |watchers: usize, watched: usize, changes: usize| {
            [("--watchers", watchers), ("--watched", watched), ("--changes", changes)]
        };
        let spread = self.one("watch", &watch(watchers, watchers.min(options.services), 1_000))?;
        let crowd = self.one("watch", &watch(watchers.min(1_000), 1, 200))?;
        let mut churn = Vec::new();
        if options.minutes > 0 {
            let minutes = usize::try_from(options.minutes)?;
            let all = [
                &watch(watchers, watchers.min(options.services), 0)[..],
                &[("--minutes", minutes)],
            ];
            churn = self.many("churn", &all.concat())?;
        }
        self.house.ensure_alive()?;
        // Gone before etcd is measured: they are to have the same machine.
        drop(self.house);
        let etcd = etcd.map(|etcd| measure_etcd(etcd, &self.load, folder)).transpose()?;
        Ok(Results { registrations, reads, spread, crowd, churn, etcd })
    }

    fn one<T: for<'t> Deserialize<'t>>(
        &mut self,
        command: &str,
        numbers: &[(&str, usize)],
    ) -> anyhow::Result<T> {
        let mut all = self.many(command, numbers)?;
        all.pop().with_context(|| format!("{command} printed nothing"))
    }

    fn many<T: for<'t> Deserialize<'t>>(
        &mut self,
        command: &str,
        numbers: &[(&str, usize)],
    ) -> anyhow::Result<Vec<T>> {
        self.house.ensure_alive()?;
        eprintln!("{command} {numbers:?}");
        let mut load = Command::new(&self.load);
        load.args([command, "--address", &self.address]).args(&self.options);
        for (name, number) in numbers {
            load.args([*name, &number.to_string()]);
        }
        if matches!(command, "watch" | "churn") {
            load.args(["--pid", &self.house.id()?.to_string()]);
        }
        lines(&mut load)
    }
}

/// Runs a load and reads each line that it prints.
fn lines<T: for<'t> Deserialize<'t>>(load: &mut Command) -> anyhow::Result<Vec<T>> {
    let output = load.stderr(Stdio::inherit()).output().context("start the load")?;
    ensure!(output.status.success(), "the load ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn measure_etcd(etcd: &Path, load: &Path, folder: &Path) -> anyhow::Result<(String, Etcd)> {
    let url = |address: std::net::SocketAddr| format!("http://{address}");
    let (client, peer) = (url(peers::free_address()?), url(peers::free_address()?));
    let launch = Launch::new(etcd)
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")]);
    let mut group = launch.spawn(None, &folder.join("etcd.log"))?;
    let address = client.trim_start_matches("http://").parse()?;
    house::wait(&mut group, "answer", || {
        let (status, _) = super::load::fetch(address, "/health")?;
        ensure!(status == 200, "/health is answered with {status}");
        Ok(())
    })?;
    let mut command = Command::new(load);
    command.args(["etcd", "--url", &client]);
    let measured = lines(&mut command)?.pop().context("the load printed nothing")?;
    Ok((machine::version(etcd, "--version"), measured))
}

impl Results {
    fn broken_promises(&self) -> Vec<String> {
        let milliseconds = super::milliseconds;
        let one = milliseconds(self.spread.told.p99_us);
        let all = milliseconds(self.crowd.all_told.p99_us);
        let bytes = float(self.spread.memory.bytes_a_watcher);
        let alarms = self.spread.false_alarms + self.crowd.false_alarms;
        let growth = self.churn_growth().unwrap_or(1.0);
        let promises = [
            (one <= ONE_TOLD_MS, format!("one is told within {one:.1} ms at p99")),
            (all <= ALL_TOLD_MS, format!("all are told within {all:.1} ms at p99")),
            (alarms == 0, format!("{alarms} were woken for nothing")),
            (bytes <= WATCHER_BYTES, format!("a watcher needs {bytes:.0} bytes")),
            (growth <= GROWTH, format!("memory grew by {growth:.2} while clients came and went")),
        ];
        promises.into_iter().filter(|(kept, _)| !kept).map(|(_, text)| text).collect()
    }

    /// From the first minute to the last.
    fn churn_growth(&self) -> Option<f64> {
        let [first, .., last] = &self.churn[..] else { return None };
        Some(float(last.resident_kib) / float(first.resident_kib))
    }
}

fn describe(machine: &Machine, options: &Options, results: &Results) -> String {
    let mut rates = Table::new(&["64 clients", "a second", "p50 ms", "p99 ms"]);
    let mut row = |name: &str, rate: &Rate| {
        rates.row(vec![
            name.to_owned(),
            format!("{:.0}", rate.per_second),
            format!("{:.2}", super::milliseconds(rate.p50_us)),
            format!("{:.2}", super::milliseconds(rate.p99_us)),
        ]);
    };
    row("Posthouse, registrations (durable)", &results.registrations);
    row(&format!("Posthouse, health reads of {} instances", options.instances), &results.reads);
    let mut versions = String::new();
    if let Some((version, etcd)) = &results.etcd {
        row("etcd, puts of 256 bytes (durable)", &etcd.puts);
        row("etcd, gets of one key (linearizable)", &etcd.gets);
        versions = format!(" etcd {version}, its KV calls over gRPC.");
    }
    let mut watches = Table::new(&[
        "waiting reads",
        "on services",
        "changes",
        "told p50 ms",
        "told p99 ms",
        "last told p99 ms",
        "max ms",
        "woken for nothing",
        "bytes each",
    ]);
    for watched in [&results.spread, &results.crowd] {
        let milliseconds = |us| format!("{:.2}", super::milliseconds(us));
        watches.row(vec![
            watched.watchers.to_string(),
            watched.watched.to_string(),
            watched.all_told.count.to_string(),
            milliseconds(watched.told.p50_us),
            milliseconds(watched.told.p99_us),
            milliseconds(watched.all_told.p99_us),
            milliseconds(watched.all_told.max_us),
            watched.false_alarms.to_string(),
            watched.memory.bytes_a_watcher.to_string(),
        ]);
    }
    let Memory { before_kib, waiting_kib, after_kib, .. } = results.spread.memory;
    let Options { services, instances, watchers, .. } = options;
    let mut text = format!(
        "Machine: {machine}.\\\n{services} services of {instances} instances.{versions}\n\n{rates}\n\
         {watches}\nResident MiB: {} with all registered, {} with {watchers} waiting reads, {} after \
         the changes.\n",
        before_kib >> 10,
        waiting_kib >> 10,
        after_kib >> 10,
    );
    if !results.churn.is_empty() {
        let mut churn =
            Table::new(&["minute", "changes", "told", "clients that came again", "resident MiB"]);
        for minute in &results.churn {
            churn.row(vec![
                minute.minute.to_string(),
                minute.changes.to_string(),
                minute.told.to_string(),
                minute.comings.to_string(),
                (minute.resident_kib >> 10).to_string(),
            ]);
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "\nWhile clients come and go:\n\n{churn}");
    }
    text
}
