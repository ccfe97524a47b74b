//! A constant rate, free of coordinated omission: each connection has its own schedule, fixed before
//! the run, and a latency counts from when the request was *due*. An answer that takes long makes
//! the requests behind it late, and they say so, in place of never being sent.
//!
//! The log has one line a request, in h2load's format with one field more: due time in µs since 1970,
//! status (-1 without an answer), latency in µs, instance (or `-`).

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, ensure};

use crate::client::Connection;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, default_value = "/")]
    path: String,
    /// Requests a second over all connections.
    #[arg(long)]
    rate: u32,
    #[arg(long)]
    connections: u32,
    #[arg(long)]
    seconds: u32,
    /// Send POST requests with a body of this many bytes in place of GET.
    #[arg(long)]
    post_bytes: Option<usize>,
    #[arg(long)]
    log: PathBuf,
}

struct Record {
    due: Duration,
    status: Option<u16>,
    latency: Duration,
    instance: Option<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.rate > 0 && options.connections > 0, "rate and connections are above 0");
    let request = &request(options);
    let (start, wall) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?);
    let records = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.connections)
            .map(|number| scope.spawn(move || follow_schedule(options, number, start, request)))
            .collect();
        let mut records = Vec::new();
        for thread in threads {
            records.extend(thread.join().map_err(|_| anyhow!("a connection's thread ended"))?);
        }
        anyhow::Ok(records)
    })?;
    write_log(options, wall, records)
}

fn request(options: &Options) -> Vec<u8> {
    let Options { path, address, .. } = options;
    match options.post_bytes {
        None => format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").into_bytes(),
        Some(bytes) => {
            let body = "x".repeat(bytes);
            format!(
                "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {bytes}\r\n\r\n{body}"
            )
            .into_bytes()
        }
    }
}

fn follow_schedule(options: &Options, number: u32, start: Instant, request: &[u8]) -> Vec<Record> {
    let rate = f64::from(options.rate);
    let end = f64::from(options.seconds);
    let mut connection = None;
    let mut records = Vec::new();
    // Connections take turns, so that requests are evenly spaced over all of them.
    for turn in 0u32.. {
        let due = (f64::from(turn) * f64::from(options.connections) + f64::from(number)) / rate;
        if due >= end {
            break;
        }
        let due = Duration::from_secs_f64(due);
        thread::sleep((start + due).saturating_duration_since(Instant::now()));
        let answer = exchange(&mut connection, options.address, request);
        let latency = start.elapsed().saturating_sub(due);
        let (status, instance) = match answer {
            Ok(answer) => (Some(answer.status), answer.instance),
            Err(_) => (None, None),
        };
        records.push(Record { due, status, latency, instance });
    }
    records
}

/// Opens the connection when there is none; drops it after an error or when the proxy closes it.
fn exchange(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    request: &[u8],
) -> std::io::Result<crate::client::Answer> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(address)?,
    };
    let answer = open.exchange(request)?;
    if answer.reusable {
        *connection = Some(open);
    }
    Ok(answer)
}

fn write_log(options: &Options, wall: Duration, mut records: Vec<Record>) -> anyhow::Result<()> {
    records.sort_by_key(|record| record.due);
    let mut log = String::new();
    for Record { due, status, latency, instance } in &records {
        let due = (wall + *due).as_micros();
        let status = status.map_or(-1, i32::from);
        let instance = instance.as_deref().unwrap_or("-");
        writeln!(log, "{due}\t{status}\t{}\t{instance}", latency.as_micros())?;
    }
    std::fs::File::create(&options.log)
        .and_then(|mut file| file.write_all(log.as_bytes()))
        .with_context(|| format!("write {}", options.log.display()))
}
