//! Single things that the simulation does not aim at.

use std::sync::Arc;
use std::time::Duration;

use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;

use super::settings;
use super::toy::{Command, SOUND, Toy};
use crate::driver::{Done, Driver, Error, Handle, Hands, RecoverError, Rules as _};
use crate::error::Error as JournalError;
use crate::event::Version;
use crate::journal::Journal;
use crate::sim::{Faults, SimDisk, SimJournal};

type Rules = Toy<SOUND>;

/// Does nothing.
struct Idle;

impl Hands<Rules> for Idle {
    fn carry_out(&mut self, _: Vec<Done<Rules>>) {}

    fn take_over(&mut self, _: &Rules) {}
}

async fn begin(
    journal: Option<Arc<dyn Journal>>,
    tasks: &Tasks,
) -> Result<Handle<Rules>, RecoverError> {
    let clock = Arc::new(|| Timestamp::from_millis(0));
    let driver = Driver::open(settings(), journal, Toy::blank, clock).await?;
    let handle = driver.handle().clone();
    driver.run(Idle, tasks);
    Ok(handle)
}

/// A driver on a journal that does nothing wrong.
async fn sound(disk: &SimDisk, tasks: &Tasks) -> (Handle<Rules>, Arc<SimJournal>) {
    let journal = disk.open(Faults::default(), 1, tasks);
    (begin(Some(journal.clone()), tasks).await.expect("it starts"), journal)
}

async fn put(driver: &Handle<Rules>, id: u64, keys: Vec<u8>) -> Result<u64, Error> {
    let command = Command::Put { id, keys, arms: false };
    driver.command(command).await.map(|reply| reply.mark)
}

async fn mark(driver: &Handle<Rules>) -> u64 {
    driver.read(|state| (state.mark, state.mark())).await.expect("a read")
}

/// A disk on which `puts` commands were carried out, and the driver was closed.
async fn disk_with(puts: u64) -> SimDisk {
    let (disk, tasks) = (SimDisk::default(), Tasks::new());
    let (driver, _journal) = sound(&disk, &tasks).await;
    for id in 1..=puts {
        assert_eq!(put(&driver, id, vec![1]).await, Ok(id));
    }
    driver.close().await;
    assert_eq!(driver.command(Command::Touch).await, Err(Error::Closed));
    tasks.stop();
    disk
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_leaves_nothing_to_replay() {
    let disk = disk_with(4).await;
    let tasks = Tasks::new();
    let (driver, journal) = sound(&disk, &tasks).await;
    assert_eq!(mark(&driver).await, 4);
    let checkpoint = journal.checkpoint(&settings().stream).await.expect("it reads");
    assert_eq!(checkpoint.expect("a checkpoint").version, Some(Version::new(3)));
    let first = journal.stream(&settings().stream).await.expect("it reads").expect("a stream");
    assert_eq!(first.first, Version::new(2), "the last two are kept, the others not needed");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_cannot_be_read_is_passed_over_if_the_events_are_all_there() {
    // Few enough that all are kept.
    let disk = disk_with(2).await;
    disk.reformat(&settings().stream, 99);
    let tasks = Tasks::new();
    let (driver, _journal) = sound(&disk, &tasks).await;
    assert_eq!(mark(&driver).await, 2);

    let disk = disk_with(5).await;
    disk.reformat(&settings().stream, 99);
    let journal = disk.open(Faults::default(), 1, &tasks);
    let refused = begin(Some(journal), &tasks).await.expect_err("the first events are gone");
    let text = "the checkpoint of toy cannot be read, and the events before it were removed: its \
                format 99 is not known to this version";
    assert_eq!(refused.to_string(), text);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_too_large_changes_nothing() {
    let (disk, tasks) = (SimDisk::default(), Tasks::new());
    let (driver, _journal) = sound(&disk, &tasks).await;
    let refused = put(&driver, 1, vec![0; 200]).await;
    assert_eq!(refused, Err(Error::TooLarge { actual: 208, limit: 100 }));
    assert_eq!((mark(&driver).await, put(&driver, 2, vec![1]).await), (0, Ok(1)));
    assert_eq!(driver.stats().rebuilt, 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_everything_is_durable_at_once() {
    let tasks = Tasks::new();
    let driver = begin(None, &tasks).await.expect("it starts");
    assert_eq!((put(&driver, 1, vec![1]).await, mark(&driver).await), (Ok(1), 1));
    driver.command(Command::Touch).await.expect("it is touched");
    assert_eq!(driver.try_read(|state| (state.touched, state.mark())), Some(1));
    driver.close().await;
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_what_need_not_be_kept_goes_on() {
    let (disk, tasks) = (SimDisk::default(), Tasks::new());
    let (driver, journal) = sound(&disk, &tasks).await;
    assert_eq!(put(&driver, 1, vec![1]).await, Ok(1));
    journal.set_faults(Faults { fail: 1.0, outage: Duration::from_secs(60), ..Faults::default() });
    for id in [2, 3] {
        let refused = put(&driver, id, vec![1]).await;
        assert!(
            matches!(refused, Err(Error::Journal(JournalError::Unavailable(_)))),
            "{refused:?}"
        );
        assert_eq!(mark(&driver).await, 1);
        driver.command(Command::Touch).await.expect("it is touched");
        assert_eq!(driver.peek(|state| state.touched), id - 1);
    }
    assert_eq!((driver.stats().rebuilt, driver.stats().refused), (1, 1));
    journal.set_faults(Faults::default());
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(put(&driver, 4, vec![1]).await, Ok(2));
    assert_eq!(driver.stats().rebuilt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_encoded_beside_the_writing() {
    let disk = disk_with(40).await;
    let tasks = Tasks::new();
    let (driver, journal) = sound(&disk, &tasks).await;
    assert_eq!(mark(&driver).await, 40);
    let checkpoint = journal.checkpoint(&settings().stream).await.expect("it reads");
    assert_eq!(checkpoint.expect("a checkpoint").version, Some(Version::new(39)));
}
