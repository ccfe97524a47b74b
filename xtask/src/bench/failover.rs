//! A constant rate to four instances, real processes, while one is killed and one is stopped, and
//! both come back. Then POST requests to a service whose first instance refuses connections.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use nix::sys::signal::Signal;

use super::house::{self, ConstantLoad, House, Rate};
use super::install;
use super::machine::Machine;
use super::peers;
use super::process::{Group, Launch};
use super::report::{self, Table};
use super::stats::{Request, latencies, percentile};
use super::work::{Service, Work};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    rate: Rate,
    /// Put the table into BENCHMARKS.md.
    #[arg(long)]
    write: bool,
}

/// When what happens, in seconds from the beginning of the load.
const KILL: u64 = 5;
const RESTART: u64 = 11;
const STOP: u64 = 17;
const CONTINUE: u64 = 21;
const END: u32 = 30;

/// A fault may show for this long.
const GRACE_US: u64 = 1_000_000;

/// What is promised (milliseconds).
const P99_MS: f64 = 1_500.0;
const CALM_P99_MS: f64 = 50.0;

const POSTS_PER_SECOND: Rate = Rate { rate: 50, connections: 5 };

struct Setting {
    root: PathBuf,
    folder: PathBuf,
    posthouse: PathBuf,
    bench_load: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let root = super::root()?;
    let setting = Setting {
        folder: super::fresh_folder(&root, "failover")?,
        posthouse: install::posthouse(&root)?,
        bench_load: install::build(&root, "posthouse-bench-load", "bench-load")?,
        root,
    };
    let (requests, faults) = with_faults(&setting, options.rate)?;
    let posts = posts_beside_refused(&setting)?;
    let verdict = Verdict::of(&requests, &faults, &posts);
    let text = verdict.describe(&Machine::here(&setting.root), options.rate, &requests);
    print!("{text}");
    if options.write {
        report::write_section(&setting.root, "failover", &text)?;
    }
    ensure!(verdict.kept(), "the promise is not kept");
    Ok(())
}

/// Runs the load through the faults; returns every request, and when the faults were (µs since 1970).
fn with_faults(setting: &Setting, rate: Rate) -> anyhow::Result<(Vec<Request>, Vec<u64>)> {
    let mut instances = Vec::new();
    for name in ["a", "b", "c", "d"] {
        instances.push(Instance::start(setting, name, peers::free_address()?)?);
    }
    let addresses = instances.iter().map(|instance| instance.address.to_string()).collect();
    let work = one_service(addresses);
    let house =
        House::start(&setting.posthouse, &setting.root, &setting.folder, "calm.yaml", &work)?;
    let load = ConstantLoad::start(
        &setting.bench_load,
        &setting.folder,
        house.address,
        rate,
        END,
        &["--path", "/hello"],
    )?;
    let begun = Instant::now();
    let at = |second| thread::sleep(Duration::from_secs(second).saturating_sub(begun.elapsed()));
    at(KILL);
    let killed = now_us()?;
    instances[0].group.signal(Signal::SIGKILL)?;
    at(RESTART);
    instances[0] = Instance::start(setting, "a", instances[0].address)?;
    at(STOP);
    let stopped = now_us()?;
    instances[1].group.signal(Signal::SIGSTOP)?;
    at(CONTINUE);
    instances[1].group.signal(Signal::SIGCONT)?;
    Ok((load.finish()?, vec![killed, stopped]))
}

struct Instance {
    group: Group,
    address: SocketAddr,
}

impl Instance {
    fn start(setting: &Setting, name: &str, address: SocketAddr) -> anyhow::Result<Self> {
        let launch = Launch::new(&setting.bench_load)
            .args(["backend", "--name", name, "--address"])
            .arg(address.to_string());
        let log = setting.folder.join(format!("instance-{name}.log"));
        let mut group = launch.spawn(None, &log)?;
        house::wait_path(&mut group, address, "/healthz")?;
        Ok(Self { group, address })
    }
}

fn one_service(instances: Vec<String>) -> Work {
    let service = Service { name: "app".to_owned(), prefix: "/".to_owned(), instances };
    Work { check_interval_ms: 1_000, ..Work::http(vec![service]) }
}

