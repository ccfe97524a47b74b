//! Load by the usual generators: `wrk` for HTTP/1.1, `h2load` for HTTP/2 and gRPC; each one thread
//! and [`CONCURRENT`] requests at a time, as fast as they are answered.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::process::Launch;
use super::stats::{latencies, percentile, read_log};
use super::work::Load;

/// Requests in flight: connections with HTTP/1.1, connections × streams with HTTP/2.
pub(crate) const CONCURRENT: u32 = 64;

const H2_CONNECTIONS: u32 = 16;

/// A 5-byte prefix and a protobuf string of 7 bytes.
const GRPC_REQUEST: &[u8] = b"\x00\x00\x00\x00\x09\x0a\x07Courier";

/// What the backends answer with, so that a proxy's own pages are never counted as answers.
const SMALL_BODY_BYTES: u64 = 16;
const GRPC_BODY_BYTES: u64 = 21;

/// The generators, found; and where they write.
pub(crate) struct Generators {
    pub(crate) wrk: PathBuf,
    pub(crate) h2load: PathBuf,
    pub(crate) script: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) core: usize,
}

/// What one run of load saw.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) microseconds: f64,
    pub(crate) bytes: u64,
    pub(crate) failed: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

impl Generators {
    /// Loads a proxy for so long.
    pub(crate) fn run(
        &self,
        load: &Load,
        http: SocketAddr,
        tls: SocketAddr,
        seconds: u32,
    ) -> anyhow::Result<Sample> {
        let sample = match load {
            Load::Http1 { path } => self.wrk(&format!("http://{http}{path}"), seconds, 0),
            Load::Routes { routes } => self.wrk(&format!("http://{http}/"), seconds, *routes),
            Load::Guarded { all } => {
                let keys = if *all { "keys" } else { "key" };
                let shown = ["token", keys].map(|name| self.folder.join(name));
                self.wrk_with(&format!("http://{http}/hello"), seconds, 0, &shown)
            }
            Load::Http2 => self.h2load(&format!("https://{tls}/hello"), seconds, false),
            Load::Grpc => self.h2load(&format!("http://{http}/bench.Echo/Say"), seconds, true),
        }?;
        ensure!(sample.requests > 0, "nothing was answered");
        ensure!(
            sample.failed == 0,
            "{} of {} requests failed",
            sample.failed,
            sample.requests + sample.failed
        );
        Ok(sample)
    }

    fn wrk(&self, url: &str, seconds: u32, routes: usize) -> anyhow::Result<Sample> {
        self.wrk_with(url, seconds, routes, &[])
    }

    /// `shown`: a file with one field for all calls, and one with a field a line that calls have in turn.
    fn wrk_with(
        &self,
        url: &str,
        seconds: u32,
        routes: usize,
        shown: &[PathBuf],
    ) -> anyhow::Result<Sample> {
        let launch = Launch::new(&self.wrk)
            .arg("-t1")
            .arg(format!("-c{CONCURRENT}"))
            .arg(format!("-d{seconds}"))
            .arg("--timeout=10")
            .arg("-s")
            .arg(&self.script)
            .arg(url)
            .arg("--")
            .arg(routes.to_string());
        let launch = shown.iter().fold(launch, |launch, file| launch.arg(file));
        let output = finish(launch.command(Some(self.core)))?;
        let line = output.lines().find_map(|line| line.strip_prefix("json "));
        Ok(serde_json::from_str(line.context("wrk.lua printed no result")?)?)
    }

