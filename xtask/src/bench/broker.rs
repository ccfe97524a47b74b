//! Messages a second, what they cost, how long they take and what memory they need, beside RabbitMQ:
//! both run at the same time, and each load is put on one and then on the other, by the same client
//! in a process of its own (`bench/broker`). And an fsync before every confirm, by the word of
//! `strace`.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::install::{self, Source};
use super::machine::Machine;
use super::process::{Group, Launch};
use super::rabbitmq::Rabbitmq;
use super::report::{self, Table};
use super::{float, house};

/// What is promised beside RabbitMQ: messages per second of processor time at a window of 256, their
/// rate at a window of 1 with 8 connections; shares of its memory, idle and with a backlog.
const PER_CPU_SECOND: f64 = 5.0;
const RATE: f64 = 3.0;
const IDLE_SHARE: f64 = 1.0 / 20.0;
const BACKLOG_SHARE: f64 = 1.0 / 5.0;

/// Confirms that `strace` looks at.
const TRACED: u64 = 100;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each load.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Messages that are queued, to see what memory they need; 0 leaves it out.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    /// Leave RabbitMQ out.
    #[arg(long)]
    alone: bool,
    /// Install rabbitmq-server and strace if they are missing (apt-get as root).
    #[arg(long)]
    install: bool,
    /// Put the tables into BENCHMARKS.md.
    #[arg(long)]
    write: bool,
}

/// One load.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    publishers: usize,
    consumers: usize,
    queues: usize,
    window: usize,
    fanout: bool,
}

const fn both(name: &'static str, connections: usize, window: usize) -> Case {
    let (publishers, consumers, queues) = (connections, connections, connections);
    Case { name, publishers, consumers, queues, window, fanout: false }
}

const fn published(name: &'static str, connections: usize, window: usize) -> Case {
    Case { consumers: 0, ..both(name, connections, window) }
}

const CASES: [Case; 9] = [
    published("publish, window 1, 1 connection", 1, 1),
    published("publish, window 1, 8 connections", 8, 1),
    published("publish, window 256, 1 connection", 1, 256),
    published("publish, window 256, 8 connections", 8, 256),
    both("publish + consume + ack, window 1, 1 connection", 1, 1),
    both("publish + consume + ack, window 1, 8 connections", 8, 1),
    both("publish + consume + ack, window 256, 1 connection", 1, 256),
    both("publish + consume + ack, window 256, 8 connections", 8, 256),
    Case { publishers: 1, fanout: true, ..both("fan-out to 10 queues, window 256", 10, 256) },
];

/// What the load says.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Measured {
    published: u64,
    delivered: u64,
    seconds: f64,
    p50_us: u64,
    p99_us: u64,
}

/// What one load took at one broker.
#[derive(Clone, Copy, Debug)]
struct Took {
    measured: Measured,
    cpu_seconds: f64,
}

/// A broker under load.
struct Broker {
    name: &'static str,
    group: Group,
    address: SocketAddr,
}

/// Everything of one broker.
struct Results {
    name: &'static str,
    idle_kib: u64,
    cases: Vec<Took>,
    /// Filling it, its memory then, and emptying it.
    backlog: Option<(Took, u64, Took)>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let root = super::root()?;
    let folder = super::fresh_folder(&root, "broker")?;
    let posthouse = install::posthouse(&root)?;
    let load = install::build(&root, "posthouse-bench-broker", "bench-broker")?;
    let strace =
        install::require(&root, "strace", Source::Debian { package: "strace" }, options.install)?;
    let synced = trace(&strace, &posthouse, &load, &folder)?;
    eprintln!("{synced} confirms, each after an fsync of its own");
    let mut brokers = vec![start_posthouse(&posthouse, &folder)?];
    let mut mapped = None;
    if !options.alone {
        let program = Rabbitmq::program(&root, options.install)?;
        let rabbitmq = Rabbitmq::start(&program, &folder.join("rabbitmq"))?;
        let Rabbitmq { group, address, mapper } = rabbitmq;
        mapped = Some(mapper);
        brokers.push(Broker { name: "RabbitMQ", group, address });
    }
    let results = measure(&mut brokers, &load, options)?;
    drop(mapped);
    let text = describe(&Machine::here(&root), synced, options, &results);
    print!("{text}");
    if options.write {
        report::write_section(&root, "broker", &text)?;
    }
    if let [ours, theirs] = &results[..] {
        let broken = broken_promises(ours, theirs);
        ensure!(broken.is_empty(), "not as promised: {}", broken.join("; "));
    }
    Ok(())
}