fn posts_beside_refused(setting: &Setting) -> anyhow::Result<Vec<Request>> {
    // Nothing listens here: the address was free a moment ago.
    let refused = peers::free_address()?;
    let instance = Instance::start(setting, "a", peers::free_address()?)?;
    let work = one_service(vec![refused.to_string(), instance.address.to_string()]);
    let Setting { root, folder, posthouse, bench_load } = setting;
    let house = House::start(posthouse, root, folder, "refused.yaml", &work)?;
    let extra = ["--path", "/hello", "--post-bytes", "1024"];
    ConstantLoad::start(bench_load, folder, house.address, POSTS_PER_SECOND, 2, &extra)?.finish()
}

fn now_us() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}

/// Latencies in milliseconds.
struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
    requests: usize,
    failed: usize,
}

struct Verdict {
    whole: Spread,
    calm: Spread,
    posts: Spread,
}

impl Spread {
    fn of<'a>(requests: impl Iterator<Item = &'a Request> + Clone) -> Self {
        let sorted = latencies(requests.clone());
        let ms = |percent| super::milliseconds(percentile(&sorted, percent));
        let failed = requests.filter(|request| request.failed()).count();
        Self { p50: ms(50), p99: ms(99), max: ms(100), requests: sorted.len(), failed }
    }

    fn row(&self, name: &str) -> Vec<String> {
        let ms = |value: f64| format!("{value:.2}");
        let counts = [self.requests.to_string(), self.failed.to_string()];
        let name = std::iter::once(name.to_owned());
        name.chain(counts).chain([ms(self.p50), ms(self.p99), ms(self.max)]).collect()
    }
}

impl Verdict {
    fn of(requests: &[Request], faults: &[u64], posts: &[Request]) -> Self {
        let calm = requests.iter().filter(|request| !meets_fault(request, faults));
        Self {
            whole: Spread::of(requests.iter()),
            calm: Spread::of(calm),
            posts: Spread::of(posts.iter()),
        }
    }

    fn kept(&self) -> bool {
        self.whole.failed == 0
            && self.posts.failed == 0
            && self.whole.p99 < P99_MS
            && self.calm.p99 < CALM_P99_MS
    }

    fn describe(&self, machine: &Machine, rate: Rate, requests: &[Request]) -> String {
        let mut table = Table::new(&["requests", "number", "failed", "p50 ms", "p99 ms", "max ms"]);
        table.row(self.whole.row("whole run"));
        table.row(self.calm.row("outside the second after each fault"));
        table.row(self.posts.row("POST, one of two instances refuses"));
        let Rate { rate, connections } = rate;
        format!(
            "Machine: {machine}.\\\n{rate} GET/s over {connections} connections for {END} s to four instances; \
             a is killed at {KILL} s and back at {RESTART} s, b is stopped from {STOP} to {CONTINUE} s.\n\n\
             {table}\nAnswered in the last three seconds by: {}.\n",
            shares(requests)
        )
    }
}

/// Under way at any time in the second after a fault.
fn meets_fault(request: &Request, faults: &[u64]) -> bool {
    faults.iter().any(|&fault| request.start_us <= fault + GRACE_US && request.end_us() >= fault)
}

/// Who answered at the end: those that came back are to take their part again.
fn shares(requests: &[Request]) -> String {
    let end = requests.iter().map(|request| request.start_us).max().unwrap_or(0);
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for request in requests.iter().filter(|request| request.start_us + 3_000_000 > end) {
        *counts.entry(request.instance.as_deref().unwrap_or("none")).or_default() += 1;
    }
    let shares: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    shares.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(start_us: u64, latency_us: u64, status: Option<u16>) -> Request {
        Request { start_us, status, latency_us, instance: Some("a".to_owned()) }
    }

    #[test]
    fn only_requests_in_the_second_after_a_fault_are_excused() {
        let faults = [10_000_000];
        for (start, latency, expected) in [
            (9_000_000, 500_000, false),
            (9_900_000, 200_000, true),
            (10_500_000, 1, true),
            (11_000_001, 1, false),
        ] {
            assert_eq!(meets_fault(&request(start, latency, Some(200)), &faults), expected);
        }
    }

    #[test]
    fn one_failed_request_breaks_the_promise() {
        let good = vec![request(0, 1_000, Some(200)); 200];
        assert!(Verdict::of(&good, &[], &good).kept());
        for status in [None, Some(503)] {
            let mut bad = good.clone();
            bad[7].status = status;
            assert!(!Verdict::of(&bad, &[], &good).kept());
            assert!(!Verdict::of(&good, &[], &bad).kept());
        }
        let slow = vec![request(0, 60_000, Some(200)); 200];
        assert!(!Verdict::of(&slow, &[], &good).kept());
    }
}
