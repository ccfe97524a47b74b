//! `posthouse backup`: a backup of the journal in a file, from a running house through its admin API,
//! or from a data folder that nobody uses.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use http_body_util::BodyExt as _;
use posthouse_journal::Config;
use posthouse_journal::sqlite::backup::{self, Summary};
use posthouse_journal::sqlite::{FILE, Options, Sqlite, copy};
use serde_json::{Value, json};

use super::api::{Answer, Sent, begin};
use super::progress::Progress;
use super::{Backup, Failure, Look, Output, print};
use crate::admin::APPROXIMATE_BYTES;
use crate::data::DataFolder;

/// How long a running house may send nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file that is in its place only once it is whole.
struct Growing {
    file: File,
    new: PathBuf,
    place: PathBuf,
}

pub(crate) fn run(options: &Backup) -> Result<(), Failure> {
    let Backup { file, data, look } = options;
    let growing = Growing::at(file).map_err(Failure::setup)?;
    match data {
        None => over_the_api(look, &growing)?,
        Some(folder) => of_folder(folder, look, &growing)?,
    }
    let mut checking = Progress::new("checking the backup");
    let summary = backup::check(&growing.new, &mut |done, total| checking.show(done, total));
    drop(checking);
    let summary = summary.with_context(|| format!("the backup for {}", file.display()))?;
    growing.place()?;
    let told = match look.output {
        Output::Json => serde_json::to_string_pretty(&shown(file, &summary)).unwrap_or_default(),
        Output::Text => format!(
            "{}: the journal up to position {}, {} bytes",
            file.display(),
            summary.position.get(),
            summary.bytes
        ),
    };
    print(&(told + "\n"))
}

fn shown(file: &Path, summary: &Summary) -> Value {
    let Summary { created, position, bytes } = summary;
    json!({
        "file": file,
        "created": copy::instant::show(*created),
        "position": position.get(),
        "bytes": bytes,
    })
}

/// Reads a folder, or has the house do it that uses it.
fn of_folder(folder: &Path, look: &Look, growing: &Growing) -> Result<(), Failure> {
    let shown = folder.display();
    if !folder.join(FILE).exists() {
        return Err(Failure::setup(anyhow::anyhow!("there is no journal in {shown}")));
    }
    let _locked = match DataFolder::open(folder) {
        Ok(locked) => locked,
        Err(in_use) => {
            let admin = admin_address(folder).ok_or(Failure::setup(in_use))?;
            return over_the_api(&Look { admin, ..look.clone() }, growing);
        }
    };
    let journal = Sqlite::open(folder, &Config::default(), Options::default());
    let journal = journal.with_context(|| format!("the journal in {shown}"))?;
    let mut progress = Progress::new("backing up");
    let taken = journal.backup(&growing.file, &mut |done, total| progress.show(done, total));
    taken.with_context(|| format!("the journal in {shown}"))?;
    Ok(())
}

/// The admin address of the house that uses a folder, if it has one.
fn admin_address(folder: &Path) -> Option<String> {
    let text = fs::read(folder.join("addresses.json")).ok()?;
    let addresses: Value = serde_json::from_slice(&text).ok()?;
    Some(format!("http://{}", addresses["admin"].as_str()?))
}

fn over_the_api(look: &Look, growing: &Growing) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("no runtime to be had")?;
    runtime.block_on(async {
        let answer = begin(look, Method::GET, "backup", Sent::Nothing).await?;
        let received = receive(answer, growing).await;
        Ok(received.with_context(|| format!("the backup from {}", look.admin))?)
    })
}

async fn receive(answer: Answer, growing: &Growing) -> anyhow::Result<()> {
    let total = answer.headers().get(APPROXIMATE_BYTES);
    let total = total.and_then(|total| total.to_str().ok()?.parse().ok()).unwrap_or(0);
    let mut progress = Progress::new("backing up");
    let mut out = BufWriter::with_capacity(1 << 20, &growing.file);
    let mut body = answer.into_body();
    let mut done: u64 = 0;
    loop {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
        let Some(frame) = frame.context("nothing more comes")? else { break };
        let frame = frame.context("it broke off; the log of the running Posthouse says why")?;
        let Ok(bytes) = frame.into_data() else { continue };
        out.write_all(&bytes).with_context(|| format!("{} cannot be written", growing.name()))?;
        done += u64::try_from(bytes.len())?;
        progress.show(done, total.max(done));
    }
    out.flush().with_context(|| format!("{} cannot be written", growing.name()))
}

impl Growing {
    fn at(place: &Path) -> anyhow::Result<Self> {
        let Some(name) = place.file_name() else { bail!("{} is no file", place.display()) };
        let mut new = name.to_owned();
        new.push(format!(".{}.new", std::process::id()));
        let new = place.with_file_name(new);
        let file = File::create(&new);
        let file = file.with_context(|| format!("{} cannot be written", place.display()))?;
        Ok(Self { file, new, place: place.to_owned() })
    }

    fn name(&self) -> impl std::fmt::Display {
        self.place.display()
    }

    /// On the disk, under its name, once this returns.
    fn place(self) -> anyhow::Result<()> {
        let placed = || -> io::Result<()> {
            self.file.sync_all()?;
            fs::rename(&self.new, &self.place)?;
            let folder = self.place.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        placed().with_context(|| format!("{} cannot be written", self.name()))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        // In its place by now, or of no use.
        let _gone = fs::remove_file(&self.new);
    }
}
