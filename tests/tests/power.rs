//! The journal on a disk that loses its power at random moments: every write that was not synced is
//! lost, or kept by chance in sectors. Nothing that was confirmed may be among the lost.

use posthouse_journal::sqlite::Synchronous;
use posthouse_tests::disk::{Disk, Fault, Unsynced};
use posthouse_tests::house::new_folder;
use posthouse_tests::ledger::Ledger;
use posthouse_tests::scribe::{Said, Scribe, judge};
use tempfile::TempDir;

const WRITERS: u64 = 6;

/// So many cuts go by on one journal before a fresh one is begun.
const CUTS_A_JOURNAL: usize = 10;

/// A journal, its disk, and what was confirmed of it.
struct Bench {
    folder: TempDir,
    disk: Disk,
    ledger: Ledger,
}

impl Bench {
    fn new() -> Self {
        let folder = new_folder();
        let disk = Disk::over(folder.path());
        Self { folder, disk, ledger: Ledger::default() }
    }

    fn start(&self, synchronous: Synchronous) -> Scribe {
        let program = env!("CARGO_BIN_EXE_journal-writer");
        Scribe::start(program, self.folder.path(), WRITERS, synchronous, Some(&self.disk))
    }

    /// Listens until so many more batches are confirmed.
    fn hear(&mut self, scribe: &mut Scribe, mut more: u32) {
        scribe.hear_until(&mut self.ledger, |said| {
            more -= u32::from(matches!(said, Said::Confirmed(_)));
            more == 0
        });
    }

    async fn cut(&mut self, scribe: Scribe, random: &mut fastrand::Rng) -> Result<(), String> {
        scribe.kill(&mut self.ledger);
        let unsynced = if random.bool() { Unsynced::Lost } else { Unsynced::ByChance };
        self.disk.cut(unsynced, random);
        let judged = judge(self.folder.path(), WRITERS, &mut self.ledger).await;
        judged.map_err(|wrong| format!("{unsynced:?}: {wrong}"))
    }
}

fn seeded() -> (u64, fastrand::Rng) {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    (seed, fastrand::Rng::with_seed(seed))
}

#[tokio::test]
async fn nothing_confirmed_is_lost_with_the_power() {
    let (seed, mut random) = seeded();
    let mut bench = Bench::new();
    for cut in 0..60 {
        if cut % CUTS_A_JOURNAL == 0 {
            bench = Bench::new();
        }
        let mut scribe = bench.start(Synchronous::Full);
        bench.hear(&mut scribe, random.u32(1..200));
        let judged = bench.cut(scribe, &mut random).await;
        judged.unwrap_or_else(|wrong| panic!("after cut {cut} (seed {seed}): {wrong}"));
    }
    assert!(bench.disk.seen().syncs > 0, "the disk was not in between");
}

/// The test above can fail: a journal that does not sync does not pass it.
#[tokio::test]
async fn a_journal_that_does_not_sync_is_caught() {
    let (_, mut random) = seeded();
    for _ in 0..20 {
        let mut bench = Bench::new();
        let mut scribe = bench.start(Synchronous::Off);
        bench.hear(&mut scribe, random.u32(50..200));
        if let Err(wrong) = bench.cut(scribe, &mut random).await {
            eprintln!("caught: {wrong}");
            return;
        }
    }
    panic!("a journal that does not sync lost nothing in 20 cuts");
}

/// What a failed fsync was to write counts as clean afterwards: a journal that goes on as if it were
/// on the disk loses it, and what it confirms behind it, when the power goes.
#[tokio::test]
async fn nothing_confirmed_after_a_failed_sync_is_lost_with_the_power() {
    let (seed, mut random) = seeded();
    for round in 0..20 {
        let mut bench = Bench::new();
        let mut scribe = bench.start(Synchronous::Full);
        bench.hear(&mut scribe, random.u32(20..100));
        bench.disk.fail(Fault::Sync, random.u64(..4), random.u64(1..3));
        scribe.hear_until(&mut bench.ledger, |said| matches!(said, Said::Out(_)));
        bench.disk.mend();
        scribe.hear_until(&mut bench.ledger, |said| *said == Said::Serving);
        bench.hear(&mut scribe, random.u32(1..50));
        let judged = bench.cut(scribe, &mut random).await;
        judged.unwrap_or_else(|wrong| panic!("round {round} (seed {seed}): {wrong}"));
    }
}