fn posthouse_config(folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    fs::create_dir_all(folder)?;
    let (config, data) = (folder.join("posthouse.yaml"), folder.join("data"));
    let messages = "messages: { address: 127.0.0.1:0 }";
    fs::write(&config, format!("data: {}\n{messages}\n", data.display()))?;
    Ok((config, data))
}

fn wait_address(group: &mut Group, data: &Path) -> anyhow::Result<SocketAddr> {
    house::wait(group, "write its addresses", || {
        let text = fs::read_to_string(data.join("addresses.json"))?;
        let addresses: Value = serde_json::from_str(&text)?;
        Ok(addresses["messages"].as_str().context("no address for messages")?.parse()?)
    })
}

fn start_posthouse(program: &Path, folder: &Path) -> anyhow::Result<Broker> {
    let folder = folder.join("posthouse");
    let (config, data) = posthouse_config(&folder)?;
    let launch = house::up(Launch::new(program), &config);
    let mut group = launch.spawn(None, &folder.join("posthouse.log"))?;
    let address = wait_address(&mut group, &data)?;
    Ok(Broker { name: "Posthouse", group, address })
}

fn measure(brokers: &mut [Broker], load: &Path, options: &Options) -> anyhow::Result<Vec<Results>> {
    let mut results = Vec::new();
    for broker in brokers.iter() {
        let idle_kib = broker.group.wait_idle()?.resident_kib;
        results.push(Results { name: broker.name, idle_kib, cases: Vec::new(), backlog: None });
    }
    let seconds = options.seconds.to_string();
    for case in &CASES {
        for (broker, results) in brokers.iter_mut().zip(&mut results) {
            eprintln!("{}: {}", broker.name, case.name);
            let mut arguments = case.arguments();
            arguments.extend(["--seconds".to_owned(), seconds.clone()]);
            results.cases.push(broker.measure(load, &arguments)?);
        }
    }
    if options.backlog > 0 {
        for (broker, results) in brokers.iter_mut().zip(&mut results) {
            eprintln!("{}: {} messages", broker.name, options.backlog);
            results.backlog = Some(broker.pile_up(load, options.backlog)?);
        }
    }
    Ok(results)
}

impl Case {
    fn arguments(&self) -> Vec<String> {
        let Self { publishers, consumers, queues, window, fanout, .. } = self;
        let numbers = [
            ("--publishers", publishers),
            ("--consumers", consumers),
            ("--queues", queues),
            ("--window", window),
        ];
        let mut arguments: Vec<String> = numbers
            .into_iter()
            .flat_map(|(name, number)| [name.to_owned(), number.to_string()])
            .collect();
        if *fanout {
            arguments.push("--fanout".to_owned());
        }
        arguments
    }
}

impl Broker {
    /// Puts a load on it. What it still has to do when the load has ended counts as well.
    fn measure(&mut self, load: &Path, arguments: &[String]) -> anyhow::Result<Took> {
        self.group.ensure_alive()?;
        let before = self.group.wait_idle()?;
        let mut command = Command::new(load);
        command.args(["--uri", &format!("amqp://guest:guest@{}/%2f", self.address)]);
        let output = command.args(arguments).stderr(Stdio::inherit()).output();
        let output = output.context("start the load")?;
        ensure!(output.status.success(), "the load ended with {}", output.status);
        let measured = serde_json::from_slice(&output.stdout)?;
        let after = self.group.usage()?;
        Ok(Took { measured, cpu_seconds: after.cpu_seconds() - before.cpu_seconds() })
    }

