//! Keeping a copy up: one thread beside the journal. What goes wrong with the copy is said, and is
//! never the journal's concern.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use posthouse_base::time::Timestamp;
use tokio::sync::watch;

use super::Config;
use super::folder::{self, Series};
use super::writing::Writing;
use crate::journal::Head;
use crate::sqlite::Shared;
use crate::sqlite::backup::image::Kind;
use crate::sqlite::backup::tap::Taps;
use crate::sqlite::backup::{Error, tap_limit};

/// How often the write-ahead log is looked at between two segments.
const LOOK: Duration = Duration::from_millis(100);
/// Gathered bytes for which a segment is not waited for.
const MUCH: usize = 16 << 20;
/// Segments may weigh as much as the image before the next series, and at least this much.
const LEAST: u64 = 64 << 20;
/// A series is at most this part of the time that is kept.
const SERIES_OF_KEEP: u32 = 4;
/// The pause after a next series could not be begun.
const LATER: Duration = Duration::from_secs(60);
/// The pause after something else went wrong.
const PAUSE: Duration = Duration::from_secs(5);

/// What is copied.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: Arc<File>,
    pub(super) taps: Arc<Taps>,
    pub(super) head: watch::Receiver<Head>,
    /// Gathered bytes at which a copy is given up and begun again.
    pub(super) limit: usize,
}

/// The running copy; ends, with a last segment, when it is stopped.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    told: Mutex<bool>,
    changed: Condvar,
}

impl Keeper {
    pub(crate) fn start(config: Config, shared: &Shared) -> io::Result<Self> {
        let file = shared.file.read().unwrap_or_else(PoisonError::into_inner).clone();
        let source = Arc::new(Source {
            file: file.ok_or(io::ErrorKind::NotConnected)?,
            taps: Arc::clone(&shared.taps),
            head: shared.head.clone(),
            limit: tap_limit(&shared.config),
        });
        let stop = Arc::<Stop>::default();
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new().name("journal-copy".into());
        let thread = thread.spawn(move || run(&config, &source, &told))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Writes what is missing, and ends.
    pub(crate) fn stop(&mut self) {
        *self.stop.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that copies the journal panicked");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Stop {
    /// Waits; whether it was told to stop.
    fn wait(&self, time: Duration) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(told, time, |told| !*told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn run(config: &Config, source: &Arc<Source>, stop: &Stop) {
    let shown = config.folder.display();
    loop {
        let kept =
            folder::lock(&config.folder).and_then(|_locked| Keeping::new(config, source).run(stop));
        match kept {
            Ok(()) => return,
            Err(error) => tracing::error!("the journal's copy in {shown} is interrupted: {error}"),
        }
        if stop.wait(PAUSE) {
            return;
        }
    }
}

/// The series that can be restored from, and the next one until it has its image.
struct Keeping<'k> {
    config: &'k Config,
    source: &'k Arc<Source>,
    current: Option<Writing>,
    coming: Option<Writing>,
    /// When segments are due.
    due: Instant,
    /// No next series is begun before.
    retry: Instant,
}

impl<'k> Keeping<'k> {
    fn new(config: &'k Config, source: &'k Arc<Source>) -> Self {
        let now = Instant::now();
        Self { config, source, current: None, coming: None, due: now + config.every, retry: now }
    }

    /// Goes on until it is told to stop. An error ends the series that are being written; what is
    /// listed stays.
    fn run(&mut self, stop: &Stop) -> Result<(), Error> {
        loop {
            self.begin_next()?;
            let told = stop.wait(LOOK.min(self.config.every));
            self.take_over(told)?;
            // After the image, so that a segment that is listed behind it is also later than it.
            let waiting = self.each().map(|writing| writing.gather()).max();
            if told || Instant::now() >= self.due || waiting.is_some_and(|bytes| bytes > MUCH) {
                self.each().try_for_each(Writing::segment)?;
                self.due = Instant::now() + self.config.every;
            }
            if told {
                return Ok(());
            }
        }
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Writing> {
        self.current.iter_mut().chain(&mut self.coming)
    }

    fn is_next_due(&self) -> bool {
        let Config { every, keep, .. } = self.config;
        let longest = (*keep / SERIES_OF_KEEP).max(2 * *every);
        self.current
            .as_ref()
            .is_none_or(|current| current.is_heavy(LEAST) || current.began().elapsed() >= longest)
    }

    fn begin_next(&mut self) -> Result<(), Error> {
        if self.coming.is_some() || !self.is_next_due() || Instant::now() < self.retry {
            return Ok(());
        }
        match Writing::begin(&self.config.folder, self.source) {
            Ok(begun) => self.coming = Some(begun),
            Err(error) => self.without_next(error)?,
        }
        Ok(())
    }

    /// Goes on with the series that there is, if there is one, and tries again later.
    fn without_next(&mut self, error: Error) -> Result<(), Error> {
        let Some(current) = &self.current else { return Err(error) };
        let series = current.series().path.display();
        tracing::warn!("the journal's copy goes on in {series}, the next one failed: {error}");
        self.retry = Instant::now() + LATER;
        Ok(())
    }

    /// Has the next series take over once it has its image. When this is the end, only a first one
    /// is waited for.
    fn take_over(&mut self, end: bool) -> Result<(), Error> {
        if end && self.current.is_some() {
            self.coming = None;
        }
        if let Some(mut coming) = self.coming.take_if(|coming| end || coming.has_taken()) {
            match coming.list_image() {
                Ok(()) => {
                    forget_old(self.config, coming.series());
                    self.current = Some(coming);
                }
                Err(error) => self.without_next(error)?,
            }
        }
        Ok(())
    }
}

/// Removes the series that nothing can be asked of any more, now that `current` has its image.
fn forget_old(config: &Config, current: &Series) {
    let keep = u64::try_from(config.keep.as_millis()).unwrap_or(u64::MAX);
    let oldest = Timestamp::from_millis(Timestamp::now().as_millis().saturating_sub(keep));
    let all = match folder::all(&config.folder) {
        Ok(all) => all,
        Err(error) => {
            tracing::warn!("old copies of the journal stay: {error}");
            return;
        }
    };
    let has_image = |series: &Series| {
        let listed = series.listed().unwrap_or_default();
        listed.iter().find(|listed| listed.kind == Kind::Image).map(|image| image.until)
    };
    for (series, next) in all.iter().zip(all.iter().skip(1)) {
        // What is asked for at any time from `oldest` on, a later series has.
        let later = all.iter().filter(|later| *later >= next).find_map(has_image);
        let old = later.is_some_and(|later| later <= oldest) || has_image(series).is_none();
        if old
            && series < current
            && let Err(error) = series.remove()
        {
            tracing::warn!("the old copy in {} stays: {error}", series.path.display());
        }
    }
}
