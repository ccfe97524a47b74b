//! Keeping a copy up: one thread beside the journal. What goes wrong with the copy is said, and is
//! never the journal's concern.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ScopedJoinHandle};
use std::time::{Duration, Instant};

use posthouse_base::time::Timestamp;
use tokio::sync::watch;

use super::Config;
use super::folder::{self, Series};
use crate::journal::{Head, Health};
use crate::sqlite::Shared;
use crate::sqlite::backup::image::{Header, Kind, Writer};
use crate::sqlite::backup::take::{Live, take};
use crate::sqlite::backup::tap::{Tap, Taps};
use crate::sqlite::backup::{Error, Summary, tap_limit};

/// How often the write-ahead log is looked at between two segments.
const LOOK: Duration = Duration::from_millis(100);
/// Gathered bytes for which a segment is not waited for.
const MUCH: usize = 16 << 20;
/// Segments may weigh as much as the image before the next series, and at least this much.
const LEAST: u64 = 64 << 20;
/// A series is at most this part of the time that is kept.
const SERIES_OF_KEEP: u32 = 4;
/// The pause after something went wrong.
const PAUSE: Duration = Duration::from_secs(5);

/// What is copied.
#[derive(Debug)]
struct Source {
    file: Arc<File>,
    taps: Arc<Taps>,
    head: watch::Receiver<Head>,
    /// Gathered bytes at which a copy is given up and begun again.
    limit: usize,
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

/// How a series ended.
enum Ended {
    /// The journal is closing.
    Stopped,
    /// It is time for the next one.
    Full,
}

/// A series that is being written.
struct Writing<'s> {
    source: &'s Source,
    series: &'s Series,
    tap: &'s Tap,
    number: u32,
    /// Of the image, once it is whole.
    image: Option<u64>,
    segments: u64,
}

impl Keeper {
    pub(crate) fn start(config: Config, shared: &Shared) -> io::Result<Self> {
        let file = shared.file.read().unwrap_or_else(PoisonError::into_inner).clone();
        let source = Source {
            file: file.ok_or(io::ErrorKind::NotConnected)?,
            taps: Arc::clone(&shared.taps),
            head: shared.head.clone(),
            limit: tap_limit(&shared.config),
        };
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

    fn is_told(&self) -> bool {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(config: &Config, source: &Source, stop: &Stop) {
    let shown = config.folder.display();
    let mut lock = None;
    loop {
        let locked = match lock.take() {
            Some(locked) => Ok(locked),
            None => folder::lock(&config.folder),
        };
        let ended = locked.and_then(|locked| {
            lock = Some(locked);
            series(config, source, stop)
        });
        match ended {
            Ok(Ended::Stopped) => return,
            Ok(Ended::Full) => {}
            Err(error) => {
                tracing::error!("the journal's copy in {shown} is interrupted: {error}");
                if stop.wait(PAUSE) {
                    return;
                }
            }
        }
    }
}

/// Writes one series.
fn series(config: &Config, source: &Source, stop: &Stop) -> Result<Ended, Error> {
    let began = Timestamp::now();
    let due = Instant::now() + (config.keep / SERIES_OF_KEEP).max(2 * config.every);
    // Before the image, so that no change lies between.
    let tap = source.taps.open(source.limit);
    let series = Series::begin(&config.folder, began)?;
    let mut writing =
        Writing { source, series: &series, tap: &tap, number: 0, image: None, segments: 0 };
    thread::scope(|scope| {
        let mut image = Some(scope.spawn(|| take_image(source, &series, stop)));
        let mut next = Instant::now() + config.every;
        loop {
            let told = stop.wait(LOOK.min(config.every));
            source.taps.gather(&tap);
            if let Some(whole) = image.take_if(|image| told || image.is_finished()) {
                writing.list_image(whole)?;
                forget_old(config, &series);
            }
            if told || Instant::now() >= next || tap.bytes() > MUCH {
                writing.segment()?;
                next = Instant::now() + config.every;
            }
            if told {
                return Ok(Ended::Stopped);
            }
            let full = writing.image.is_some_and(|image| writing.segments > image.max(LEAST));
            if writing.image.is_some() && (full || Instant::now() >= due) {
                return Ok(Ended::Full);
            }
        }
    })
}

type Image = Result<(std::path::PathBuf, File, Summary, [u8; 32], Timestamp), Error>;

fn take_image(source: &Source, series: &Series, stop: &Stop) -> Image {
    let tap = source.taps.open(source.limit);
    let (path, file) = series.grow(Kind::Image)?;
    let goes_on = || !stop.is_told() && source.head.borrow().health == Health::Serving;
    let live = Live { file: &source.file, taps: &source.taps, tap: &tap, goes_on: &goes_on };
    let position = source.head.borrow().position;
    let (file, summary, digest) = take(&live, position, file, &mut |_, _| {})?;
    Ok((path, file, summary, digest, Timestamp::now()))
}

impl Writing<'_> {
    fn list_image(&mut self, image: ScopedJoinHandle<'_, Image>) -> Result<(), Error> {
        let panicked = |_| Error::Journal("the thread that takes the image panicked".into());
        let (path, file, summary, digest, until) = image.join().map_err(panicked)??;
        self.list((&path, &file), Kind::Image, until, &digest)?;
        self.image = Some(summary.bytes);
        let (bytes, folder) = (summary.bytes, self.series.path.display());
        tracing::info!(bytes, "the journal's copy is kept up in {folder}");
        Ok(())
    }

    /// Writes what has changed since the last one, if something has.
    fn segment(&mut self) -> Result<(), Error> {
        let created = Timestamp::now();
        let taken = self.tap.empty().map_err(|why| Error::Journal(why.into()))?;
        let (Some(pages), Some((_, first))) = (taken.size, taken.pages.first_key_value()) else {
            return Ok(());
        };
        let page_size = u32::try_from(first.len()).unwrap_or(u32::MAX);
        let position = self.source.head.borrow().position;
        let header = Header { kind: Kind::Segment, page_size, created, position };
        let (path, file) = self.series.grow(Kind::Segment)?;
        let write = || {
            let mut segment = Writer::new(file, &header)?;
            for (number, page) in &taken.pages {
                segment.page(*number, page)?;
            }
            segment.finish(pages)
        };
        let written = write().map_err(Error::io(format!("writing {}", path.display())));
        let (file, digest, bytes) = written?;
        self.list((&path, &file), Kind::Segment, created, &digest)?;
        self.segments += bytes;
        Ok(())
    }

    fn list(
        &mut self,
        grown: (&std::path::Path, &File),
        kind: Kind,
        until: Timestamp,
        digest: &[u8; 32],
    ) -> Result<(), Error> {
        self.series.list(grown, kind, self.number, until, digest)?;
        self.number += 1;
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