    /// Queues so many messages, then consumes them all.
    fn pile_up(&mut self, load: &Path, messages: u64) -> anyhow::Result<(Took, u64, Took)> {
        let messages = messages.to_string();
        let fill = Case { queues: 1, ..published("", 8, 256) };
        let mut arguments = fill.arguments();
        arguments.extend(["--keep", "--messages", &messages].map(str::to_owned));
        let filled = self.measure(load, &arguments)?;
        let resident_kib = self.group.wait_idle()?.resident_kib;
        let take = Case { publishers: 0, ..both("", 1, 256) };
        let mut arguments = take.arguments();
        arguments.extend(["--messages", &messages].map(str::to_owned));
        let emptied = self.measure(load, &arguments)?;
        Ok((filled, resident_kib, emptied))
    }
}

impl Took {
    /// Messages that were published, and deliveries: each is work.
    fn messages(&self) -> u64 {
        self.measured.published.max(self.measured.delivered)
    }

    fn per_second(&self) -> f64 {
        float(self.messages()) / self.measured.seconds
    }

    fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / float(self.messages())
    }
}

/// How many confirms were written, each with an fsync that had returned since the one before.
fn trace(strace: &Path, posthouse: &Path, load: &Path, folder: &Path) -> anyhow::Result<u64> {
    let folder = folder.join("traced");
    let (config, data) = posthouse_config(&folder)?;
    let log = folder.join("strace.log");
    let calls = "trace=fsync,fdatasync,write,writev,sendto,sendmsg";
    let launch = Launch::new(strace)
        .args(["-f", "-tt", "-y", "-s", "64", "-e", calls, "-o"])
        .arg(&log)
        .arg(posthouse);
    let mut group = house::up(launch, &config).spawn(None, &folder.join("posthouse.log"))?;
    let address = wait_address(&mut group, &data)?;
    let mut broker = Broker { name: "Posthouse", group, address };
    let mut arguments = published("", 1, 1).arguments();
    arguments.extend(["--messages".to_owned(), TRACED.to_string()]);
    broker.measure(load, &arguments)?;
    drop(broker);
    check_trace(&fs::read_to_string(&log)?)
}

/// `basic.ack` as `strace` shows it: class 60, method 80.
const ACK: &str = r"\0<\0P";

fn check_trace(log: &str) -> anyhow::Result<u64> {
    let (mut confirms, mut synced) = (0, 0);
    // `-f` splits a call that another thread interrupts in two lines: it has returned at the second.
    let mut under_way: Vec<&str> = Vec::new();
    for line in log.lines() {
        let thread = line.split_whitespace().next().unwrap_or_default();
        let is_sync = line.contains("fsync(") || line.contains("fdatasync(");
        if is_sync && line.contains("-wal>") && line.ends_with("<unfinished ...>") {
            under_way.push(thread);
        } else if is_sync && line.contains("-wal>") && line.ends_with("= 0") {
            synced += 1;
        } else if line.contains("sync resumed>") && line.ends_with("= 0") {
            if let Some(place) = under_way.iter().position(|other| *other == thread) {
                under_way.swap_remove(place);
                synced += 1;
            }
        } else if line.contains(ACK) && is_to_socket(line) {
            if synced == 0 {
                bail!("a confirm without an fsync before it: {line}");
            }
            (confirms, synced) = (confirms + 1, 0);
        }
    }
    ensure!(confirms == TRACED, "{confirms} confirms were seen of {TRACED}");
    Ok(confirms)
}

/// Whether this is a write to a client. Newer versions of `strace` name the ends of a socket.
fn is_to_socket(line: &str) -> bool {
    line.contains("<socket:") || line.contains("<TCP:")
}

