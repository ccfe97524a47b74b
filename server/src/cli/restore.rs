//! `posthouse restore`: the journal from a backup, or from a copy as it was at a time.

use std::path::Path;

use anyhow::Context as _;
use posthouse_base::time::Timestamp;
use posthouse_journal::sqlite::backup::{self, Error, Restored};
use posthouse_journal::sqlite::copy::{self, instant};
use serde_json::json;

use super::progress::Progress;
use super::{Failure, Output, Restore, print};
use crate::data::DataFolder;

pub(crate) fn run(options: &Restore) -> Result<(), Failure> {
    let Restore { file, from, at, data, force, output } = options;
    let _locked = DataFolder::open(data).map_err(Failure::setup)?;
    let mut progress = Progress::new("restoring");
    let mut show = |done, total| progress.show(done, total);
    let (source, time, restored) = match (file, from) {
        (Some(file), _) => {
            let restored = backup::restore(file, data, *force, &mut show);
            (file, None, restored)
        }
        (None, Some(from)) => {
            let at = at.as_deref().map(parse).transpose()?;
            match copy::restore(from, at, data, *force, &mut show) {
                Ok((point, restored)) => (from, Some(point.time), Ok(restored)),
                Err(error) => (from, None, Err(error)),
            }
        }
        (None, None) => {
            let message = "name a FILE, or a copy with --from FOLDER";
            return Err(Failure::setup(anyhow::anyhow!(message)));
        }
    };
    drop(progress);
    let restored = restored.map_err(|error| failure(source, error))?;
    tell(*output, data, time, &restored)
}

fn tell(
    output: Output,
    data: &Path,
    time: Option<Timestamp>,
    restored: &Restored,
) -> Result<(), Failure> {
    let Restored { position, replaced } = restored;
    let time = time.map(instant::show);
    if output == Output::Json {
        let told = json!({
            "data": data, "time": time, "position": position.get(), "replaced": replaced,
        });
        let text = serde_json::to_string_pretty(&told).context("the answer as JSON")?;
        return print(&(text + "\n"));
    }
    let of = time.map(|time| format!(" of {time}")).unwrap_or_default();
    let position = position.get();
    let mut text = format!("{}: the journal{of}, up to position {position}\n", data.display());
    if let Some(replaced) = replaced {
        text += &format!("what was there before is in {}\n", replaced.display());
    }
    print(&text)
}

fn parse(text: &str) -> Result<Timestamp, Failure> {
    let wrong = || {
        let message = format!("`{text}` is not a time like `2026-11-21T08:15:00Z`");
        Failure::setup(anyhow::anyhow!(message))
    };
    instant::parse(text).ok_or_else(wrong)
}

fn failure(source: &Path, error: Error) -> Failure {
    match error {
        Error::Exists(there) => {
            Failure::setup(anyhow::anyhow!("{} exists: `--force` moves it aside", there.display()))
        }
        Error::NoSuchTime(_) => Failure::setup(error.into()),
        error => {
            let error = anyhow::Error::new(error);
            Failure::other(error.context(source.display().to_string()))
        }
    }
}