    fn h2load(&self, url: &str, seconds: u32, grpc: bool) -> anyhow::Result<Sample> {
        let log = self.folder.join("h2load.log");
        let mut launch = Launch::new(&self.h2load)
            .arg("-t1")
            .arg(format!("-c{H2_CONNECTIONS}"))
            .arg(format!("-m{}", CONCURRENT / H2_CONNECTIONS))
            .arg(format!("-D{seconds}"))
            .arg(format!("--log-file={}", log.display()));
        if grpc {
            let body = self.folder.join("grpc-request");
            fs::write(&body, GRPC_REQUEST)?;
            launch = launch.arg("-d").arg(body);
            for header in ["content-type: application/grpc", "te: trailers"] {
                launch = launch.arg("-H").arg(header);
            }
        }
        let output = finish(launch.arg(url).command(Some(self.core)))?;
        let summary = parse_h2load(&output).context("h2load's summary is not as expected")?;
        let body_bytes = if grpc { GRPC_BODY_BYTES } else { SMALL_BODY_BYTES };
        // When the time is over, h2load has counted requests under way in one sum but not the other.
        let expected = summary.succeeded * body_bytes;
        let slack = u64::from(CONCURRENT) * body_bytes;
        ensure!(
            (expected.saturating_sub(slack)..=expected + slack).contains(&summary.data_bytes),
            "{} answers of {body_bytes} bytes have {} bytes",
            summary.succeeded,
            summary.data_bytes
        );
        let latencies = latencies(&read_log(&log)?);
        Ok(Sample {
            requests: summary.succeeded,
            microseconds: f64::from(seconds) * 1e6,
            bytes: summary.data_bytes,
            failed: summary.failed,
            p50_us: percentile(&latencies, 50),
            p99_us: percentile(&latencies, 99),
        })
    }
}

fn finish(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().context("start the load generator")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the load generator ended with {}: {errors}", output.status);
    Ok(text)
}

#[derive(Debug, PartialEq, Eq)]
struct Summary {
    succeeded: u64,
    failed: u64,
    data_bytes: u64,
}

/// Reads `requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout`,
/// `status codes: 9 2xx, …` and `traffic: …, 1.5KB (144) data`.
fn parse_h2load(output: &str) -> Option<Summary> {
    let line = |start: &str| output.lines().find_map(|line| line.strip_prefix(start));
    let requests = line("requests: ")?;
    let count = |text: &str, name: &str| {
        text.split(", ").find_map(|part| part.strip_suffix(name)?.trim().parse::<u64>().ok())
    };
    let data = line("traffic: ")?.rsplit_once('(')?.1.strip_suffix(") data")?;
    let answered = count(line("status codes: ")?, " 2xx")?;
    let succeeded = count(requests, " succeeded")?;
    let unanswered = count(requests, " failed")? + count(requests, " timeout")?;
    Some(Summary {
        succeeded: answered,
        // h2load counts any answer as a success.
        failed: unanswered + succeeded.saturating_sub(answered),
        data_bytes: data.parse().ok()?,
    })
}

/// One GET on a connection of its own: the status and all that came.
pub(crate) fn fetch(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Ok((status.context("not an HTTP/1.1 answer")?, answer))
}

/// The folder's script for `wrk`.
pub(crate) fn script(root: &Path) -> PathBuf {
    root.join("bench/wrk.lua")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_h2load_is_read_and_error_pages_are_failures() {
        let output = "finished in 1.00s, 9.00 req/s, 11.58MB/s
requests: 9 total, 10 started, 9 done, 9 succeeded, 1 failed, 1 errored, 0 timeout
status codes: 7 2xx, 0 3xx, 0 4xx, 2 5xx
traffic: 11.58MB (12139849) total, 8.05MB (8444976) headers (space savings 51.02%), 144B (144) data
";
        let expected = Summary { succeeded: 7, failed: 3, data_bytes: 144 };
        assert_eq!(parse_h2load(output), Some(expected));
        assert_eq!(parse_h2load("nothing"), None);
    }

    #[test]
    fn what_the_script_prints_is_a_sample() {
        let line = r#"{"requests":2,"microseconds":9,"bytes":3,"failed":0,"p50_us":4,"p99_us":5}"#;
        let sample: Sample = serde_json::from_str(line).unwrap();
        assert_eq!((sample.requests, sample.p99_us), (2, 5));
    }
}
