//! Durable appends per second.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use posthouse_journal::{Journal as _, StreamName, Table};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::{load, raw};

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) time: Duration,
    pub(crate) batch: Vec<usize>,
    pub(crate) writers: Vec<usize>,
    pub(crate) streams: usize,
    pub(crate) size: usize,
    pub(crate) log_mib: Option<u64>,
}

/// All measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    /// Bytes of data in an event.
    size: usize,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    batch: usize,
    /// Events per second of SQLite alone.
    sqlite: f64,
    journal: Vec<Journal>,
}

#[derive(Debug, Serialize)]
struct Journal {
    writers: usize,
    events_per_second: f64,
    share_of_sqlite: f64,
    p50_us: u64,
    p99_us: u64,
}

pub(crate) fn run(plan: &Plan, folder: &Path, runtime: &Runtime) -> anyhow::Result<Results> {
    let mut rows = Vec::new();
    for &batch in &plan.batch {
        let mut journal = Vec::new();
        let alone = || {
            let place = tempfile::tempdir_in(folder)?;
            raw::appends(place.path(), plan.time, batch, plan.streams, plan.size)
        };
        // Before and after: a machine is seldom as fast as it was.
        let before = alone()?;
        for &writers in &plan.writers {
            let place = tempfile::tempdir_in(folder)?;
            journal.push(runtime.block_on(measure(plan, batch, writers, place.path()))?);
        }
        let sqlite = f64::midpoint(before, alone()?);
        for journal in &mut journal {
            journal.share_of_sqlite = journal.events_per_second / sqlite;
        }
        rows.push(Row { batch, sqlite, journal });
    }
    Ok(Results { size: plan.size, rows })
}

async fn measure(
    plan: &Plan,
    batch: usize,
    writers: usize,
    folder: &Path,
) -> anyhow::Result<Journal> {
    let journal = load::open(folder, plan.log_mib)?;
    let began = Instant::now();
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let journal = journal.clone();
        let (time, streams, size) = (plan.time, plan.streams, plan.size);
        tasks.push(tokio::spawn(async move {
            let mut maker = load::Maker::new(size, u64::try_from(writer)?);
            let names: Vec<_> = (0..streams)
                .map(|stream| StreamName::public(format!("orders-{writer}-{stream}")))
                .collect();
            let mut delays = Histogram::<u64>::new(3)?;
            let mut events = 0_u64;
            for name in names.iter().cycle() {
                if began.elapsed() >= time {
                    break;
                }
                let batch = maker.batch(name, Table::Facts, batch);
                events += u64::try_from(batch.appends[0].events.len())?;
                let asked = Instant::now();
                journal.append(batch).await?;
                delays.record(u64::try_from(asked.elapsed().as_micros())?)?;
            }
            anyhow::Ok((events, delays))
        }));
    }
    let (mut events, mut delays) = (0, Histogram::<u64>::new(3)?);
    for task in tasks {
        let (more, of_writer) = task.await??;
        events += more;
        delays.add(of_writer)?;
    }
    let events_per_second = f64::from(u32::try_from(events)?) / began.elapsed().as_secs_f64();
    journal.close();
    Ok(Journal {
        writers,
        events_per_second,
        share_of_sqlite: 0.0,
        p50_us: delays.value_at_quantile(0.5),
        p99_us: delays.value_at_quantile(0.99),
    })
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "durable appends of {} bytes, events/s", self.size)?;
        for row in &self.rows {
            writeln!(f, "batch {:>4}  SQLite alone {:>8.0}", row.batch, row.sqlite)?;
            for one in &row.journal {
                writeln!(
                    f,
                    "            {:>4} writers {:>8.0}  {:>4.0} %  p50 {:>7} us  p99 {:>7} us",
                    one.writers,
                    one.events_per_second,
                    one.share_of_sqlite * 100.0,
                    one.p50_us,
                    one.p99_us
                )?;
            }
        }
        Ok(())
    }
}
