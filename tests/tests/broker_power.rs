//! The broker under load on a disk that loses its power at random moments: every write that was not
//! synced is lost, or kept by chance in sectors. What was confirmed and settled holds all the same;
//! and a disk that only says that it has synced is found out by that.

use posthouse_tests::House;
use posthouse_tests::disk::{Disk, Fault, Unsynced};
use posthouse_tests::house::new_folder;
use posthouse_tests::traffic::Traffic;
use tempfile::TempDir;

const CONFIG: &str = "messages: { address: 127.0.0.1:0 }";

/// How often the power is cut, and how often on one journal.
const CUTS: usize = 40;
const CUTS_A_JOURNAL: usize = 10;

async fn start(folder: TempDir, disk: &Disk) -> House {
    House::start_prepared(folder, CONFIG, |command| disk.watch(command)).await
}

/// Cuts the power so often on one disk; then everything is taken out, and has to be right.
async fn cut_often(
    cuts: usize,
    fault: Option<Fault>,
    random: &mut fastrand::Rng,
) -> Result<(), String> {
    let folder = new_folder();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    let disk = Disk::over(&data);
    let mut traffic = Traffic::new(random.fork());
    let mut house = start(folder, &disk).await;
    traffic.declare(house.messages()).await;
    if let Some(fault) = fault {
        disk.fail(fault, 0, 0);
    }
    for cut in 0..cuts {
        traffic.start(house.messages());
        traffic.progress(random.u64(1..1500)).await;
        traffic.expect_end();
        let folder = house.kill().await;
        traffic.over().await;
        // What is in disorder without a sync would not even be opened.
        let all = fault.is_some() || random.bool();
        let unsynced = if all { Unsynced::Lost } else { Unsynced::ByChance };
        disk.cut(unsynced, random);
        traffic.tally().judge().map_err(|wrong| format!("before cut {cut}: {wrong}"))?;
        disk.mend();
        house = start(folder, &disk).await;
    }
    assert!(disk.seen().syncs > 0, "the disk was not in between");
    traffic.drain(house.messages()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_confirmed_or_settled_goes_with_the_power() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..CUTS / CUTS_A_JOURNAL {
        let judged = cut_often(CUTS_A_JOURNAL, None, &mut random).await;
        judged.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

/// The test above can fail: a broker whose disk does not sync does not pass it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_sync_is_caught() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..10 {
        if let Err(wrong) = cut_often(1, Some(Fault::Unsynced), &mut random).await {
            eprintln!("caught: {wrong}");
            return;
        }
    }
    panic!("a disk that does not sync lost nothing in 10 cuts (seed {seed})");
}
