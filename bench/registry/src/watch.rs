//! Thousands of reads that wait: who is told of a change, how soon, and what each of them costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::connection::Connection;
use crate::requests::entry;
use crate::{Rate, Target, Watch, note};

/// How long a read may wait, and a change take to reach everybody.
const WAIT: &str = "10m";
const WAITED: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(20);

/// After the last change, whoever was told by mistake is told by now.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// The memory of the process is looked at once it has rested for so long.
const REST: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
pub(crate) struct Results {
    watchers: usize,
    watched: usize,
    changes: usize,
    /// From the change's request to each watcher's answer.
    told: Rate,
    /// From the change's request to its last watcher's answer.
    all_told: Rate,
    /// Answers to those whose service had not changed.
    false_alarms: u64,
    memory: Memory,
}

/// Of the registry's process, in KiB.
#[derive(Debug, Serialize)]
struct Memory {
    before_kib: u64,
    waiting_kib: u64,
    after_kib: u64,
    bytes_a_watcher: u64,
}

/// How clients come and go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Churn {
    pub(crate) minutes: u64,
    pub(crate) rate: u32,
    pub(crate) comings: u32,
}

/// One minute of churn.
#[derive(Debug, Serialize)]
pub(crate) struct Minute {
    minute: u64,
    changes: u64,
    told: u64,
    comings: u64,
    resident_kib: u64,
}

/// A watcher was told.
#[derive(Clone, Copy, Debug)]
struct Told {
    service: usize,
    at: Instant,
}

/// All that wait.
struct Waiting {
    tasks: Vec<JoinHandle<()>>,
    told: mpsc::UnboundedReceiver<anyhow::Result<Told>>,
    teller: mpsc::UnboundedSender<anyhow::Result<Told>>,
    ready: mpsc::UnboundedReceiver<()>,
    readier: mpsc::UnboundedSender<()>,
    target: Target,
    watched: usize,
}

pub(crate) async fn measure(target: &Target, watch: &Watch) -> anyhow::Result<Results> {
    let before_kib = resident(watch.pid).await?;
    let mut waiting = Waiting::start(target, watch).await?;
    let waiting_kib = resident(watch.pid).await?;
    let mut changer = Connection::open(target.address).await?;
    let mut random = fastrand::Rng::with_seed(1);
    let (mut each, mut last) = (Histogram::new(3)?, Histogram::new(3)?);
    let mut false_alarms = 0;
    let began = Instant::now();
    for version in 1..=watch.changes {
        let service = random.usize(..watch.watched);
        let expected = waiting.of(service);
        let asked = Instant::now();
        changer.send("PUT", "/v1/agent/service/register", &entry(service, 0, version)).await?;
        let mut told = 0;
        while told < expected {
            let one = tokio::time::timeout(PATIENCE, waiting.told.recv()).await;
            let one = one.with_context(|| format!("{told} of {expected} were told of a change"))?;
            let one = one.context("the watchers are gone")??;
            if one.service != service {
                false_alarms += 1;
                continue;
            }
            told += 1;
            note(&mut each, one.at - asked)?;
            if told == expected {
                note(&mut last, one.at - asked)?;
            }
        }
        let answer = changer.receive().await?;
        ensure!(answer.status == 200, "a change was refused: {answer:?}");
    }
    let took = began.elapsed();
    tokio::time::sleep(AFTERWARDS).await;
    while waiting.told.try_recv().is_ok() {
        false_alarms += 1;
    }
    let after_kib = resident(watch.pid).await?;
    waiting.end();
    let watchers = u64::try_from(watch.watchers)?;
    let bytes_a_watcher = waiting_kib.saturating_sub(before_kib) * 1024 / watchers;
    Ok(Results {
        watchers: watch.watchers,
        watched: watch.watched,
        changes: watch.changes,
        told: Rate::new(&each, took),
        all_told: Rate::new(&last, took),
        false_alarms,
        memory: Memory { before_kib, waiting_kib, after_kib, bytes_a_watcher },
    })
}

