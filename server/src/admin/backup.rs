//! The journal's backup as a stream: taken while everything goes on, by a thread that the receiver
//! sets the pace of.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use posthouse_base::problem::Problem;
use posthouse_journal::sqlite::Sqlite;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Refusal, State};

/// About how much will come, for showing progress.
pub(crate) const APPROXIMATE_BYTES: &str = "x-posthouse-approximate-bytes";

/// How long the receiver may take nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Parts that wait for the receiver.
const WAITING: usize = 4;

/// Streams a backup of the journal, in the format that `posthouse restore` reads.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/backup",
    security(("token" = ["admin"])),
    responses(
        (status = 200, content_type = "application/octet-stream",
         description = "Whole only if its checksum is right, which `posthouse backup` looks at."),
        (status = 409, body = super::wire::ProblemDetails, content_type = "application/problem+json",
         description = "Another backup is being taken."),
    )
))]
pub(super) async fn backup(Shared(state): Shared<State>) -> Result<Response, Refusal> {
    let journal = Arc::clone(&state.journal);
    let busy = |_| {
        let detail = "another backup is being taken: try again when it is done";
        Refusal(Problem::new(409, "Conflict").detail(detail))
    };
    let permit = Arc::clone(&state.backups).try_acquire_owned().map_err(busy)?;
    let bytes = journal.bytes();
    let (parts, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || take(&journal, &parts, permit));
    let parts = stream::unfold(receiver, |mut receiver| async move {
        let part: Option<io::Result<Bytes>> = receiver.recv().await;
        part.map(|part| (part, receiver))
    });
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
        (APPROXIMATE_BYTES, bytes.to_string()),
    ];
    Ok((headers, Body::from_stream(parts)).into_response())
}

fn take(
    journal: &Sqlite,
    parts: &mpsc::Sender<io::Result<Bytes>>,
    _one_at_a_time: OwnedSemaphorePermit,
) {
    match journal.backup(Parts(parts.clone()), &mut |_, _| {}) {
        Ok((_, summary)) => {
            let position = summary.position.get();
            tracing::info!(position, bytes = summary.bytes, "a backup of the journal was taken");
        }
        Err(error) => {
            tracing::error!("a backup of the journal broke off: {error}");
            // Ends the answer in a way that is not taken for its end.
            let _gone = parts.blocking_send(Err(io::Error::other(error.to_string())));
        }
    }
}

struct Parts(mpsc::Sender<io::Result<Bytes>>);

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = Ok(Bytes::copy_from_slice(bytes));
        let sent = Handle::current().block_on(tokio::time::timeout(PATIENCE, self.0.send(part)));
        match sent {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the receiver is gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the receiver takes nothing")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
