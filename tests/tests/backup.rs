//! Backups that are taken while the journal is written to, the copy that is kept up, and the way
//! back from both.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use posthouse_base::config::{Path as Place, Report};
use posthouse_base::time::Timestamp;
use posthouse_journal::config::Raw;
use posthouse_journal::sqlite::backup::{self, Error};
use posthouse_journal::sqlite::{Options, Sqlite, copy};
use posthouse_journal::{Config, Journal, Table};
use posthouse_tests::house::new_folder;
use posthouse_tests::ledger::{Ledger, Writer, read_all};
use posthouse_tests::scribe::judge;
use posthouse_tests::wait::{PATIENCE, ensure, eventually};
use tempfile::TempDir;
use tokio::task::JoinSet;

const WRITERS: u64 = 4;

/// A journal that is written to.
struct Busy {
    journal: Arc<Sqlite>,
    ledger: Arc<Mutex<Ledger>>,
    writers: JoinSet<()>,
    folder: TempDir,
}

impl Busy {
    async fn start(config: &Config) -> Self {
        let folder = new_folder();
        let journal = Sqlite::open(folder.path(), config, Options::default());
        let journal = Arc::new(journal.expect("a journal"));
        let ledger = Arc::<Mutex<Ledger>>::default();
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let (journal, ledger) = (Arc::clone(&journal), Arc::clone(&ledger));
            let mut writer = Writer::resume(&*journal, number).await.expect("nothing yet");
            writers.spawn(async move {
                loop {
                    let done = journal.append(writer.batch()).await.expect("it is written");
                    let confirmed = writer.confirmed(&done.streams).expect("a sound answer");
                    ledger.lock().unwrap_or_else(PoisonError::into_inner).note(confirmed);
                }
            });
        }
        Self { journal, ledger, writers, folder }
    }

    /// What was confirmed until now.
    fn ledger(&self) -> Ledger {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many more batches were confirmed.
    async fn goes_on(&self, more: u64) {
        let enough = self.ledger().batches() + more;
        eventually("the writers to go on", || async {
            let batches = self.ledger().batches();
            ensure(batches >= enough, || format!("{batches} of {enough} batches"))
        })
        .await;
    }

    /// Whether its write-ahead log has begun anew more than once: the fourth word of it counts that.
    fn log_began_anew(&self) -> bool {
        let log = std::fs::File::open(self.folder.path().join("journal.db-wal"));
        let mut count = [0; 4];
        let read = log.and_then(|log| log.read_exact_at(&mut count, 12));
        read.is_ok() && u32::from_be_bytes(count) > 3
    }

    async fn stop(mut self) -> TempDir {
        self.writers.shutdown().await;
        self.journal.close();
        self.folder
    }
}

async fn back_up(journal: &Arc<Sqlite>, file: PathBuf) {
    let journal = Arc::clone(journal);
    let taken = tokio::task::spawn_blocking(move || {
        let out = std::fs::File::create(file).expect("a file");
        journal.backup(out, &mut |_, _| {}).map(drop)
    });
    taken.await.expect("it ends").expect("a backup");
}

