//! One series as it is written: the image by a thread of its own, and meanwhile the segments.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use posthouse_base::time::Timestamp;

use super::folder::Series;
use super::keep::Source;
use crate::journal::Health;
use crate::sqlite::backup::Error;
use crate::sqlite::backup::image::{Digest, Header, Kind, Writer};
use crate::sqlite::backup::take::{Live, take};
use crate::sqlite::backup::tap::Tap;

/// A series that is being written. Given up when dropped before it has its image.
#[derive(Debug)]
pub(super) struct Writing {
    source: Arc<Source>,
    series: Series,
    tap: Arc<Tap>,
    taking: Option<JoinHandle<Result<Image, Error>>>,
    given_up: Arc<AtomicBool>,
    began: Instant,
    /// Of the next file.
    number: u32,
    /// Bytes of the image once it is listed, and of the segments.
    image: Option<u64>,
    segments: u64,
}

/// An image that is whole and not listed yet.
#[derive(Debug)]
struct Image {
    path: PathBuf,
    file: File,
    bytes: u64,
    digest: Digest,
    until: Timestamp,
}

impl Writing {
    /// Begins a series, and to take its image.
    pub(super) fn begin(copy: &Path, source: &Arc<Source>) -> Result<Self, Error> {
        // Before the image, so that no change lies between.
        let tap = source.taps.open(source.limit);
        let series = Series::begin(copy, Timestamp::now())?;
        let given_up = Arc::<AtomicBool>::default();
        let (of, place, stop) = (Arc::clone(source), series.clone(), Arc::clone(&given_up));
        let thread = thread::Builder::new().name("journal-image".into());
        let taking = thread.spawn(move || take_image(&of, &place, &stop));
        let taking = taking.map_err(Error::io("starting a thread"))?;
        Ok(Self {
            source: Arc::clone(source),
            series,
            tap,
            taking: Some(taking),
            given_up,
            began: Instant::now(),
            number: 0,
            image: None,
            segments: 0,
        })
    }

    pub(super) const fn series(&self) -> &Series {
        &self.series
    }

    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    /// Whether the image was taken, or was not to be had, and is to be listed.
    pub(super) fn has_taken(&self) -> bool {
        self.taking.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Lists the image. Blocks until it was taken.
    pub(super) fn list_image(&mut self) -> Result<(), Error> {
        let Some(taking) = self.taking.take() else { return Ok(()) };
        let panicked = |_| Error::Journal("the thread that takes the image panicked".into());
        let Image { path, file, bytes, digest, until } = taking.join().map_err(panicked)??;
        self.list((&path, &file), Kind::Image, until, &digest)?;
        self.image = Some(bytes);
        let folder = self.series.path.display();
        tracing::info!(bytes, "the journal's copy is kept up in {folder}");
        Ok(())
    }

    /// Takes from the write-ahead log what there is; how many bytes wait to be written.
    pub(super) fn gather(&self) -> usize {
        self.source.taps.gather(&self.tap);
        self.tap.bytes()
    }

    /// Writes what was gathered, if something was.
    pub(super) fn segment(&mut self) -> Result<(), Error> {
        let taken = self.tap.empty().map_err(|why| Error::Journal(why.into()))?;
        // Nothing later is in it: who restores this moment does so for what came after.
        let created = Timestamp::now();
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

    /// Whether the segments outweigh the image, and `least`.
    pub(super) fn is_heavy(&self, least: u64) -> bool {
        self.image.is_some_and(|image| self.segments > image.max(least))
    }

    fn list(
        &mut self,
        grown: (&Path, &File),
        kind: Kind,
        until: Timestamp,
        digest: &Digest,
    ) -> Result<(), Error> {
        self.series.list(grown, kind, self.number, until, digest)?;
        self.number += 1;
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
        let Some(taking) = self.taking.take() else { return };
        // What it came to does not matter any more.
        drop(taking.join());
        if let Err(error) = self.series.remove() {
            tracing::warn!("{} is of no use and stays: {error}", self.series.path.display());
        }
    }
}

fn take_image(source: &Source, series: &Series, given_up: &AtomicBool) -> Result<Image, Error> {
    let tap = source.taps.open(source.limit);
    let (path, file) = series.grow(Kind::Image)?;
    let goes_on = || {
        let serves = source.head.borrow().health == Health::Serving;
        serves && !given_up.load(Ordering::Relaxed)
    };
    let live = Live { file: &source.file, taps: &source.taps, tap: &tap, goes_on: &goes_on };
    let position = source.head.borrow().position;
    let (file, summary, digest) = take(&live, position, file, &mut |_, _| {})?;
    Ok(Image { path, file, bytes: summary.bytes, digest, until: Timestamp::now() })
}
