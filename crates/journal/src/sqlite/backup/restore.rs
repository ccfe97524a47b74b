//! The way back: a database is made of images and segments beside the place where it goes, looked
//! over by SQLite, and put there in one step.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use posthouse_base::time::Timestamp;
use rusqlite::Connection;

use super::image::{End, Header, Kind, Reader};
use super::{Error, Progress, Summary};
use crate::event::Position;
use crate::sqlite::{FILE, lock, schema};

/// Where the database grows before it is in its place.
const GROWING: &str = "journal.db.restoring";

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The journal's last position.
    pub position: Position,
    /// The folder to which the journal that was there before was moved, if there was one.
    pub replaced: Option<PathBuf>,
}

/// Checks the backup in a file.
///
/// # Errors
/// When it cannot be read, or is not as it was written.
pub fn check(file: &Path, progress: Progress<'_>) -> Result<Summary, Error> {
    let (header, end, bytes) = inspect(file, progress)?;
    if header.kind != Kind::Image || end.pages == 0 {
        return Err(Error::damaged("it is a part of a copy and no whole backup"));
    }
    let Header { created, position, .. } = header;
    Ok(Summary { created, position, bytes })
}

/// Restores a backup into a data folder, which is made when it is missing. Nothing is changed before
/// the whole file has been checked. A journal that is there is an error, unless it is to be
/// `replaced`; it is moved aside then.
///
/// # Errors
/// When the file is damaged, the folder is in use or not empty, or the disk fails.
pub fn restore(
    file: &Path,
    folder: &Path,
    replace: bool,
    progress: Progress<'_>,
) -> Result<Restored, Error> {
    let summary = check(file, progress)?;
    let target = Target::new(folder, replace)?;
    let pages = target.apply(file, &mut |done| progress(done, summary.bytes))?.pages;
    target.finish(pages)
}

/// Reads a whole file: what it says at its beginning and at its end, and its size.
pub(crate) fn inspect(file: &Path, progress: Progress<'_>) -> Result<(Header, End, u64), Error> {
    let (reader, total) = open(file)?;
    let header = reader.header;
    let end = reader.verify(|done| progress(done, total))?;
    Ok((header, end, total))
}

fn open(file: &Path) -> Result<(Reader<File>, u64), Error> {
    let input = File::open(file).map_err(Error::io("it cannot be opened"))?;
    let total = input.metadata().map_err(Error::reading)?.len();
    Ok((Reader::open(input)?, total))
}

/// A database that grows beside the place where it goes.
#[derive(Debug)]
pub(crate) struct Target {
    folder: PathBuf,
    growing: File,
    _lock: File,
}

impl Target {
    /// Takes the folder for itself.
    pub(crate) fn new(folder: &Path, replace: bool) -> Result<Self, Error> {
        let lock = lock(folder).map_err(|error| Error::Journal(error.to_string()))?;
        if !replace {
            let there = parts(folder).into_iter().find(|part| part.exists());
            there.map_or(Ok(()), |there| Err(Error::Exists(there)))?;
        }
        let growing = folder.join(GROWING);
        let opened =
            File::options().read(true).write(true).create(true).truncate(true).open(&growing);
        let growing = opened.map_err(Error::io(format!("making {}", growing.display())))?;
        Ok(Self { folder: folder.to_owned(), growing, _lock: lock })
    }

    /// Puts the pages of a file in.
    pub(crate) fn apply(&self, file: &Path, progress: &mut dyn FnMut(u64)) -> Result<End, Error> {
        let (mut reader, _) = open(file)?;
        let size = u64::from(reader.header.page_size);
        let mut page = Vec::new();
        while let Some(number) = reader.next(&mut page)? {
            let place = u64::from(number - 1) * size;
            let written = self.growing.write_all_at(&page, place);
            written.map_err(Error::io("writing the journal"))?;
            progress(reader.bytes);
        }
        let end = reader.end()?;
        let length = u64::from(end.pages) * size;
        self.growing.set_len(length).map_err(Error::io("writing the journal"))?;
        Ok(end)
    }

    /// Has SQLite look it over, and puts it in its place.
    pub(crate) fn finish(self, pages: u32) -> Result<Restored, Error> {
        let writing = || Error::io("writing the journal");
        self.growing.sync_all().map_err(writing())?;
        let growing = self.folder.join(GROWING);
        if pages == 0 {
            return Err(Error::damaged("it holds no database"));
        }
        let position = look_over(&growing)?;
        let replaced = self.move_aside()?;
        fs::rename(&growing, self.folder.join(FILE)).map_err(writing())?;
        sync_folder(&self.folder).map_err(writing())?;
        Ok(Restored { position, replaced })
    }

    /// Moves what is there into a folder of its own. The write-ahead log goes first: one that is left
    /// alone would be taken for the new database's.
    fn move_aside(&self) -> Result<Option<PathBuf>, Error> {
        let there: Vec<PathBuf> =
            parts(&self.folder).into_iter().filter(|part| part.exists()).collect();
        if there.is_empty() {
            return Ok(None);
        }
        let moving = || Error::io("moving the journal that is there aside");
        let aside = self.folder.join(format!("replaced-{}", Timestamp::now().as_millis()));
        fs::create_dir(&aside).map_err(moving())?;
        for part in there {
            let name = part.file_name().unwrap_or_default();
            fs::rename(&part, aside.join(name)).map_err(moving())?;
            sync_folder(&self.folder).map_err(moving())?;
        }
        sync_folder(&aside).map_err(moving())?;
        Ok(Some(aside))
    }
}

/// The files of a journal, in the order in which they may be taken away.
fn parts(folder: &Path) -> [PathBuf; 3] {
    ["-shm", "-wal", ""].map(|end| folder.join(format!("{FILE}{end}")))
}

/// Whether SQLite and we find the database sound; the journal's last position.
fn look_over(database: &Path) -> Result<Position, Error> {
    let sound = || -> rusqlite::Result<(Vec<String>, i32, u32, i64)> {
        let connection = Connection::open(database)?;
        let mut check = connection.prepare("PRAGMA quick_check(1)")?;
        let found = check.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let application =
            connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let position = connection.query_row(schema::COUNTER, [], |row| row.get(0))?;
        Ok((found, application, schema, position))
    };
    let (found, application, schema, position) =
        sound().map_err(|error| Error::damaged(error.to_string()))?;
    if let Some(first) = found.first().filter(|text| *text != "ok") {
        return Err(Error::damaged(first.clone()));
    }
    if application != schema::APPLICATION {
        return Err(Error::damaged("it is the database of another application"));
    }
    if schema > schema::latest() {
        return Err(Error::Newer);
    }
    Ok(Position::new(u64::try_from(position).unwrap_or(0)))
}

/// Names are on the disk once this returns.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Drop for Target {
    fn drop(&mut self) {
        // In its place, or of no use; a next restore begins anew.
        let _gone = fs::remove_file(self.folder.join(GROWING));
    }
}
