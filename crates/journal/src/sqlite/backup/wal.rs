//! SQLite's write-ahead log, read from outside (<https://sqlite.org/fileformat2.html#walformat>):
//! which pages its transactions changed since a place in it.
//!
//! The log has generations: once all of it is in the database, the next writer begins at the front
//! again, with the first salt one higher. A frame belongs to the generation whose salts it has, and
//! counts when the checksums from the front up to it are right; a transaction counts with its last
//! frame.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The lowest bit says whether checksums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;
const FORMAT: u32 = 3_007_000;

/// A generation of the log: its first 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) page_size: u32,
    salts: [u32; 2],
    sums: [u32; 2],
    big_endian: bool,
}

/// A place in a generation: so many frames have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) generation: Generation,
    frames: u64,
    sums: [u32; 2],
}

/// What whole transactions changed between two places.
#[derive(Debug)]
pub(crate) struct Changes {
    /// For each page, the last frame that has it.
    pub(crate) pages: BTreeMap<u32, u64>,
    /// The database's size in pages after the last transaction; `None` when there was none.
    pub(crate) size: Option<u32>,
    pub(crate) end: Cursor,
}

/// Opens a log for reading; `None` when there is none.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The generation that is in the file; `None` when it is empty or not whole.
pub(crate) fn generation(wal: &File) -> io::Result<Option<Generation>> {
    let mut header = [0; HEADER];
    if read_at(wal, &mut header, 0)? < HEADER {
        return Ok(None);
    }
    let word = |index: usize| word(&header, index);
    let big_endian = word(0) == MAGIC | 1;
    if word(0) & !1 != MAGIC || word(1) != FORMAT {
        return Ok(None);
    }
    let sums = sum(&header[..24], [0, 0], big_endian);
    let right = sums == [word(6), word(7)];
    let salts = [word(4), word(5)];
    Ok(right.then_some(Generation { page_size: word(2), salts, sums, big_endian }))
}

impl Generation {
    /// Its front.
    pub(crate) const fn front(self) -> Cursor {
        Cursor { generation: self, frames: 0, sums: self.sums }
    }

    /// Whether it came directly after `other`.
    pub(crate) const fn follows(&self, other: &Self) -> bool {
        self.salts[0] == other.salts[0].wrapping_add(1) && self.page_size == other.page_size
    }

    /// Whether it is the same one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self == other
    }

    fn frame_size(&self) -> u64 {
        FRAME_HEADER as u64 + u64::from(self.page_size)
    }

    fn offset(&self, frame: u64) -> u64 {
        HEADER as u64 + frame * self.frame_size()
    }
}

impl Cursor {
    /// Whether the last frame that was read is still what it was. It is not when a transaction that
    /// failed at its fsync was written over.
    pub(crate) fn is_there(&self, wal: &File) -> io::Result<bool> {
        let Some(last) = self.frames.checked_sub(1) else { return Ok(true) };
        let mut header = [0; FRAME_HEADER];
        let read = read_at(wal, &mut header, self.generation.offset(last))?;
        Ok(read == FRAME_HEADER && [word(&header, 4), word(&header, 5)] == self.sums)
    }

    /// What was committed from here on. What comes while this reads is left for the next time: a
    /// writer could be faster.
    pub(crate) fn changes(&self, wal: &File) -> io::Result<Changes> {
        let generation = self.generation;
        let length = wal.metadata()?.len();
        let mut changes = Changes { pages: BTreeMap::new(), size: None, end: *self };
        let mut open = Vec::new();
        let mut place = *self;
        let mut frame = vec![0; usize::try_from(generation.frame_size()).unwrap_or(usize::MAX)];
        loop {
            let offset = generation.offset(place.frames);
            if offset >= length || read_at(wal, &mut frame, offset)? < frame.len() {
                return Ok(changes);
            }
            let (header, page) = frame.split_at(FRAME_HEADER);
            if [word(header, 2), word(header, 3)] != generation.salts {
                return Ok(changes);
            }
            let sums = sum(&header[..8], place.sums, generation.big_endian);
            let sums = sum(page, sums, generation.big_endian);
            if sums != [word(header, 4), word(header, 5)] {
                return Ok(changes);
            }
            open.push((word(header, 0), place.frames));
            place = Cursor { frames: place.frames + 1, sums, ..place };
            let size = word(header, 1);
            if size > 0 {
                changes.pages.extend(open.drain(..));
                (changes.size, changes.end) = (Some(size), place);
            }
        }
    }

    /// The page in a frame before this place.
    pub(crate) fn page(&self, wal: &File, frame: u64) -> io::Result<Vec<u8>> {
        let size = usize::try_from(self.generation.page_size).unwrap_or(usize::MAX);
        let mut page = vec![0; size];
        wal.read_exact_at(&mut page, self.generation.offset(frame) + FRAME_HEADER as u64)?;
        Ok(page)
    }
}

/// Reads as much as there is.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn word(bytes: &[u8], index: usize) -> u32 {
    let bytes = bytes.get(index * 4..index * 4 + 4).and_then(|bytes| bytes.try_into().ok());
    u32::from_be_bytes(bytes.unwrap_or_default())
}

/// The running checksum after whole pairs of words. Plain loops: this goes over everything that is
/// written, in debug builds too.
fn sum(bytes: &[u8], [mut first, mut second]: [u32; 2], big_endian: bool) -> [u32; 2] {
    let (pairs, _) = bytes.as_chunks::<8>();
    for &[a, b, c, d, e, f, g, h] in pairs {
        let (left, right) = ([a, b, c, d], [e, f, g, h]);
        let (left, right) = if big_endian {
            (u32::from_be_bytes(left), u32::from_be_bytes(right))
        } else {
            (u32::from_le_bytes(left), u32::from_le_bytes(right))
        };
        first = first.wrapping_add(left).wrapping_add(second);
        second = second.wrapping_add(right).wrapping_add(first);
    }
    [first, second]
}
