//! The threads that read, each with a connection of its own. A read is one short transaction, so
//! that none keeps the write-ahead log from being emptied.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::queue::Taken;
use super::read::Reader;
use super::{Shared, fault, schema};
use crate::error::{Error, Outage};

/// What a reader thread is asked to do.
pub(super) type Read =
    Box<dyn FnOnce(Result<&mut Reader, Outage>) -> Result<(), rusqlite::Error> + Send>;

/// Has `read` done by a reader thread.
pub(super) async fn ask<T, F>(shared: &Shared, read: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&mut Reader) -> rusqlite::Result<Result<T, Error>> + Send + 'static,
{
    let (reply, outcome) = oneshot::channel();
    let job: Read = Box::new(move |reader| {
        let (answer, fault) = match reader.map(read) {
            Ok(Ok(answer)) => (answer, Ok(())),
            Ok(Err(error)) => (Err(fault::unavailable(&error)), Err(error)),
            Err(outage) => (Err(Error::Unavailable(outage)), Ok(())),
        };
        let _dropped = reply.send(answer);
        fault
    });
    shared.reads.push(job, 0).await?;
    outcome.await.unwrap_or(Err(Error::Closed))
}

/// Reads until the queue is closed. A connection that failed is opened anew.
pub(super) fn run(shared: &Arc<Shared>, connection: Connection) {
    let mut reader = Some(Reader::new(connection));
    let mut jobs = Vec::new();
    while shared.reads.take(&mut jobs, 1, u64::MAX, None) != Taken::Closed {
        for job in jobs.drain(..) {
            let opened = match reader.take() {
                Some(reader) => Ok(reader),
                None => schema::open_reader(&shared.path, &shared.options)
                    .map(Reader::new)
                    .map_err(|error| fault::outage(&error)),
            };
            reader = match opened {
                Ok(mut opened) => job(Ok(&mut opened)).is_ok().then_some(opened),
                Err(outage) => {
                    let _answered = job(Err(outage));
                    None
                }
            };
        }
    }
}
