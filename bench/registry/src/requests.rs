//! Registrations and reads, from so many connections at the same time.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::json;

use crate::connection::Connection;
use crate::{Rate, Target, note};

/// What was read, in all.
#[derive(Debug, Serialize)]
pub(crate) struct Reads {
    #[serde(flatten)]
    rate: Rate,
    bytes_each: usize,
}

/// Registers `instances` of each service, service by service.
pub(crate) async fn register(target: &Target, connections: usize) -> anyhow::Result<Rate> {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for first in 0..connections {
        let target = target.clone();
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(target.address).await?;
            let mut delays = Histogram::new(3)?;
            for number in (first..target.services * target.instances).step_by(connections) {
                let (service, instance) = (number / target.instances, number % target.instances);
                let body = entry(service, instance, 0);
                let asked = Instant::now();
                connection.put("/v1/agent/service/register", &body).await?;
                note(&mut delays, asked.elapsed())?;
            }
            anyhow::Ok(delays)
        }));
    }
    let mut delays = Histogram::new(3)?;
    for task in tasks {
        delays.add(task.await??)?;
    }
    Ok(Rate::new(&delays, began.elapsed()))
}

/// Reads the passing instances of services at random.
pub(crate) async fn read(
    target: &Target,
    connections: usize,
    time: Duration,
) -> anyhow::Result<Reads> {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for seed in 0..connections {
        let target = target.clone();
        tasks.push(tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(u64::try_from(seed)?);
            let mut connection = Connection::open(target.address).await?;
            let (mut delays, mut bytes) = (Histogram::new(3)?, 0);
            while began.elapsed() < time {
                let service = random.usize(..target.services);
                let asked = Instant::now();
                let path = format!("/v1/health/service/svc-{service}?passing");
                let answer = connection.get(&path).await?;
                ensure!(answer.status == 200 && answer.bytes > 2, "{path}: {answer:?}");
                note(&mut delays, asked.elapsed())?;
                bytes = answer.bytes;
            }
            anyhow::Ok((delays, bytes))
        }));
    }
    let (mut delays, mut bytes_each) = (Histogram::new(3)?, 0);
    for task in tasks {
        let (of_one, bytes) = task.await??;
        delays.add(of_one)?;
        bytes_each = bytes;
    }
    Ok(Reads { rate: Rate::new(&delays, began.elapsed()), bytes_each })
}

/// A registration; another `version` is a change.
pub(crate) fn entry(service: usize, instance: usize, version: usize) -> String {
    json!({
        "ID": format!("svc-{service}-{instance}"), "Name": format!("svc-{service}"),
        "Address": format!("10.{}.{}.{instance}", service / 250, service % 250), "Port": 8080,
        "Tags": ["bench"], "Meta": { "version": version.to_string() },
        "Check": { "TTL": "24h", "Status": "passing" },
    })
    .to_string()
}
