//! The one thread that writes. It takes what waits, writes it in one transaction, and answers when
//! the commit, which is the fsync, has returned.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use posthouse_base::time::Timestamp;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::heads::Heads;
use super::queue::Taken;
use super::stage::{Part, Staged};
use super::statements::{Counter, Statements, position, unsigned};
use super::write::{Chore, Log, Written};
use super::{Shared, fault, recover, schema};
use crate::batch::Batch;
use crate::error::{Error, Outage};
use crate::journal::Appended;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    /// By those who use the journal.
    Batch(Waiting),
    /// A part of a checkpoint. Nobody waits for it: its batch counts the parts.
    Part(Part),
    /// By the scavenger.
    Chore(Chore, mpsc::Sender<Result<usize, Outage>>),
}

/// A batch that waits to be written.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) batch: Batch,
    pub(super) reply: oneshot::Sender<Result<Appended, Error>>,
    pub(super) since: Instant,
    /// Where the data of its checkpoint is, if that is large.
    pub(super) staged: Option<Staged>,
}

/// What was done within a transaction that may still fail.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are batches")]
enum Done {
    Batch(Waiting, Result<Written, Error>),
    Part,
    Chore(mpsc::Sender<Result<usize, Outage>>, usize),
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

impl Order {
    /// Says that it is not known to be done.
    pub(super) fn fail(self, outage: &Outage) {
        match self {
            Self::Batch(Waiting { reply, .. }) => {
                let _dropped = reply.send(Err(Error::Unavailable(outage.clone())));
            }
            Self::Part(_) => {}
            Self::Chore(_, reply) => {
                let _dropped = reply.send(Err(outage.clone()));
            }
        }
    }
}

/// Writes until the queue is closed; comes back by itself from faults.
pub(super) fn run(shared: &Arc<Shared>, connection: Connection) {
    let mut connection = connection;
    loop {
        let outage = match serve(shared, &mut connection) {
            Ended::Closed => break,
            Ended::Out(outage) => outage,
        };
        drop(connection);
        let Some(back) = recover::recover(shared, outage) else { return };
        connection = back;
    }
    let _hold = shared.taps.before_emptying();
    recover::close(connection);
}

fn serve(shared: &Arc<Shared>, connection: &mut Connection) -> Ended {
    if let Err(error) = watch_log(shared, connection) {
        return error.into();
    }
    let connection = &*connection;
    let started = Statements::prepare(connection)
        .and_then(|sql| Ok((sql, load(connection, shared.config.limits.streams)?)));
    let (mut sql, mut log) = match started {
        Ok(started) => started,
        Err(error) => return error.into(),
    };
    let mut orders = Vec::new();
    loop {
        let commit = &shared.config.commit;
        let taken = shared.writes.take(&mut orders, commit.batches, commit.bytes.0, None);
        if taken == Taken::Closed {
            return Ended::Closed;
        }
        let written = shared
            .gate
            .enter()
            .map_err(Ended::Out)
            .and_then(|_inside| write(shared, &mut log, &mut sql, &mut orders));
        if let Err(ended) = written {
            if let Ended::Out(outage) = &ended {
                orders.drain(..).for_each(|order| order.fail(outage));
            }
            return ended;
        }
    }
}

/// Has every commit tell how long the write-ahead log has become.
fn watch_log(shared: &Arc<Shared>, connection: &mut Connection) -> rusqlite::Result<()> {
    let shared = Arc::downgrade(shared);
    connection.wal_hook(Some(move |_: &mut _, pages| {
        if let Some(shared) = shared.upgrade() {
            shared.gate.grown(u64::try_from(pages).unwrap_or(0));
        }
        Ok(())
    }))
}

/// The log's end as the database has it.
pub(super) fn load(connection: &Connection, streams: usize) -> rusqlite::Result<Log> {
    let counter = connection.query_row(schema::COUNTER, [], |row| {
        let time = Timestamp::from_millis(unsigned(row.get(1)?));
        Ok(Counter { position: position(row, 0)?, time })
    })?;
    let ids = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM streams";
    let heads =
        connection.query_row(ids, [], |row| Ok(Heads::new(streams, row.get(0)?, row.get(1)?)))?;
    Ok(Log { heads, counter, due: false })
}

/// The last generation of checkpoints' parts.
pub(super) fn last_generation(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT max((SELECT coalesce(max(generation), 0) FROM checkpoint_parts), \
               (SELECT coalesce(max(generation), 0) FROM checkpoints))";
    connection.query_row(sql, [], |row| row.get(0))
}

/// Writes `orders`, and what comes while it does within the bounds, in one commit; answers them.
fn write(
    shared: &Shared,
    log: &mut Log,
    sql: &mut Statements<'_>,
    orders: &mut Vec<Order>,
) -> Result<(), Ended> {
    if orders.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    let mut done = Vec::with_capacity(orders.len());
    if let Err(error) = commit(shared, log, sql, orders, &mut done) {
        let outage = fault::outage(&error);
        done.into_iter().for_each(|done| done.fail(&outage));
        return Err(Ended::Out(outage));
    }
    shared.metrics.committed(done.len(), begun.elapsed());
    publish(shared, log, done);
    Ok(())
}

/// Writes `orders` in one transaction, and moves them to `done`; what is not moved was not written.
fn commit(
    shared: &Shared,
    log: &mut Log,
    sql: &mut Statements<'_>,
    orders: &mut Vec<Order>,
    done: &mut Vec<Done>,
) -> rusqlite::Result<()> {
    let limits = &shared.config.commit;
    let begun = Instant::now();
    sql.begin()?;
    loop {
        let now = shared.options.clock.now();
        let mut waiting = std::mem::take(orders).into_iter();
        while let Some(order) = waiting.next() {
            let failed = match carry_out(order, log, now, sql) {
                Ok(outcome) => {
                    done.push(outcome);
                    continue;
                }
                Err(failed) => *failed,
            };
            orders.push(failed.0);
            orders.extend(waiting);
            return Err(failed.1);
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
    sql.save_counter(log.counter)?;
    sql.commit()?;
    log.heads.trim();
    Ok(())
}

/// Does what is asked for, within the transaction.
fn carry_out(
    order: Order,
    log: &mut Log,
    now: Timestamp,
    sql: &mut Statements<'_>,
) -> Result<Done, Box<(Order, rusqlite::Error)>> {
    match order {
        Order::Batch(order) => match log.write(&order.batch, order.staged.as_ref(), now, sql) {
            Ok(outcome) => Ok(Done::Batch(order, outcome)),
            Err(error) => Err(Box::new((Order::Batch(order), error))),
        },
        Order::Part(part) => match sql.save_part(&part) {
            Ok(()) => Ok(Done::Part),
            Err(error) => Err(Box::new((Order::Part(part), error))),
        },
        Order::Chore(chore, reply) => match log.chore(&chore, sql) {
            Ok(count) => Ok(Done::Chore(reply, count)),
            Err(error) => Err(Box::new((Order::Chore(chore, reply), error))),
        },
    }
}

/// Shows what is durable now: first what those who follow read, then the head, then the answers.
fn publish(shared: &Shared, log: &mut Log, done: Vec<Done>) {
    let (mut fresh, mut limits) = (Vec::new(), Vec::new());
    let mut answers = Vec::with_capacity(done.len());
    for done in done {
        match done {
            Done::Part => {}
            Done::Batch(Waiting { batch, reply, since, .. }, Ok(written)) => {
                shared.metrics.appended(&batch, written.appended.repeated, since.elapsed());
                limits.extend(written.limits.iter().cloned());
                written.events(batch, &mut fresh);
                answers.push((reply, Ok(written.appended)));
            }
            Done::Batch(Waiting { reply, .. }, Err(refusal)) => {
                shared.metrics.refused(&refusal);
                answers.push((reply, Err(refusal)));
            }
            Done::Chore(reply, count) => {
                let _dropped = reply.send(Ok(count));
            }
        }
    }
    let position = log.counter.position;
    shared.recent.enter(fresh, limits, position);
    shared.publish(position);
    if std::mem::take(&mut log.due) {
        shared.scavenger.look();
    }
    for (reply, outcome) in answers {
        let _dropped = reply.send(outcome);
    }
}

impl Done {
    fn fail(self, outage: &Outage) {
        match self {
            Self::Batch(waiting, _) => Order::Batch(waiting).fail(outage),
            Self::Part => {}
            Self::Chore(reply, _) => {
                let _dropped = reply.send(Err(outage.clone()));
            }
        }
    }
}