pub(crate) async fn churn(
    target: &Target,
    watch: &Watch,
    churn: &Churn,
    mut show: impl FnMut(&Minute) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut waiting = Waiting::start(target, watch).await?;
    let mut changer = Connection::open(target.address).await?;
    let mut random = fastrand::Rng::with_seed(2);
    let mut change = tokio::time::interval(Duration::from_secs(1) / churn.rate.max(1));
    let mut coming = tokio::time::interval(Duration::from_secs(1) / churn.comings.max(1));
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    minutes.tick().await;
    let (mut minute, mut changes, mut told, mut comings) = (0, 0, 0, 0);
    let mut version = 0;
    while minute < churn.minutes {
        tokio::select! {
            _ = change.tick() => {
                version += 1;
                changes += 1;
                let entry = entry(random.usize(..target.services), 0, version);
                changer.put("/v1/agent/service/register", &entry).await?;
            }
            _ = coming.tick() => {
                comings += 1;
                waiting.replace(random.usize(..watch.watchers)).await?;
            }
            one = waiting.told.recv() => {
                one.context("the watchers are gone")??;
                told += 1;
            }
            _ = minutes.tick() => {
                minute += 1;
                let resident_kib = resident_now(watch.pid)?;
                show(&Minute { minute, changes, told, comings, resident_kib })?;
                (changes, told, comings) = (0, 0, 0);
            }
        }
    }
    waiting.end();
    Ok(())
}

impl Waiting {
    async fn start(target: &Target, watch: &Watch) -> anyhow::Result<Self> {
        let (teller, told) = mpsc::unbounded_channel();
        let (readier, ready) = mpsc::unbounded_channel();
        let (target, watched) = (target.clone(), watch.watched);
        let tasks = Vec::with_capacity(watch.watchers);
        let mut waiting = Self { tasks, told, teller, ready, readier, target, watched };
        for number in 0..watch.watchers {
            let task = waiting.spawn(number);
            waiting.tasks.push(task);
            // A few at a time: the queue of connections that nobody has accepted yet is short.
            if number >= 64 {
                waiting.is_ready().await?;
            }
        }
        for _ in 0..watch.watchers.min(64) {
            waiting.is_ready().await?;
        }
        Ok(waiting)
    }

    /// How many wait for this service.
    fn of(&self, service: usize) -> usize {
        let (all, watched) = (self.tasks.len(), self.watched);
        all / watched + usize::from(service < all % watched)
    }

    /// Whoever is not told as it should be ends the whole: nobody is missed in silence.
    fn spawn(&self, number: usize) -> JoinHandle<()> {
        let address = self.target.address;
        let (teller, readier) = (self.teller.clone(), self.readier.clone());
        let service = number % self.watched;
        let failing = self.teller.clone();
        let watch = async move {
            let mut connection = Connection::open(address).await?;
            let path = format!("/v1/health/service/svc-{service}");
            let mut index = connection.get(&path).await?.index;
            let mut first = true;
            loop {
                let blocking = format!("{path}?index={index}&wait={WAIT}");
                let asked = Instant::now();
                connection.send("GET", &blocking, "").await?;
                if std::mem::take(&mut first) && readier.send(()).is_err() {
                    return Ok(());
                }
                let answer = connection.receive().await?;
                let told = Told { service, at: Instant::now() };
                if answer.index == index && asked.elapsed() >= WAITED {
                    // Its time was over: nothing has happened to this service for that long.
                    continue;
                }
                ensure!(answer.status == 200 && answer.index > index, "{path}: {answer:?}");
                index = answer.index;
                if teller.send(Ok(told)).is_err() {
                    return Ok(());
                }
                // A thousand clients in one process: none keeps another from reading its answer.
                tokio::task::yield_now().await;
            }
        };
        tokio::spawn(async move {
            if let Err(error) = watch.await {
                // Nobody listens any more only when the whole has ended.
                let _unheard = failing.send(Err(error));
            }
        })
    }

    /// Waits until one more of them waits.
    async fn is_ready(&mut self) -> anyhow::Result<()> {
        let ready = tokio::time::timeout(PATIENCE, self.ready.recv()).await;
        ready.context("the watchers did not get to wait")?.context("the watchers are gone")
    }

    /// One goes, and another comes.
    async fn replace(&mut self, number: usize) -> anyhow::Result<()> {
        self.tasks[number].abort();
        self.tasks[number] = self.spawn(number);
        self.is_ready().await
    }

    fn end(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The memory of a process that has come to rest.
async fn resident(pid: u32) -> anyhow::Result<u64> {
    tokio::time::sleep(REST).await;
    resident_now(pid)
}

fn resident_now(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.with_context(|| format!("there is no process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.context("it has no memory")
}