fn restore(file: &Path, folder: &Path) -> Result<backup::Restored, Error> {
    backup::restore(file, folder, false, &mut |_, _| {})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_all_that_was_confirmed_before_it() {
    let busy = Busy::start(&short_log()).await;
    let files = new_folder();
    for number in 0..6 {
        busy.goes_on(500).await;
        let mut before = busy.ledger();
        let file = files.path().join(format!("{number}.backup"));
        back_up(&busy.journal, file.clone()).await;
        let restored = new_folder();
        restore(&file, restored.path()).expect("the backup is sound");
        let judged = judge(restored.path(), WRITERS, &mut before).await;
        judged.unwrap_or_else(|wrong| panic!("backup {number}: {wrong}"));
    }
    assert!(busy.log_began_anew(), "the log never began anew");
    busy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_nowhere_unless_it_is_sound_and_wanted() {
    let busy = Busy::start(&Config::default()).await;
    busy.goes_on(100).await;
    let files = new_folder();
    let file = files.path().join("backup");
    back_up(&busy.journal, file.clone()).await;
    let used = restore(&file, busy.folder.path()).expect_err("it is in use").to_string();
    assert!(used.contains("is open already"), "{used}");
    let mut ledger = busy.ledger();
    let folder = busy.stop().await;
    let there = restore(&file, folder.path()).expect_err("there is a journal");
    assert!(matches!(there, Error::Exists(_)), "{there}");

    let whole = std::fs::read(&file).expect("a file");
    let damaged = files.path().join("damaged");
    for (place, bit) in [(3, 1), (whole.len() / 2, 64), (whole.len() - 1, 1)] {
        let mut bytes = whole.clone();
        bytes[place] ^= bit;
        std::fs::write(&damaged, bytes).expect("a file");
        let refused = restore(&damaged, files.path()).expect_err("it is damaged");
        assert!(matches!(refused, Error::Damaged(_)), "{refused}");
    }
    std::fs::write(&damaged, &whole[..whole.len() - 1]).expect("a file");
    let short = backup::restore(&damaged, folder.path(), true, &mut |_, _| {});
    assert_eq!(short.expect_err("it is cut").to_string(), "it is damaged: it ends too early");
    // Nothing of all this has touched what is there.
    let judged = judge(folder.path(), WRITERS, &mut ledger).await;
    judged.unwrap_or_else(|wrong| panic!("the journal that was there: {wrong}"));

    let replaced = backup::restore(&file, folder.path(), true, &mut |_, _| {});
    let aside = replaced.expect("it is told to").replaced.expect("there was one");
    let judged = judge(folder.path(), WRITERS, &mut Ledger::default()).await;
    judged.unwrap_or_else(|wrong| panic!("the backup: {wrong}"));
    let judged = judge(&aside, WRITERS, &mut ledger).await;
    judged.unwrap_or_else(|wrong| panic!("what was moved aside: {wrong}"));
}

/// A journal whose write-ahead log begins anew all the time.
fn short_log() -> Config {
    checked(&serde_json::json!({ "limits": { "wal": "1MiB" } }))
}

/// The same with a copy in `folder`, which begins anew with each `keep` / 4.
fn copied_to(folder: &Path, every: &str, keep: &str) -> Config {
    let copy = serde_json::json!({ "folder": folder, "every": every, "keep": keep });
    checked(&serde_json::json!({ "limits": { "wal": "1MiB" }, "copy": copy }))
}

fn checked(config: &serde_json::Value) -> Config {
    let raw: Raw = serde_json::from_value(config.clone()).expect("a configuration");
    let mut report = Report::new();
    let config = Config::check(&raw, &Place::root(), &mut report);
    config.unwrap_or_else(|| panic!("{:?}", report.findings()))
}

/// Every moment of the copy must be sound, have what was confirmed before the moment before it, and
/// nothing that came after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_moment_of_a_copy_can_be_restored() {
    let files = new_folder();
    let copied = files.path().join("copy");
    let busy = Busy::start(&copied_to(&copied, "100ms", "4s")).await;
    let mut moments: Vec<(Timestamp, Ledger)> = Vec::new();
    let mut series = 0;
    let begun = Instant::now();
    while series < 3 || !busy.log_began_anew() {
        assert!(begun.elapsed() < PATIENCE, "{series} series");
        busy.goes_on(20).await;
        moments.push((Timestamp::now(), busy.ledger()));
        let entries = std::fs::read_dir(&copied).into_iter().flatten();
        series =
            entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count();
    }
    let mut last = busy.ledger();
    busy.stop().await;

    let points = copy::points(&copied).expect("a copy");
    assert!(points.len() > 10, "{points:?}");
    let mut random = fastrand::Rng::new();
    for pair in points.windows(2).filter(|_| random.u8(..4) == 0) {
        let [before, point] = pair else { continue };
        let restored = new_folder();
        let found =
            copy::restore(&copied, Some(point.time), restored.path(), false, &mut |_, _| {});
        let (found, _) = found.expect("the copy is sound");
        assert_eq!(found.time, point.time);
        // What was there at the one moment before must be there, and nothing that came later.
        let known = moments.iter().rev().find(|(time, _)| *time < before.time);
        let mut ledger = known.map(|(_, ledger)| ledger.clone()).unwrap_or_default();
        let judged = judge(restored.path(), WRITERS, &mut ledger).await;
        judged.unwrap_or_else(|wrong| panic!("{found:?}: {wrong}"));
        let latest = latest_event(restored.path()).await;
        assert!(latest <= point.time, "{latest:?} is in {found:?}");
    }
    let restored = new_folder();
    let found = copy::restore(&copied, None, restored.path(), false, &mut |_, _| {});
    found.expect("the copy is sound");
    let judged = judge(restored.path(), WRITERS, &mut last).await;
    judged.unwrap_or_else(|wrong| panic!("the end: {wrong}"));

    let too_early = Some(Timestamp::from_millis(1));
    let refused = copy::restore(&copied, too_early, files.path(), false, &mut |_, _| {});
    let refused = refused.expect_err("the copy is not that old").to_string();
    assert!(refused.contains("goes back to 20"), "{refused}");
    check_damage(&copied, &points).await;
}

/// When the last fact of a journal was written.
async fn latest_event(folder: &Path) -> Timestamp {
    let journal = Sqlite::open(folder, &Config::default(), Options::default());
    let facts = read_all(&journal.expect("a journal"), Table::Facts).await.expect("facts");
    facts.last().expect("a fact").time
}

/// A file that is damaged, exchanged or gone is named, and what came before it can still be had.
async fn check_damage(copied: &Path, points: &[copy::Point]) {
    let last = points.last().expect("a point");
    let folder = new_folder();
    let restore = || {
        let restored =
            copy::restore(copied, None, &folder.path().join("data"), false, &mut |_, _| {});
        restored.map(drop)
    };
    let name = last.file().expect("a file");
    let whole = std::fs::read(&name).expect("a file");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(&name, damaged).expect("a file");
    let refused = restore().expect_err("it is damaged").to_string();
    assert!(refused.contains(&name.display().to_string()), "{refused}");
    std::fs::remove_file(&name).expect("a file");
    let refused = restore().expect_err("it is gone").to_string();
    assert!(refused.contains("an earlier moment"), "{refused}");
    let before = &points[points.len() - 2];
    let found = copy::restore(copied, Some(before.time), folder.path(), false, &mut |_, _| {});
    found.expect("what came before is sound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_as_far_back_as_it_is_told() {
    let files = new_folder();
    let copied = files.path().join("copy");
    let busy = Busy::start(&copied_to(&copied, "100ms", "400ms")).await;
    eventually("old series to go", || async {
        let points = copy::points(&copied).map_err(|error| error.to_string())?;
        let first = points.first().ok_or("no point")?;
        let age = Timestamp::now().since(first.time);
        let series = std::fs::read_dir(&copied).map_err(|error| error.to_string())?.count();
        let enough = busy.ledger().batches() > 500 && age.as_secs() < 5;
        ensure(enough && series < 12, || format!("{age:?}, {series} series"))
    })
    .await;
    busy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_does_not_mind_a_copy_that_cannot_be_written() {
    let files = new_folder();
    let copied = files.path().join("copy");
    std::fs::write(&copied, "no folder").expect("a file");
    let busy = Busy::start(&copied_to(&copied, "100ms", "1h")).await;
    busy.goes_on(500).await;
    assert_eq!(std::fs::read_to_string(&copied).expect("a file"), "no folder");
    busy.stop().await;
}
