//! Taking an image of the whole database while it changes.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;

use posthouse_base::time::Timestamp;

use super::image::{Digest, Header, Kind, Writer};
use super::tap::{Tap, Taps};
use super::wal::read_at;
use super::{Error, Progress, Summary};
use crate::event::Position;

/// The largest part of the database that is read at once.
const STEP: u64 = 1 << 20;

/// Gathered pages that are written between two parts.
const ENOUGH: usize = 8 << 20;

/// A database that is being used.
pub(crate) struct Live<'l> {
    /// Its file, by a descriptor that outlives all connections.
    pub(crate) file: &'l File,
    pub(crate) taps: &'l Taps,
    /// Opened before anything is read.
    pub(crate) tap: &'l Tap,
    /// Whether to go on.
    pub(crate) goes_on: &'l dyn Fn() -> bool,
}

/// Writes an image and returns what it was written to, its summary and its digest.
pub(crate) fn take<W: Write>(
    live: &Live<'_>,
    position: Position,
    out: W,
    progress: Progress<'_>,
) -> Result<(W, Summary, Digest), Error> {
    let reading = || Error::io("reading the journal");
    let writing = || Error::io("writing the backup");
    let total = live.file.metadata().map_err(reading())?.len();
    let page_size = page_size(live.file)?;
    let step = (STEP - STEP % u64::from(page_size)).max(u64::from(page_size));
    let created = Timestamp::now();
    let header = Header { kind: Kind::Image, page_size, created, position };
    let mut image = Writer::new(out, &header).map_err(writing())?;
    let mut changed = HashSet::new();
    let mut size = 0;
    let mut done = 0;
    let mut buffer = vec![0; usize::try_from(step).unwrap_or(usize::MAX)];
    loop {
        if !(live.goes_on)() {
            return Err(Error::Journal("the journal does not serve any more".into()));
        }
        let read = read_at(live.file, &mut buffer, done).map_err(reading())?;
        let whole = read - read % usize::try_from(page_size).unwrap_or(usize::MAX);
        if whole == 0 {
            break;
        }
        for page in buffer[..whole].chunks_exact(usize::try_from(page_size).unwrap_or(1)) {
            done += u64::from(page_size);
            let number = page_number(done, page_size)?;
            // A change that is in the image already is newer than what the file has.
            if !changed.contains(&number) {
                image.page(number, page).map_err(writing())?;
            }
            size = size.max(number);
        }
        live.taps.gather(live.tap);
        if live.tap.bytes() > ENOUGH {
            write_changes(live.tap, &mut image, &mut changed, &mut size)?;
        }
        progress(done, total.max(done));
    }
    live.taps.gather(live.tap);
    write_changes(live.tap, &mut image, &mut changed, &mut size)?;
    let (out, digest, bytes) = image.finish(size).map_err(writing())?;
    Ok((out, Summary { created, position, bytes }, digest))
}

fn write_changes<W: Write>(
    tap: &Tap,
    image: &mut Writer<W>,
    changed: &mut HashSet<u32>,
    size: &mut u32,
) -> Result<(), Error> {
    let taken = tap.empty().map_err(|why| Error::Journal(why.into()))?;
    for (number, page) in &taken.pages {
        image.page(*number, page).map_err(Error::io("writing the backup"))?;
        changed.insert(*number);
    }
    // Until a commit tells it, it is what the file has.
    *size = taken.size.unwrap_or(*size);
    Ok(())
}

/// The number of the page that ends at this byte.
fn page_number(end: u64, page_size: u32) -> Result<u32, Error> {
    let number = u32::try_from(end / u64::from(page_size));
    number.map_err(|_| Error::damaged("the journal has more pages than SQLite allows"))
}

/// Bytes 16 and 17 of the database; 1 stands for 65536.
fn page_size(file: &File) -> Result<u32, Error> {
    let mut bytes = [0; 2];
    read_at(file, &mut bytes, 16).map_err(Error::io("reading the journal"))?;
    match u32::from(u16::from_be_bytes(bytes)) {
        1 => Ok(65536),
        size if size.is_power_of_two() && size >= 512 => Ok(size),
        size => Err(Error::damaged(format!("the journal has pages of {size} bytes"))),
    }
}
