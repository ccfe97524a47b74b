//! The broker on a disk that fills: publishers are blocked by the protocol while there is room left to
//! acknowledge, consumers drain, nothing is lost, and it goes on by itself.

use posthouse_tests::House;
use posthouse_tests::disk::SmallDisk;
use posthouse_tests::house::new_folder;
use posthouse_tests::traffic::Traffic;
use posthouse_tests::wait::{ensure, eventually};

/// A broker whose data is on a small disk; `None` without the right to mount one.
async fn start(config: &str) -> Option<(SmallDisk, House)> {
    let Some(disk) = SmallDisk::mount(320) else {
        eprintln!("skipped: only root can mount a small disk");
        return None;
    };
    let folder = new_folder();
    let data = disk.folder().join("data");
    std::fs::create_dir(&data).expect("a folder");
    std::os::unix::fs::symlink(data, folder.path().join("data")).expect("a link");
    Some((disk, House::start_prepared(folder, config, |_| {}).await))
}

/// Nothing is lost, and what was settled does not come again.
async fn judge(mut traffic: Traffic, house: House, config: &str) {
    traffic.expect_end();
    let folder = house.kill().await;
    traffic.over().await;
    let house = House::start_prepared(folder, config, |_| {}).await;
    let drained = traffic.drain(house.messages()).await;
    drained.unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_are_blocked_before_the_disk_is_full_and_consumers_drain() {
    // A log of the default size would be most of so small a disk.
    let config = "messages: { address: 127.0.0.1:0, limits: { disk_free: 64MiB } }
journal: { limits: { wal: 16MiB } }";
    let Some((disk, house)) = start(config).await else { return };
    let mut traffic = Traffic::new(fastrand::Rng::new());
    traffic.declare(house.messages()).await;
    traffic.start(house.messages());
    for round in 0..2 {
        traffic.progress(1000).await;
        let before = traffic.tally().blocks.0;
        disk.fill(72 << 20);
        traffic.blocked(before, false).await;
        traffic.all_settled().await;
        assert!(house.log().contains("publishers are blocked: low on disk"), "round {round}");
        disk.make_room();
        traffic.blocked(before, true).await;
    }
    traffic.progress(1000).await;
    traffic.tally().judge().unwrap_or_else(|wrong| panic!("{wrong}"));
    judge(traffic, house, config).await;
}

/// Somebody else has filled it to the last: clients are closed, may come again, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_to_the_last_loses_nothing() {
    let config = "messages: { address: 127.0.0.1:0, limits: { disk_free: 0B } }";
    let Some((disk, house)) = start(config).await else { return };
    let mut traffic = Traffic::new(fastrand::Rng::new());
    traffic.declare(house.messages()).await;
    traffic.may_break();
    traffic.start(house.messages());
    traffic.progress(1000).await;
    disk.fill(0);
    eventually("the journal to have no room", async || {
        let log = house.log();
        ensure(log.contains("publishers are blocked: cannot write"), || "it has".to_owned())
    })
    .await;
    disk.make_room();
    traffic.progress(1000).await;
    judge(traffic, house, config).await;
}
