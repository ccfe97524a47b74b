//! The journal on a disk that is full, read-only or broken for a while: nothing confirmed is lost,
//! writers are told why, readers go on, and service comes back by itself.

use posthouse_journal::sqlite::Synchronous;
use posthouse_tests::disk::{Disk, Fault, SmallDisk};
use posthouse_tests::house::new_folder;
use posthouse_tests::ledger::Ledger;
use posthouse_tests::scribe::{Said, Scribe, judge};

const WRITERS: u64 = 6;

const WRITER: &str = env!("CARGO_BIN_EXE_journal-writer");

/// Lets a disk fail under load, and looks at what is said; then mends it and looks again.
async fn check(fault: Fault, count: u64, said_to_writers: &str) {
    let folder = new_folder();
    let disk = Disk::over(folder.path());
    let mut ledger = Ledger::default();
    let mut scribe = Scribe::start(WRITER, folder.path(), WRITERS, Synchronous::Full, Some(&disk));
    for round in 0..5 {
        confirmed(&mut scribe, &mut ledger, 50);
        disk.fail(fault, round, count);
        let mut failed = false;
        let mut out = false;
        scribe.hear_until(&mut ledger, |said| {
            if let Said::Failed(why) = said {
                assert!(why.contains(said_to_writers), "writers are told: {why}");
                failed = true;
            }
            out |= matches!(said, Said::Out(_));
            failed && out
        });
        if count == 0 {
            // A first one may have begun before.
            for _ in 0..2 {
                scribe.hear_until(&mut ledger, |said| *said == Said::Read);
            }
            disk.mend();
        }
        scribe.hear_until(&mut ledger, |said| *said == Said::Serving);
    }
    confirmed(&mut scribe, &mut ledger, 50);
    scribe.lives();
    assert!(disk.seen().injected >= 5, "{:?}", disk.seen());
    scribe.kill(&mut ledger);
    let judged = judge(folder.path(), WRITERS, &mut ledger).await;
    judged.unwrap_or_else(|wrong| panic!("after {fault:?}: {wrong}"));
}

fn confirmed(scribe: &mut Scribe, ledger: &mut Ledger, mut more: u32) {
    scribe.hear_until(ledger, |said| {
        more -= u32::from(matches!(said, Said::Confirmed(_)));
        more == 0
    });
}

#[tokio::test]
async fn a_disk_that_is_full_for_a_while() {
    check(Fault::Full, 0, "the disk is full").await;
}

#[tokio::test]
async fn a_disk_that_is_full_for_a_moment() {
    check(Fault::Full, 1, "the disk is full").await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_for_a_while() {
    check(Fault::ReadOnly, 0, "the disk").await;
}

#[tokio::test]
async fn writes_that_fail_for_a_while() {
    check(Fault::Write, 0, "the disk failed").await;
}

#[tokio::test]
async fn writes_that_fail_for_a_moment() {
    check(Fault::Write, 2, "the disk failed").await;
}

#[tokio::test]
async fn syncs_that_fail_for_a_while() {
    check(Fault::Sync, 0, "the disk failed").await;
}

#[tokio::test]
async fn syncs_that_fail_for_a_moment() {
    check(Fault::Sync, 1, "the disk failed").await;
}

/// Without the right to mount, the injected faults above stand for this.
#[tokio::test]
async fn a_small_disk_that_fills() {
    let Some(disk) = SmallDisk::mount(6) else {
        eprintln!("skipped: only root can mount a small disk");
        return;
    };
    disk.fill(3 << 20);
    let data = disk.folder().join("data");
    let mut ledger = Ledger::default();
    let mut scribe = Scribe::start(WRITER, &data, WRITERS, Synchronous::Full, None);
    scribe.hear_until(&mut ledger, |said| match said {
        Said::Failed(why) => {
            assert!(why.contains("the disk is full"), "writers are told: {why}");
            true
        }
        _ => false,
    });
    for _ in 0..2 {
        scribe.hear_until(&mut ledger, |said| *said == Said::Read);
    }
    disk.make_room();
    let before = ledger.batches();
    scribe.hear_until(&mut ledger, |said| *said == Said::Serving);
    confirmed(&mut scribe, &mut ledger, 50);
    assert!(ledger.batches() >= before + 50);
    scribe.kill(&mut ledger);
    let judged = judge(&data, WRITERS, &mut ledger).await;
    judged.unwrap_or_else(|wrong| panic!("{wrong}"));
}
