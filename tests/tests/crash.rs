//! The journal under load, killed at random moments: every confirmed batch is there, none in part,
//! no position is given twice. `POSTHOUSE_KILLS=2000` kills it more often.

use std::time::Duration;

use posthouse_journal::sqlite::Synchronous;
use posthouse_tests::house::new_folder;
use posthouse_tests::ledger::Ledger;
use posthouse_tests::scribe::{Said, Scribe, judge};

/// How often it is killed by each of the two tests, unless the environment says otherwise.
const KILLS: usize = 100;

/// So many kills go by on one journal, which grows meanwhile, before a fresh one is begun.
const KILLS_A_JOURNAL: usize = 20;

#[tokio::test]
async fn a_journal_with_few_writers_keeps_what_it_confirmed() {
    check(2).await;
}

#[tokio::test]
async fn a_journal_with_many_writers_keeps_what_it_confirmed() {
    check(16).await;
}

async fn check(writers: u64) {
    let kills =
        std::env::var("POSTHOUSE_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut folder = new_folder();
    let mut ledger = Ledger::default();
    let mut batches = 0;
    for kill in 0..kills {
        if kill % KILLS_A_JOURNAL == 0 {
            batches += ledger.batches();
            (folder, ledger) = (new_folder(), Ledger::default());
        }
        let program = env!("CARGO_BIN_EXE_journal-writer");
        let mut scribe = Scribe::start(program, folder.path(), writers, Synchronous::Full, None);
        if random.u8(..8) == 0 {
            // While it opens, or just after. The time is no wait for anything, but the moment.
            std::thread::sleep(Duration::from_micros(random.u64(..40_000)));
        } else {
            let mut more = random.u32(1..300);
            scribe.hear_until(&mut ledger, |said| {
                more -= u32::from(matches!(said, Said::Confirmed(_)));
                more == 0
            });
        }
        scribe.kill(&mut ledger);
        let judged = judge(folder.path(), writers, &mut ledger).await;
        judged.unwrap_or_else(|wrong| panic!("after kill {kill} (seed {seed}): {wrong}"));
    }
    batches += ledger.batches();
    eprintln!("{kills} kills, {batches} batches");
    assert!(batches > 20 * u64::try_from(kills).expect("a number"), "only {batches} batches");
}
