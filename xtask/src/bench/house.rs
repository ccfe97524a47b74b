//! A running Posthouse: started from a configuration on ports of its own choice, its addresses read
//! back from `addresses.json` in its data folder; and the constant load that meets it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::load::fetch;
use super::process::{Group, Launch};
use super::stats::{Request, read_log};
use super::template;
use super::work::Work;

/// Under valgrind everything takes fifty times as long.
const START_LIMIT: Duration = Duration::from_secs(180);

const POLL: Duration = Duration::from_millis(20);

/// The part of `addresses.json` that benchmarks use.
#[derive(Debug, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) listeners: Vec<SocketAddr>,
}

/// Appends the arguments that make `launch` a Posthouse with this configuration.
pub(crate) fn up(launch: Launch, config: &Path) -> Launch {
    launch.arg("up").arg("--config").arg(config)
}

/// Waits until the addresses are known; `data` is the configuration's data folder.
pub(crate) fn wait_addresses(group: &mut Group, data: &Path) -> anyhow::Result<Addresses> {
    let path = data.join("addresses.json");
    wait(group, "write its addresses", || {
        let text = fs::read_to_string(&path)?;
        Ok(serde_json::from_str::<Addresses>(&text)?)
    })
}

/// Waits until this path is answered with 200.
pub(crate) fn wait_path(group: &mut Group, address: SocketAddr, path: &str) -> anyhow::Result<()> {
    wait(group, "answer", || {
        let (status, _) = fetch(address, path)?;
        ensure!(status == 200, "{path} is answered with {status}");
        Ok(())
    })
}

/// Tries until it works, the program ends or the time is over.
pub(crate) fn wait<T>(
    group: &mut Group,
    what: &str,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        group.ensure_alive()?;
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if begun.elapsed() > START_LIMIT => {
                return Err(error).with_context(|| format!("it did not {what} in time"));
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// A Posthouse of its own folder, not pinned, with one of the templates in `bench/`.
pub(crate) struct House {
    pub(crate) group: Group,
    pub(crate) address: SocketAddr,
}

impl House {
    pub(crate) fn start(
        program: &Path,
        root: &Path,
        folder: &Path,
        template: &str,
        work: &Work,
    ) -> anyhow::Result<Self> {
        let (config, data) = (folder.join(template), folder.join("data"));
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        write_config(root, folder, template, work)?;
        let log = folder.join("posthouse.log");
        let mut group = up(Launch::new(program), &config).spawn(None, &log)?;
        let listeners = wait_addresses(&mut group, &data)?.listeners;
        let address = *listeners.first().context("no listener")?;
        wait_path(&mut group, address, &work.last_path())?;
        Ok(Self { group, address })
    }
}

/// Fills a template in and puts it in place at once, as editors and deployments do.
fn write_config(root: &Path, folder: &Path, template: &str, work: &Work) -> anyhow::Result<()> {
    let new = folder.join("new.yaml");
    fs::write(&new, config_text(root, folder, template, work)?)?;
    fs::rename(&new, folder.join(template)).context("put the configuration in place")
}

/// A template of `bench/`, filled in.
pub(crate) fn config_text(
    root: &Path,
    folder: &Path,
    template: &str,
    work: &Work,
) -> anyhow::Result<String> {
    let path = root.join("bench").join(template);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let values = [
        ("dir", folder.display().to_string()),
        ("interval_ms", work.check_interval_ms.to_string()),
    ];
    template::expand(&text, work, &values).with_context(|| template.to_owned())
}

/// Constant load by `bench-load`, under way in the background.
pub(crate) struct ConstantLoad {
    child: Child,
    log: PathBuf,
}

/// What is sent: so many GET requests a second over so many connections for so long.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Rate {
    /// Requests a second over all connections.
    #[arg(long, default_value_t = 3_000)]
    pub(crate) rate: u32,
    #[arg(long, default_value_t = 30)]
    pub(crate) connections: u32,
}

impl ConstantLoad {
    pub(crate) fn start(
        bench_load: &Path,
        folder: &Path,
        address: SocketAddr,
        rate: Rate,
        seconds: u32,
        extra: &[&str],
    ) -> anyhow::Result<Self> {
        let log = folder.join("load.log");
        let child = Command::new(bench_load)
            .args(["constant", "--address", &address.to_string()])
            .args(["--rate", &rate.rate.to_string()])
            .args(["--connections", &rate.connections.to_string()])
            .args(["--seconds", &seconds.to_string()])
            .args(extra)
            .arg("--log")
            .arg(&log)
            .stdin(Stdio::null())
            .spawn()
            .context("start the load generator")?;
        Ok(Self { child, log })
    }

    /// Waits until all requests have ended.
    pub(crate) fn finish(mut self) -> anyhow::Result<Vec<Request>> {
        let status = self.child.wait()?;
        ensure!(status.success(), "the load generator ended with {status}");
        read_log(&self.log)
    }
}

impl Drop for ConstantLoad {
    fn drop(&mut self) {
        // Fails when it has ended, as it has after `finish`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
