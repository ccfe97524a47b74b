//! One SQLite file a service, shared by its instances: WAL, so that readers never wait for the
//! writer, and a busy timeout, so that writers wait for each other.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

/// How long a writer waits for another instance's write.
const BUSY: Duration = Duration::from_secs(5);

/// How often opening is tried again: switching a new file to WAL does not heed the busy timeout
/// when two instances do it at once.
const OPEN_TRIES: u32 = 50;

/// The service's database. Clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the file and brings it up to `schema`, which must be safe to run again.
    pub(crate) async fn open(path: &Path, schema: &'static str) -> anyhow::Result<Self> {
        let mut tries = 1;
        let path = path.to_owned();
        loop {
            let file = path.clone();
            let opened = tokio::task::spawn_blocking(move || connect(&file, schema)).await?;
            match opened {
                Ok(connection) => {
                    return Ok(Self { connection: Arc::new(Mutex::new(connection)) });
                }
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && tries < OPEN_TRIES =>
                {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => {
                    let what = format!("the database {} cannot be opened", path.display());
                    return Err(error).context(what);
                }
            }
        }
    }

    /// Runs `work` on the connection, away from the threads that serve.
    pub(crate) async fn run<T, F>(&self, work: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || {
            // A panic in an earlier call rolled its transaction back; the connection is sound.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        });
        Ok(done.await??)
    }
}

fn connect(path: &Path, schema: &str) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change.execute_batch(schema)?;
    change.commit()?;
    Ok(connection)
}