fn broken_promises(ours: &Results, theirs: &Results) -> Vec<String> {
    let mut broken = Vec::new();
    for (case, (our, their)) in CASES.iter().zip(ours.cases.iter().zip(&theirs.cases)) {
        let per_cpu = their.cpu_us() / our.cpu_us();
        if case.window == 256 && per_cpu < PER_CPU_SECOND {
            broken.push(format!("{}: {per_cpu:.1} times as many per CPU-second", case.name));
        }
        let rate = our.per_second() / their.per_second();
        if case.window == 1 && case.publishers == 8 && rate < RATE {
            broken.push(format!("{}: {rate:.1} times its rate", case.name));
        }
    }
    let share = float(ours.idle_kib) / float(theirs.idle_kib);
    if share > IDLE_SHARE {
        broken.push(format!("idle it needs {share:.3} of its memory"));
    }
    if let Some(((_, ours, _), (_, theirs, _))) = ours.backlog.as_ref().zip(theirs.backlog.as_ref())
    {
        let share = float(*ours) / float(*theirs);
        if share > BACKLOG_SHARE {
            broken.push(format!("with a backlog it needs {share:.2} of its memory"));
        }
    }
    broken
}

fn describe(machine: &Machine, synced: u64, options: &Options, results: &[Results]) -> String {
    let mut table =
        Table::new(&["1 KiB, persistent", "broker", "a second", "CPU µs each", "p50 ms", "p99 ms"]);
    let mut row = |name: &str, broker: &str, result: &Took| {
        let Measured { delivered, published, p50_us, p99_us, .. } = result.measured;
        let time = |us| match delivered > 0 && published > 0 {
            true => format!("{:.2}", super::milliseconds(us)),
            false => String::new(),
        };
        table.row(vec![
            name.to_owned(),
            broker.to_owned(),
            format!("{:.0}", result.per_second()),
            format!("{:.1}", result.cpu_us()),
            time(p50_us),
            time(p99_us),
        ]);
    };
    for (place, case) in CASES.iter().enumerate() {
        for broker in results {
            row(case.name, broker.name, &broker.cases[place]);
        }
    }
    for broker in results {
        if let Some((filled, _, emptied)) = &broker.backlog {
            row(&format!("fill one queue with {}", options.backlog), broker.name, filled);
            row("consume + ack all of them, 1 connection", broker.name, emptied);
        }
    }
    let versions = match results.len() {
        1 => String::new(),
        _ => format!(" RabbitMQ {}, classic queues, its defaults.", Rabbitmq::version()),
    };
    let mut text = format!(
        "Machine: {machine}.{versions}\\\n`strace` saw {synced} confirms, each after an fsync of the \
         write-ahead log.\n\n{table}\nResident MiB:"
    );
    for broker in results {
        // Writing to a String cannot fail.
        let _ = write!(text, " {} {:.1} idle", broker.name, float(broker.idle_kib) / 1024.0);
        if let Some((_, kib, _)) = broker.backlog {
            let _ = write!(text, ", {:.1} with {} queued", float(kib) / 1024.0, options.backlog);
        }
        text.push(';');
    }
    text.pop();
    text.push_str(".\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: &str = "7 09:00:00.1 fdatasync(11</d/journal.db-wal>) = 0\n";
    const PARTS: &str = "7 09:00:00.1 fsync(11</d/journal.db-wal> <unfinished ...>\n\
                         8 09:00:00.2 write(3</d/x>, \"y\", 1) = 1\n\
                         7 09:00:00.3 <... fsync resumed>) = 0\n";
    const CONFIRM: &str = "8 09:00:00.4 writev(9<socket:[7]>, [{iov_base=\"\\1\\0\\1\\0\\0\\0\\r\\0<\\0P\\0\\0\", \
                           iov_len=21}], 1) = 21\n";

    #[test]
    fn every_confirm_needs_an_fsync_that_has_returned() {
        let half = usize::try_from(TRACED / 2).unwrap();
        let all = [SYNC, CONFIRM, PARTS, CONFIRM].concat().repeat(half);
        assert_eq!(check_trace(&all).unwrap(), TRACED);
        for wrong in ["", &SYNC.replace("-wal>", ">"), &SYNC.replace("= 0", "= -1 EIO")] {
            let log = [wrong, "\n", CONFIRM, SYNC, CONFIRM].concat().repeat(half);
            assert!(check_trace(&log).is_err(), "{wrong}");
        }
    }
}
