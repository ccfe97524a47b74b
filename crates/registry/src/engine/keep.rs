//! The file in which what was last known outlives us: written whole beside the old one, and then put
//! in its place, so that there is one that can be read at every moment. It is written a while after a
//! change, and less often the longer that takes; what is lost then, the engine tells again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use posthouse_base::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::answer::{Entry, Pairs};

/// The form of the file. One of another form is not read.
const FORM: u32 = 1;

/// How long after a change the file is written, at the earliest.
const SETTLING: Duration = Duration::from_secs(1);

/// Of the time, at most one part in so many goes into writing.
const SHARE: u32 = 10;

type Services = BTreeMap<String, Arc<Vec<Entry>>>;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Kept {
    path: Option<PathBuf>,
    services: Mutex<Services>,
    keys: Mutex<Arc<Pairs>>,
    changed: Notify,
}

/// The file as it is written.
#[derive(Serialize)]
struct Page<'a> {
    form: u32,
    at_ms: u64,
    services: BTreeMap<&'a str, &'a [Entry]>,
    keys: &'a Pairs,
}

/// What was last known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) at: Timestamp,
    pub(super) services: BTreeMap<String, Vec<Entry>>,
    pub(super) keys: Pairs,
}

/// The file as it is read.
#[derive(Deserialize)]
struct Read {
    form: u32,
    at_ms: u64,
    services: BTreeMap<String, Vec<Entry>>,
    #[serde(default)]
    keys: Pairs,
}

impl Kept {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, services: Mutex::default(), keys: Mutex::default(), changed: Notify::new() }
    }

    /// What the file has, and from when it is. A file that cannot be read is said, and is as none.
    pub(super) async fn read(&self) -> Option<Known> {
        let path = self.path.clone()?;
        let read = tokio::task::spawn_blocking({
            let path = path.clone();
            move || read(&path)
        });
        match read.await.map_err(io::Error::other).flatten() {
            Ok(read) => {
                let at = Timestamp::from_millis(read.at_ms);
                tracing::info!(services = read.services.len(), "names as they were last known");
                Some(Known { at, services: read.services, keys: read.keys })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("{} cannot be read, beginning anew: {error}", path.display());
                None
            }
        }
    }

    /// Notes how a service is; it is gone when it has no instances.
    pub(super) fn put(&self, service: &str, entries: Vec<Entry>) {
        if self.path.is_none() {
            return;
        }
        let mut services = self.services();
        let changed = match services.get(service) {
            Some(known) => **known != entries,
            None => !entries.is_empty(),
        };
        if !changed {
            return;
        }
        if entries.is_empty() {
            services.remove(service);
        } else {
            services.insert(service.to_owned(), Arc::new(entries));
        }
        drop(services);
        self.changed.notify_one();
    }

    /// Notes which keys there are.
    pub(super) fn put_keys(&self, pairs: Pairs) {
        let mut keys = self.keys();
        if **keys != pairs {
            *keys = Arc::new(pairs);
            self.changed.notify_one();
        }
    }

    /// Writes the file after each change, until it is dropped.
    pub(super) async fn write_as_it_changes(self: Arc<Self>) {
        let Some(path) = self.path.clone() else { return };
        let mut failing = false;
        loop {
            self.changed.notified().await;
            tokio::time::sleep(SETTLING).await;
            let (services, keys) = (self.services().clone(), Arc::clone(&self.keys()));
            let began = Instant::now();
            let written = tokio::task::spawn_blocking({
                let path = path.clone();
                move || write(&path, &services, &keys)
            });
            match written.await.map_err(io::Error::other).flatten() {
                Ok(()) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::error!("{} cannot be written: {error}", path.display());
                    }
                    failing = true;
                    self.changed.notify_one();
                }
            }
            tokio::time::sleep(began.elapsed() * SHARE).await;
        }
    }

    fn keys(&self) -> MutexGuard<'_, Arc<Pairs>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn services(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> io::Result<Read> {
    let read: Read = serde_json::from_slice(&fs::read(path)?)?;
    if read.form != FORM {
        return Err(io::Error::other(format!("it is of form {}, and not {FORM}", read.form)));
    }
    Ok(read)
}

fn write(path: &Path, services: &Services, keys: &Pairs) -> io::Result<()> {
    let services =
        services.iter().map(|(name, entries)| (name.as_str(), entries.as_slice())).collect();
    let page = Page { form: FORM, at_ms: Timestamp::now().as_millis(), services, keys };
    let text = serde_json::to_vec(&page)?;
    let new = path.with_extension("json.new");
    let mut file = File::create(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
