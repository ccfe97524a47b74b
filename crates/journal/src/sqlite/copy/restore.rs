//! The way back from a copy to a moment.

use std::path::{Path, PathBuf};

use posthouse_base::time::Timestamp;

use super::folder::{self, Listed, Series};
use super::instant;
use crate::sqlite::backup::image::{Kind, hex};
use crate::sqlite::backup::{Error, Progress, Restored, Target, inspect};

/// A moment that a copy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Nothing that was committed later is in it.
    pub time: Timestamp,
    series: Series,
    /// So many of the series' files lead to it.
    files: usize,
}

/// The moments that a copy has, the earliest first.
///
/// # Errors
/// When the folder cannot be read, or its lists are damaged.
pub fn points(copy: &Path) -> Result<Vec<Point>, Error> {
    let mut points = Vec::new();
    for series in folder::all(copy)? {
        let listed = series.listed()?;
        let image = listed.iter().position(|file| file.kind == Kind::Image);
        for (place, file) in listed.iter().enumerate().skip(image.unwrap_or(usize::MAX)) {
            points.push(Point { time: file.until, series: series.clone(), files: place + 1 });
        }
    }
    points.sort_by_key(|point| point.time);
    Ok(points)
}

/// Restores the last moment of a copy that is not after `at`, or the last one of all, into a data
/// folder, which is made when it is missing. Everything that is needed is checked before anything
/// is changed. A journal that is there is an error, unless it is to be `replaced`; it is moved aside
/// then.
///
/// # Errors
/// When there is no such moment, something is damaged or missing, the folder is in use or not
/// empty, or the disk fails.
pub fn restore(
    copy: &Path,
    at: Option<Timestamp>,
    folder: &Path,
    replace: bool,
    progress: Progress<'_>,
) -> Result<(Point, Restored), Error> {
    let point = choose(copy, at)?;
    let files = point.files()?;
    let sizes = files.iter().map(|file| file.path.metadata().map_or(0, |about| about.len()));
    let total: u64 = sizes.sum();
    let mut done = 0;
    for file in &files {
        done += check(file, &mut |bytes, _| progress(done + bytes, total))?;
    }
    let target = Target::new(folder, replace)?;
    let mut pages = 0;
    let mut done = 0;
    for file in &files {
        let mut bytes = 0;
        let applied = target.apply(&file.path, &mut |now| {
            bytes = now;
            progress(done + now, total);
        });
        pages = applied.map_err(|error| in_file(file, &error))?.pages;
        done += bytes;
    }
    Ok((point, target.finish(pages)?))
}

impl Point {
    /// The last file that leads to it.
    ///
    /// # Errors
    /// When its series cannot be read.
    pub fn file(&self) -> Result<PathBuf, Error> {
        let last = self.files()?.pop().map(|file| file.path);
        last.ok_or_else(|| Error::damaged("the series has no image"))
    }

    /// What leads there: the image, and the segments unless it is the image's own moment; those too
    /// that were written while the image was taken.
    fn files(&self) -> Result<Vec<Listed>, Error> {
        let mut listed = self.series.listed()?;
        listed.truncate(self.files);
        let image_only = listed.last().is_some_and(|last| last.kind == Kind::Image);
        listed.retain(|file| file.kind == Kind::Image || !image_only);
        listed.sort_by_key(|file| file.kind == Kind::Segment);
        Ok(listed)
    }
}

fn choose(copy: &Path, at: Option<Timestamp>) -> Result<Point, Error> {
    let points = points(copy)?;
    let Some(first) = points.first() else {
        return Err(Error::NoSuchTime(format!("{} holds no copy", copy.display())));
    };
    let earliest = first.time;
    let chosen = points.into_iter().rev().find(|point| at.is_none_or(|at| point.time <= at));
    chosen.ok_or_else(|| {
        let earliest = instant::show(earliest);
        Error::NoSuchTime(format!("the copy goes back to {earliest}, and no further"))
    })
}

/// Whether a file is the one that was listed; its size.
fn check(file: &Listed, progress: Progress<'_>) -> Result<u64, Error> {
    let (_, end, bytes) = inspect(&file.path, progress).map_err(|error| in_file(file, &error))?;
    if hex(&end.digest) != file.digest {
        return Err(in_file(file, &Error::damaged("it is not the file that is listed")));
    }
    Ok(bytes)
}

fn in_file(file: &Listed, error: &Error) -> Error {
    let before =
        format!("an earlier moment can be had with a time before {}", instant::show(file.until));
    Error::Damaged(format!("{}: {error}; {before}", file.path.display()))
}
