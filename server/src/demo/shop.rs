//! The instances of the sample shop, each in a process of its own. None outlives the demonstration.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::client::Client;

/// How long an instance may take to end by itself.
const GRACE: Duration = Duration::from_secs(8);

/// Time between two looks at the registry.
const LOOK: Duration = Duration::from_millis(100);

/// Services with the number of their instances.
const SERVICES: [(&str, usize); 2] = [("users", 2), ("orders", 2)];

/// All instances.
pub(super) struct Shop {
    instances: Vec<Instance>,
    folder: PathBuf,
    registry: SocketAddr,
    gateway: SocketAddr,
    messages: SocketAddr,
}

/// One instance; killed when dropped.
pub(super) struct Instance {
    name: String,
    child: Child,
}

impl Shop {
    /// Starts every instance, with its database and log in `folder`.
    pub(super) fn start(
        folder: &Path,
        registry: SocketAddr,
        gateway: SocketAddr,
        messages: SocketAddr,
    ) -> anyhow::Result<Self> {
        let folder = folder.to_owned();
        let mut shop = Self { instances: Vec::new(), folder, registry, gateway, messages };
        for (service, count) in SERVICES {
            for number in 1..=count {
                shop.add(service, number, &[])?;
            }
        }
        Ok(shop)
    }

    /// Starts one more instance, with more arguments.
    pub(super) fn add(
        &mut self,
        service: &str,
        number: usize,
        more: &[&str],
    ) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let name = format!("{service}-{number}");
        let log = File::create(self.folder.join(format!("{name}.log"))).context("a log file")?;
        let mut command = Command::new(&program);
        command
            .args(["demo-service", service, "--instance", &name, "--address", "127.0.0.1:0"])
            .arg("--database")
            .arg(self.folder.join(format!("{service}.db")))
            .args(["--registry", &self.registry.to_string()])
            .args(["--gateway", &self.gateway.to_string()])
            .args(["--messages", &self.messages.to_string()])
            .args(more)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{name} does not start"))?;
        self.instances.push(Instance { name, child });
        Ok(())
    }

    /// Waits until the registry has every instance as healthy.
    pub(super) async fn registered(&self, registry: SocketAddr) -> anyhow::Result<()> {
        for (service, count) in SERVICES {
            loop {
                let mut client = Client::connect(registry).await?;
                let path = format!("/v1/health/service/{service}?passing");
                let answer = client.call(Method::GET, &path, "").await?;
                let found: Value = serde_json::from_slice(&answer.body).context("the registry")?;
                if found.as_array().is_some_and(|found| found.len() == count) {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Ends an instance at once (SIGKILL).
    pub(super) async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        match self.instances.iter_mut().find(|instance| instance.name == name) {
            Some(instance) => instance.child.kill().await.with_context(|| format!("kill {name}")),
            None => bail!("there is no instance {name}"),
        }
    }

    /// Asks every instance to end, and ends those that do not.
    pub(super) async fn stop(mut self) {
        for instance in &self.instances {
            let id = instance.child.id().and_then(|id| i32::try_from(id).ok());
            if let Some(id) = id {
                // One that has just ended needs no signal.
                let _ended = kill(Pid::from_raw(id), Signal::SIGTERM);
            }
        }
        for instance in &mut self.instances {
            if tokio::time::timeout(GRACE, instance.child.wait()).await.is_err() {
                tracing::warn!("{} does not end and is killed", instance.name);
            }
        }
    }
}
