//! The files of a copy.
//!
//! ```text
//! COPY/lock                                     held while the copy is kept up
//! COPY/2026-11-21T08.15.00.123Z/                a series, by the time of its beginning
//!     SHA256SUMS                                its files, in order: complete once they are listed
//!     000000-2026-11-21T08.15.02.001Z.image     the whole database
//!     000001-2026-11-21T08.15.10.007Z.segment   what was changed until then
//! ```
//!
//! The image may be listed after segments that were written while it was taken. It can be used from
//! the first segment on that is listed after it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use posthouse_base::time::Timestamp;

use super::instant;
use crate::sqlite::backup::Error;
use crate::sqlite::backup::image::{Digest, Kind, hex};

const LIST: &str = "SHA256SUMS";
/// What a file is called until it is whole.
const NEW: &str = "new";

/// A series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub(super) began: Timestamp,
    pub(super) path: PathBuf,
}

/// A file of a series, as its list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) kind: Kind,
    /// What happened until then is in it.
    pub(super) until: Timestamp,
    pub(super) path: PathBuf,
    /// In hexadecimal digits.
    pub(super) digest: String,
}

/// Makes the folder, and takes it for this process.
pub(super) fn lock(copy: &Path) -> Result<File, Error> {
    let making = || Error::io(format!("making {}", copy.display()));
    fs::create_dir_all(copy).map_err(making())?;
    let lock = File::options().create(true).append(true).open(copy.join("lock"));
    let lock = lock.map_err(making())?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Journal(format!(
            "{} is the copy of another Posthouse that runs",
            copy.display()
        ))),
        Err(TryLockError::Error(error)) => Err(making()(error)),
    }
}

/// All series, the earliest first.
pub(super) fn all(copy: &Path) -> Result<Vec<Series>, Error> {
    let reading = || Error::io(format!("reading {}", copy.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(copy).map_err(reading())? {
        let path = entry.map_err(reading())?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(began) = instant::parse(&name.replace('.', ":")) {
            found.push(Series { began, path });
        }
    }
    found.sort();
    Ok(found)
}

impl Series {
    /// Begins a series.
    pub(super) fn begin(copy: &Path, began: Timestamp) -> Result<Self, Error> {
        let path = copy.join(file_name(began));
        let making = || Error::io(format!("making {}", path.display()));
        fs::create_dir(&path).map_err(making())?;
        sync(copy).map_err(making())?;
        Ok(Self { began, path })
    }

    /// The file in which something grows that will be listed.
    pub(super) fn grow(&self, kind: Kind) -> Result<(PathBuf, File), Error> {
        let path = self.path.join(format!("{NEW}.{}", ending(kind)));
        let file = File::create(&path).map_err(Error::io(format!("making {}", path.display())))?;
        Ok((path, file))
    }

    /// Gives a file that is whole its name and lists it; on the disk once this returns.
    pub(super) fn list(
        &self,
        (path, file): (&Path, &File),
        kind: Kind,
        number: u32,
        until: Timestamp,
        digest: &Digest,
    ) -> Result<(), Error> {
        let name = format!("{number:06}-{}.{}", file_name(until), ending(kind));
        let all = || -> io::Result<()> {
            file.sync_all()?;
            fs::rename(path, self.path.join(&name))?;
            let mut list = File::options().create(true).append(true).open(self.path.join(LIST))?;
            list.write_all(format!("{}  {name}\n", hex(digest)).as_bytes())?;
            list.sync_all()?;
            sync(&self.path)
        };
        all().map_err(Error::io(format!("writing {}", self.path.join(&name).display())))
    }

    /// The files that are listed, in order. A last line that is not whole was not written.
    pub(super) fn listed(&self) -> Result<Vec<Listed>, Error> {
        let path = self.path.join(LIST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(format!("reading {}", path.display()))(error)),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().map(|line| {
            let wrong = || Error::damaged(format!("{} has a line {line:?}", path.display()));
            self.read_line(line).ok_or_else(wrong)
        });
        lines.collect()
    }

    fn read_line(&self, line: &str) -> Option<Listed> {
        let (digest, name) = line.split_once("  ")?;
        let (stem, ending) = name.rsplit_once('.')?;
        let (number, until) = stem.split_once('-')?;
        let hexadecimal = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        let _number: u32 = number.parse().ok()?;
        let kind = match ending {
            "image" => Kind::Image,
            "segment" => Kind::Segment,
            _ => return None,
        };
        let until = instant::parse(&until.replace('.', ":"))?;
        let path = self.path.join(name);
        hexadecimal.then(|| Listed { kind, until, path, digest: digest.to_owned() })
    }

    /// Removes it, its list first, so that a part of it is never taken for the whole.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(self.path.join(LIST)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::remove_dir_all(&self.path)
    }
}

/// A time as a part of a file's name; not every file system takes colons.
fn file_name(time: Timestamp) -> String {
    instant::show(time).replace(':', ".")
}

const fn ending(kind: Kind) -> &'static str {
    match kind {
        Kind::Image => "image",
        Kind::Segment => "segment",
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
