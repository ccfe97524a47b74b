//! The load of `cargo xtask bench registry`: registrations and reads over Consul's HTTP API,
//! thousands of reads that wait, and etcd's puts and gets to compare with.
//!
//! Each command prints one line of JSON when it is done (`churn` one a minute).

#![expect(clippy::print_stdout, reason = "it is a command line")]

mod connection;
mod etcd;
mod requests;
mod watch;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use hdrhistogram::Histogram;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;

/// Enough for ten thousand connections and whatever else is open.
const DESCRIPTORS: u64 = 11_000;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// The services that are registered, and who is asked.
#[derive(Clone, Debug, Args)]
struct Target {
    /// The registry.
    #[arg(long)]
    address: SocketAddr,
    /// Services: `svc-0`, `svc-1`, …
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Instances of each.
    #[arg(long, default_value_t = 10)]
    instances: usize,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register all instances, each with a TTL check that passes.
    Register {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
    /// Read the healthy instances of services at random.
    Read {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 64)]
        connections: usize,
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Hold waiting reads, change services, and look at who is told, and when.
    Watch {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        watch: Watch,
    },
    /// Hold waiting reads while services change and clients come and go.
    Churn {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        watch: Watch,
        #[arg(long, default_value_t = 5)]
        minutes: u64,
        /// Changes a second.
        #[arg(long, default_value_t = 200)]
        rate: u32,
        /// Clients that go and come again, a second.
        #[arg(long, default_value_t = 50)]
        comings: u32,
    },
    /// Put and get keys of etcd over gRPC.
    Etcd {
        /// Its client URL.
        #[arg(long)]
        url: String,
        #[arg(long, default_value_t = 64)]
        clients: usize,
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        #[arg(long, default_value_t = 2_000)]
        keys: usize,
    },
}

#[derive(Clone, Debug, Args)]
struct Watch {
    /// Waiting reads, spread over the first of the services.
    #[arg(long, default_value_t = 10_000)]
    watchers: usize,
    /// So many services are watched.
    #[arg(long, default_value_t = 10_000)]
    watched: usize,
    /// Changes that are measured, one after the other.
    #[arg(long, default_value_t = 1_000)]
    changes: usize,
    /// The registry's process, whose memory is looked at.
    #[arg(long)]
    pid: u32,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < DESCRIPTORS {
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, hard.max(DESCRIPTORS))
            .context("this needs 11,000 open files: `ulimit -n`")?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Command::Register { target, connections } => {
                show(&requests::register(&target, connections).await?)
            }
            Command::Read { target, connections, seconds } => {
                let time = Duration::from_secs(seconds);
                show(&requests::read(&target, connections, time).await?)
            }
            Command::Watch { target, watch } => show(&watch::measure(&target, &watch).await?),
            Command::Churn { target, watch, minutes, rate, comings } => {
                let churn = watch::Churn { minutes, rate, comings };
                watch::churn(&target, &watch, &churn, show).await
            }
            Command::Etcd { url, clients, seconds, keys } => {
                let time = Duration::from_secs(seconds);
                show(&etcd::measure(&url, clients, keys, time).await?)
            }
        }
    })
}

fn show<T: Serialize>(result: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(result)?);
    Ok(())
}

/// How many of something were done, and how long each took.
#[derive(Debug, Serialize)]
struct Rate {
    count: u64,
    per_second: f64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl Rate {
    fn new(delays: &Histogram<u64>, took: Duration) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let per_second = delays.len() as f64 / took.as_secs_f64();
        Self {
            count: delays.len(),
            per_second,
            p50_us: delays.value_at_quantile(0.5),
            p99_us: delays.value_at_quantile(0.99),
            max_us: delays.max(),
        }
    }
}

/// Notes a delay. Whatever is longer than a minute counts as one.
fn note(delays: &mut Histogram<u64>, delay: Duration) -> anyhow::Result<()> {
    let micros = u64::try_from(delay.as_micros())?;
    Ok(delays.record(micros.clamp(1, 60_000_000))?)
}
