//! `posthouse services`: as they are ([`look`]), and `watch`: the instances of services, and then each change, as it comes. It
//! follows the registry as a gateway with `registry.engine` does; so it watches Consul as well.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use posthouse_base::task::Tasks;
use posthouse_registry::{Change, Config, Endpoint, Engine, EngineAddress, Scope};
use serde_json::{Value, json};

use super::kv::At;
use super::{Failure, Log, Output, Services, look};

/// How often a start that is not yet decided is looked at.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the instances of all services, or of one, and then each change, until interrupted.
    Watch(Watch),
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Watch this service only.
    name: Option<String>,
    #[command(flatten)]
    at: At,
    /// How changes are shown: a line for each instance (`+` new, `~` different, `-` gone), or a line
    /// of JSON for each changed service, with all its instances.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

pub(crate) fn run(options: Services, log: &Log) -> Result<(), Failure> {
    match options.command {
        Some(Command::Watch(options)) => watch(options, log),
        None => look::services(&options),
    }
}

fn watch(options: Watch, log: &Log) -> Result<(), Failure> {
    // Losing the registry, and finding it again, is told there.
    log.start("warn")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("no runtime to be had")?;
    runtime.block_on(follow(options))
}

async fn follow(options: Watch) -> Result<(), Failure> {
    let Watch { name, at, output } = options;
    let wrong = |message: String| Failure::setup(anyhow::anyhow!(message));
    let mut address =
        EngineAddress::parse(&format!("consul://{}", at.authority()?)).map_err(wrong)?;
    if let Some(token) = &at.token {
        address = address.with_token(token).map_err(wrong)?;
    }
    let tasks = Tasks::new();
    let scope = Scope { service: name, ..Scope::default() };
    let engine = Engine::start(Config::default(), &address, scope, &tasks).await;
    let engine = engine.context("following the registry")?;
    let view = loop {
        let view = engine.view();
        if view.reachable.is_some() {
            break view;
        }
        tokio::time::sleep(LOOK).await;
    };
    if view.reachable == Some(false) {
        let why = view.error.unwrap_or_default();
        let error = anyhow::anyhow!("{why}; is `posthouse up` running?");
        return Err(Failure::other(error.context(format!("asking {}", at.registry))));
    }
    let mut follower = engine.handle().follow();
    let mut known: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
    loop {
        let change = follower.next().await;
        if !tell(&mut known, change, output)? {
            return Ok(());
        }
    }
}

/// Tells a change. Returns whether anybody listens.
fn tell(
    known: &mut BTreeMap<String, Vec<Endpoint>>,
    change: Change,
    output: Output,
) -> Result<bool, Failure> {
    let Change { service, instances } = change;
    let before = known.remove(service.as_ref()).unwrap_or_default();
    let lines = match output {
        Output::Text => differences(&service, &before, &instances),
        Output::Json if before == instances => String::new(),
        Output::Json => {
            let shown: Vec<Value> = instances.iter().map(shown).collect();
            format!("{}\n", json!({ "service": service.as_ref(), "instances": shown }))
        }
    };
    if !instances.is_empty() {
        known.insert(service.to_string(), instances);
    }
    let mut out = io::stdout().lock();
    match out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("standard output").into()),
    }
}

fn differences(service: &str, before: &[Endpoint], now: &[Endpoint]) -> String {
    let is_same = |a: &Endpoint, b: &Endpoint| a.id == b.id && a.node == b.node;
    let mut lines = String::new();
    for instance in now {
        let sign = match before.iter().find(|known| is_same(known, instance)) {
            None => '+',
            Some(known) if known == instance => continue,
            Some(_) => '~',
        };
        let Endpoint { id, address, port, status, tags, .. } = instance;
        let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        let status = if instance.maintenance { "maintenance" } else { status.as_str() };
        lines += &format!("{sign} {service} {id} {host}:{port} {status} {}", tags.join(","));
        lines.truncate(lines.trim_end().len());
        lines.push('\n');
    }
    for gone in before.iter().filter(|known| !now.iter().any(|other| is_same(known, other))) {
        lines += &format!("- {service} {}\n", gone.id);
    }
    lines
}

fn shown(instance: &Endpoint) -> Value {
    json!({
        "id": instance.id,
        "node": instance.node,
        "address": instance.address,
        "port": instance.port,
        "status": instance.status.as_str(),
        "maintenance": instance.maintenance,
        "weight": instance.weight_passing,
        "tags": instance.tags,
        "meta": instance.meta,
    })
}

#[cfg(test)]
mod tests {
    use posthouse_registry::Status;

    use super::*;

    #[test]
    fn a_change_is_told_by_what_is_different() {
        let instance = |id: &str, status| Endpoint {
            id: id.into(),
            node: "n".into(),
            address: "10.0.0.1".into(),
            port: 80,
            weight_passing: 1,
            weight_warning: 1,
            tags: vec!["v1".into()],
            meta: BTreeMap::new(),
            status,
            maintenance: false,
        };
        let before = [instance("a", Status::Passing), instance("b", Status::Passing)];
        let now = [instance("b", Status::Critical), instance("c", Status::Passing)];
        let said = "~ web b 10.0.0.1:80 critical v1\n+ web c 10.0.0.1:80 passing v1\n- web a\n";
        assert_eq!(differences("web", &before, &now), said);
        assert_eq!(differences("web", &now, &now), "");
    }
}
