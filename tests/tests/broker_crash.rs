//! The broker under load, killed at random moments: what was confirmed is delivered, what was
//! settled for good is not delivered again, what comes twice says so, and the rest is in order.
//! `POSTHOUSE_KILLS=2000` kills it more often.

use std::time::Duration;

use posthouse_tests::House;
use posthouse_tests::house::command_in;
use posthouse_tests::program::Program;
use posthouse_tests::traffic::Traffic;

/// How often it is killed by each of the two tests, unless the environment says otherwise.
const KILLS: usize = 100;

/// So many kills go by on one journal before everything is taken out, and a fresh one is begun.
const KILLS_A_JOURNAL: usize = 20;

const CONFIG: &str = "messages: { address: 127.0.0.1:0 }";

/// What is at hand in memory is then little: messages are fetched from the journal again.
const CRAMPED: &str =
    "messages: { address: 127.0.0.1:0, limits: { window: 16, outgoing: 32, unacknowledged: 64 } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_is_delivered_and_what_was_settled_is_not_delivered_again() {
    check(CONFIG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_into_memory_is_kept_as_well() {
    check(CRAMPED).await;
}

async fn check(config: &str) {
    let mut kills =
        std::env::var("POSTHOUSE_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut all, mut confirmed, mut again) = (0, 0, 0);
    while kills > 0 {
        let some = kills.min(KILLS_A_JOURNAL);
        let (more, others) = kill_often(config, some, &mut random)
            .await
            .unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        (all, confirmed, again) = (all + some, confirmed + more, again + others);
        kills -= some;
    }
    eprintln!("{all} kills, {confirmed} messages confirmed, {again} redeliveries");
    let all = u64::try_from(all).expect("a number");
    assert!(confirmed > 50 * all && again > all, "too little was going on");
}

/// Kills it so often on one journal, then takes everything out. Returns how many messages were
/// confirmed, and how many redeliveries there were.
async fn kill_often(
    config: &str,
    kills: usize,
    random: &mut fastrand::Rng,
) -> Result<(u64, u64), String> {
    let mut traffic = Traffic::new(random.fork());
    let mut house = House::start(config).await;
    traffic.declare(house.messages()).await;
    for kill in 0..kills {
        traffic.start(house.messages());
        traffic.progress(random.u64(1..800)).await;
        traffic.expect_end();
        let folder = house.kill().await;
        traffic.over().await;
        traffic.tally().judge().map_err(|wrong| format!("before kill {kill}: {wrong}"))?;
        if random.u8(..8) == 0 {
            kill_while_it_starts(folder.path(), random.u64(..200_000)).await;
        }
        house = House::start_prepared(folder, config, |_| {}).await;
    }
    traffic.drain(house.messages()).await?;
    let folder = house.kill().await;
    let house = House::start_prepared(folder, config, |_| {}).await;
    traffic.nothing_is_left(house.messages()).await;
    Ok(traffic.tally().figures())
}

/// While it reads what is there, or just after.
async fn kill_while_it_starts(folder: &std::path::Path, after_us: u64) {
    let mut command = command_in(folder);
    command.args(["up", "--config", "posthouse.yaml"]);
    let mut program = Program::start("posthouse", command, folder);
    // The time is no wait for anything, but the moment.
    tokio::time::sleep(Duration::from_micros(after_us)).await;
    program.kill().await;
}
