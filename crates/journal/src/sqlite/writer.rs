//! The one thread that writes. It takes what waits, writes it in one transaction, and answers when
//! the commit, which is the fsync, has returned.

use std::sync::Arc;
use std::time::Instant;

use posthouse_base::time::Timestamp;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::heads::Heads;
use super::queue::Taken;
use super::statements::{Counter, Statements, position, unsigned};
use super::write::{Log, Written};
use super::{Shared, fault, recover};
use crate::batch::Batch;
use crate::error::{Error, Outage};
use crate::journal::Appended;

/// A batch that waits to be written.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) batch: Batch,
    pub(super) reply: oneshot::Sender<Result<Appended, Error>>,
}

/// Why the writer no longer serves.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was told to end, and has written everything that it was given.
    Closed,
    /// The disk failed.
    Out(Outage),
}

impl From<rusqlite::Error> for Ended {
    fn from(error: rusqlite::Error) -> Self {
        Self::Out(fault::outage(&error))
    }
}

/// Writes until the queue is closed; comes back by itself from faults.
pub(super) fn run(shared: &Arc<Shared>, connection: Connection) {
    let mut connection = connection;
    loop {
        let outage = match serve(shared, &connection) {
            Ended::Closed => break,
            Ended::Out(outage) => outage,
        };
        drop(connection);
        let Some(back) = recover::recover(shared, outage) else { return };
        connection = back;
    }
    recover::close(connection);
}

fn serve(shared: &Shared, connection: &Connection) -> Ended {
    let started = Statements::prepare(connection)
        .and_then(|sql| Ok((sql, load(connection, shared.config.limits.streams)?)));
    let (mut sql, mut log) = match started {
        Ok(started) => started,
        Err(error) => return error.into(),
    };
    let mut orders = Vec::new();
    loop {
        let commit = &shared.config.commit;
        match shared.writes.take(&mut orders, commit.batches, commit.bytes.0, None) {
            Taken::Closed => return Ended::Closed,
            Taken::Nothing => {}
            Taken::Some => {
                if let Err(ended) = write(shared, &mut log, &mut sql, &mut orders) {
                    return ended;
                }
            }
        }
    }
}

/// The log's end as the database has it.
pub(super) fn load(connection: &Connection, streams: usize) -> rusqlite::Result<Log> {
    let counter = connection.query_row("SELECT position, time FROM journal", [], |row| {
        let time = Timestamp::from_millis(unsigned(row.get(1)?));
        Ok(Counter { position: position(row, 0)?, time })
    })?;
    let ids = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM streams";
    let heads =
        connection.query_row(ids, [], |row| Ok(Heads::new(streams, row.get(0)?, row.get(1)?)))?;
    Ok(Log { heads, counter })
}

/// Writes `orders`, and what comes while it does within the bounds, in one commit; answers them.
fn write(
    shared: &Shared,
    log: &mut Log,
    sql: &mut Statements<'_>,
    orders: &mut Vec<Order>,
) -> Result<(), Ended> {
    let mut done = Vec::with_capacity(orders.len());
    let committed = commit(shared, log, sql, orders, &mut done);
    if let Err(error) = committed {
        let outage = fault::outage(&error);
        let waiting = orders.drain(..).map(|order| order.reply);
        for reply in done.into_iter().map(|(order, _): (Order, _)| order.reply).chain(waiting) {
            let _dropped = reply.send(Err(Error::Unavailable(outage.clone())));
        }
        return Err(Ended::Out(outage));
    }
    shared.publish(log.counter.position);
    for (order, outcome) in done {
        let _dropped = order.reply.send(outcome.map(|written| written.appended));
    }
    Ok(())
}

type Done = Vec<(Order, Result<Written, Error>)>;

fn commit(
    shared: &Shared,
    log: &mut Log,
    sql: &mut Statements<'_>,
    orders: &mut Vec<Order>,
    done: &mut Done,
) -> rusqlite::Result<()> {
    let limits = &shared.config.commit;
    let begun = Instant::now();
    let before = log.counter;
    sql.begin()?;
    loop {
        let now = shared.options.clock.now();
        let mut waiting = std::mem::take(orders).into_iter();
        while let Some(order) = waiting.next() {
            match log.write(&order.batch, now, sql) {
                Ok(outcome) => done.push((order, outcome)),
                Err(error) => {
                    orders.push(order);
                    orders.extend(waiting);
                    return Err(error);
                }
            }
        }
        let places = limits.batches.saturating_sub(done.len());
        let in_time = begun.elapsed() < limits.time.0;
        // What came while this was written joins the same fsync.
        if places == 0
            || !in_time
            || shared.writes.take(orders, places, limits.bytes.0, Some(begun)) != Taken::Some
        {
            break;
        }
    }
    log.heads.save(sql)?;
    if log.counter.position != before.position {
        sql.save_counter(log.counter)?;
    }
    sql.commit()?;
    log.heads.trim();
    Ok(())
}
