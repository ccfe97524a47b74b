//! `cargo xtask bench …`: what the project's claims of speed and calm rest on. Each benchmark starts
//! the real programs, measures from outside (`/proc`, the load generator's own log, valgrind) and
//! prints a table; `--write` puts that table into BENCHMARKS.md with the machine it is from.
//!
//! Reading order: [`gateway`] (CPU, speed and memory beside other proxies; [`guard`]: what asking who calls adds), [`failover`],
//! [`reload`], [`instructions`], [`journal`], [`registry`], [`broker`] (with [`rabbitmq`]); then what they share: [`peers`] (how each proxy is started),
//! [`work`] (what it is given to do), [`load`], [`process`], [`stats`], [`report`].

mod broker;
mod failover;
mod gateway;
mod guard;
mod house;
mod install;
mod instructions;
mod journal;
mod load;
mod machine;
mod peers;
mod process;
mod rabbitmq;
mod registry;
mod reload;
mod report;
mod stats;
mod template;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Measure Posthouse")]
enum Bench {
    /// CPU per request, speed, latency and memory beside nginx, HAProxy, Traefik and Caddy.
    Gateway(gateway::Options),
    /// A constant rate while one instance is killed and one is stopped.
    Failover(failover::Options),
    /// A constant rate while the configuration is reloaded again and again.
    Reload(reload::Options),
    /// Instructions per request as routes and instances grow.
    Instructions(instructions::Options),
    /// Durable appends beside SQLite alone, a long run, and the start with many events.
    Journal(journal::Options),
    /// Messages a second, their cost and memory, beside RabbitMQ.
    Broker(broker::Options),
    /// Registrations, reads and ten thousand waiting reads, beside etcd.
    Registry(registry::Options),
}

/// Runs the benchmark that the arguments after `bench` name.
pub(crate) fn run(args: Vec<String>) -> anyhow::Result<()> {
    let name = std::iter::once("cargo xtask bench".to_owned());
    match Bench::parse_from(name.chain(args)) {
        Bench::Gateway(options) => gateway::run(&options),
        Bench::Failover(options) => failover::run(&options),
        Bench::Reload(options) => reload::run(&options),
        Bench::Instructions(options) => instructions::run(&options),
        Bench::Journal(options) => journal::run(&options),
        Bench::Broker(options) => broker::run(&options),
        Bench::Registry(options) => registry::run(&options),
    }
}

/// The workspace's folder.
fn root() -> anyhow::Result<PathBuf> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["locate-project", "--workspace", "--message-format", "plain"])
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "cargo locate-project: {}", output.status);
    let manifest = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
    Ok(manifest.parent().context("a manifest has a folder")?.to_owned())
}

/// An empty folder for one benchmark's configurations, logs and data.
fn fresh_folder(root: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = root.join("target/bench").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// Puts the certificate that every proxy serves into the folder.
fn certificate(bench_load: &Path, folder: &Path) -> anyhow::Result<()> {
    let status = Command::new(bench_load).arg("certificate").arg(folder).status()?;
    ensure!(status.success(), "writing a certificate failed");
    Ok(())
}

/// Puts what calls show to guards, and what guards know of it, into the folder.
fn credentials(bench_load: &Path, folder: &Path) -> anyhow::Result<()> {
    let status = Command::new(bench_load).arg("credentials").arg(folder).status()?;
    ensure!(status.success(), "writing credentials failed");
    Ok(())
}

/// Counts, sizes and times of a benchmark are far below 2^53 and stay exact.
#[expect(clippy::cast_precision_loss, reason = "values stay far below 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}

fn milliseconds(microseconds: u64) -> f64 {
    float(microseconds) / 1e3
}
