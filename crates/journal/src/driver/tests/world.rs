//! One run: clients, a driver, a journal, and a power supply, in simulated time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use tokio::time::Instant;

use super::settings;
use super::toy::{
    Command, Effect, FOLLOWS, LEFT, Reply, SOUND, Toy, UNMARKED, is_followed, read, tasks,
};
use crate::driver::{Clock, Done, Driver, Error, Handle, Hands, Rules as _, Stats};
use crate::event::Version;
use crate::journal::Journal;
use crate::sim::{Faults, SimDisk};

const CLIENTS: u64 = 5;
const STEPS: usize = 14;
const KEYS: u8 = 4;

type Keys = BTreeMap<u8, (u64, u64)>;

/// What was seen, as far as it can only be judged in the end.
#[derive(Default)]
struct Seen {
    /// The mark, who made it so, and what was set then.
    states: Vec<(u64, u64, Keys)>,
    /// A key, who set it, and at which mark.
    keys: Vec<(u8, u64, u64)>,
    /// Replies: a mark and who made it so.
    replies: Vec<Reply>,
    /// The highest mark that anybody was told, and that of each key.
    told: u64,
    told_of: BTreeMap<u8, u64>,
    /// The last effect.
    carried_out: u64,
    /// The first thing that is wrong at once.
    wrong: Option<String>,
}

/// What outlives a crash.
struct World<const FLAW: u8> {
    disk: SimDisk,
    seen: Mutex<Seen>,
    driver: Mutex<Option<Handle<Toy<FLAW>>>>,
}

impl<const FLAW: u8> World<FLAW> {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, what: String) {
        self.seen().wrong.get_or_insert(what);
    }

    fn driver(&self) -> Option<Handle<Toy<FLAW>>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_driver(&self, driver: Option<Handle<Toy<FLAW>>>) {
        *self.driver.lock().unwrap_or_else(PoisonError::into_inner) = driver;
    }

    /// Ids of what the disk has, in order, with the keys that each set.
    fn history(&self) -> Vec<(u64, Vec<u8>)> {
        self.disk.history(&settings().stream).iter().map(read).collect()
    }
}

struct Checker<const FLAW: u8> {
    world: Arc<World<FLAW>>,
    /// The next effect to come.
    next: u64,
}

impl<const FLAW: u8> Hands<Toy<FLAW>> for Checker<FLAW> {
    fn carry_out(&mut self, done: Vec<Done<Toy<FLAW>>>) {
        for Effect { id, mark } in done.into_iter().flat_map(|done| done.effects) {
            let version = Version::new(mark.saturating_sub(1));
            let there = self.world.disk.event(&settings().stream, version);
            let there = there.map(|event| read(&event).0);
            if there != Some(id) {
                self.world.wrong(format!("effect of {id} at {mark}, where the disk has {there:?}"));
            }
            if mark != self.next {
                self.world.wrong(format!("effect {mark}, where {} is next", self.next));
            }
            self.next = mark + 1;
            self.world.seen().carried_out = mark;
        }
    }

    fn take_over(&mut self, state: &Toy<FLAW>) {
        self.next = state.mark + 1;
        self.world.seen().carried_out = state.mark;
    }
}

/// Runs one seed. Returns figures of all that drove it, or what is wrong.
pub(super) fn run<const FLAW: u8>(seed: u64, faults: Faults) -> Result<Stats, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let live = live::<FLAW>(seed, faults);
        let deadline = Duration::from_secs(600);
        tokio::time::timeout(deadline, live).await.unwrap_or_else(|_| Err("it hangs".into()))
    })
}

async fn live<const FLAW: u8>(seed: u64, faults: Faults) -> Result<Stats, String> {
    let world = Arc::new(World::<FLAW> {
        disk: SimDisk::default(),
        seen: Mutex::default(),
        driver: Mutex::new(None),
    });
    let clients = Tasks::new();
    let mut clients_run = Vec::new();
    for client in 0..CLIENTS {
        let client = Client {
            world: Arc::clone(&world),
            luck: Rng::with_seed(seed.wrapping_mul(31) + client),
            number: client,
            told: 0,
        };
        clients_run.push(clients.spawn("client", client.run()));
    }
    let mut luck = Rng::with_seed(seed);
    let mut supply = 0;
    let mut total = Stats::default();
    // The power goes now and then, until every client is through.
    while clients_run.iter().any(|run| !run.is_finished()) {
        supply += 1;
        let tasks = Tasks::new();
        let journal = world.disk.open(faults, luck.u64(..), &tasks);
        let driver = begin(&world, journal.clone(), &tasks).await?;
        world.set_driver(Some(driver.clone()));
        let goes_well = luck.u8(..4) == 0 || supply > 20;
        let time = if goes_well { 10_000 } else { luck.u64(..60) };
        tokio::time::sleep(Duration::from_millis(time)).await;
        world.set_driver(None);
        if luck.bool() {
            journal.crash();
        } else {
            driver.close().await;
        }
        tasks.finish(Duration::from_secs(60)).await;
        total = sum(total, driver.stats());
        if let Some(wrong) = world.seen().wrong.take() {
            return Err(wrong);
        }
    }
    compare(&world).await.map(|()| total)
}

async fn begin<const FLAW: u8>(
    world: &Arc<World<FLAW>>,
    journal: Arc<dyn Journal>,
    tasks: &Tasks,
) -> Result<Handle<Toy<FLAW>>, String> {
    let began = Instant::now();
    let clock: Clock = Arc::new(move || {
        let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(now)
    });
    let driver = Driver::open(settings(), Some(journal), Toy::blank, clock).await;
    let driver = driver.map_err(|error| format!("it does not start: {error}"))?;
    let handle = driver.handle().clone();
    driver.run(Checker { world: Arc::clone(world), next: 0 }, tasks);
    Ok(handle)
}

/// What everybody was told against what the disk has.
async fn compare<const FLAW: u8>(world: &Arc<World<FLAW>>) -> Result<(), String> {
    let history = world.history();
    let mut states = vec![(0, Keys::new())];
    for (mark, (id, keys)) in (1_u64..).zip(&history) {
        let mut next = states.last().map(|(_, keys)| keys.clone()).unwrap_or_default();
        next.extend(keys.iter().map(|key| (*key, (*id, mark))));
        states.push((*id, next));
    }
    let at = |mark: u64| usize::try_from(mark).ok().and_then(|mark| states.get(mark));
    {
        let seen = world.seen();
        for (mark, last, keys) in &seen.states {
            if at(*mark) != Some(&(*last, keys.clone())) {
                return Err(format!("read {last} {keys:?} at {mark}, which was {:?}", at(*mark)));
            }
        }
        for (key, id, mark) in &seen.keys {
            let there = at(*mark).and_then(|(_, keys)| keys.get(key));
            if there != Some(&(*id, *mark)) {
                return Err(format!("read {key} set by {id} at {mark}, where {there:?} is"));
            }
        }
        for Reply { mark, last } in &seen.replies {
            let there = at(*mark).map(|(id, _)| id);
            if there != Some(last) {
                return Err(format!("answered that {last} is at {mark}, where {there:?} is"));
            }
        }
    }
    if FLAW == SOUND {
        compare_work(&world.disk, &history)?;
    }
    let tasks = Tasks::new();
    let journal = world.disk.open(Faults::default(), 0, &tasks);
    let driver = begin(world, journal, &tasks).await?;
    let (last, keys) = states.last().cloned().unwrap_or_default();
    let mark = u64::try_from(history.len()).unwrap_or(u64::MAX);
    let state = driver.peek(Toy::clone);
    tasks.stop();
    if state.kept() == (mark, last, &keys) {
        Ok(())
    } else {
        Err(format!("brought back {:?}, but the disk tells {:?}", state.kept(), (mark, last, keys)))
    }
}

/// Each command's work and what follows it are there, whole and with it.
fn compare_work(disk: &SimDisk, history: &[(u64, Vec<u8>)]) -> Result<(), String> {
    let ids: Vec<u64> = history.iter().map(|(id, _)| *id).collect();
    let work: Vec<u64> = disk.history(&tasks()).iter().map(|event| read(event).0).collect();
    if work != ids {
        return Err(format!("there is the work of {work:?}, and {ids:?} were kept"));
    }
    let left: Vec<u64> = disk.left(&tasks()).iter().map(|event| event.version.get()).collect();
    let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
    if left != (count.saturating_sub(LEFT)..count).collect::<Vec<_>>() {
        return Err(format!("of the work of {count} is left {left:?}"));
    }
    for (place, id) in ids.iter().enumerate() {
        if is_followed(*id) && ids.get(place + 1) != Some(&(id + FOLLOWS)) {
            return Err(format!("{id} is there without what follows it"));
        }
    }
    Ok(())
}

/// The sum of figures.
pub(super) fn sum(one: Stats, other: Stats) -> Stats {
    Stats {
        queued: 0,
        in_flight: 0,
        events: one.events + other.events,
        failed: one.failed + other.failed,
        rebuilt: one.rebuilt + other.rebuilt,
        refused: one.refused + other.refused,
        checkpoints: one.checkpoints + other.checkpoints,
        checkpoints_failed: one.checkpoints_failed + other.checkpoints_failed,
        checkpoint_bytes: 0,
    }
}

struct Client<const FLAW: u8> {
    world: Arc<World<FLAW>>,
    luck: Rng,
    number: u64,
    /// The highest mark that this client was told.
    told: u64,
}

impl<const FLAW: u8> Client<FLAW> {
    async fn run(mut self) {
        for step in 0..STEPS {
            tokio::time::sleep(Duration::from_millis(self.luck.u64(..8))).await;
            let Some(driver) = self.world.driver() else { continue };
            let id = self.number * 1000 + u64::try_from(step).unwrap_or(u64::MAX) + 1;
            let outcome = match self.luck.u8(..8) {
                0..=3 => self.put(&driver, id).await,
                4 => self.command(&driver, Command::Touch).await.map(drop),
                5 => self.command(&driver, Command::Refuse).await.map(drop),
                6 => self.read_all(&driver).await,
                _ => self.read_key(&driver).await,
            };
            match outcome {
                Ok(()) | Err(Error::Closed | Error::Journal(_)) => {}
                Err(error) => self.world.wrong(format!("refused: {error}")),
            }
        }
    }

    async fn put(&mut self, driver: &Handle<Toy<FLAW>>, id: u64) -> Result<(), Error> {
        let first = self.luck.u8(..KEYS);
        let keys: Vec<u8> = (first..KEYS).filter(|key| *key == first || self.luck.bool()).collect();
        let arms = self.luck.u8(..4) == 0;
        let command = Command::Put { id, keys: keys.clone(), arms };
        let Reply { mark, .. } = self.command(driver, command).await?;
        let mut seen = self.world.seen();
        for key in keys {
            let told = seen.told_of.entry(key).or_default();
            *told = mark.max(*told);
        }
        if seen.carried_out < mark {
            let what = format!("{id} was answered at {mark}, effects are at {}", seen.carried_out);
            seen.wrong.get_or_insert(what);
        }
        Ok(())
    }

    async fn command(
        &mut self,
        driver: &Handle<Toy<FLAW>>,
        command: Command,
    ) -> Result<Reply, Error> {
        let least = self.world.seen().told;
        let reply = driver.command(command).await?;
        self.world.seen().replies.push(reply);
        self.is_told(least, reply.mark);
        Ok(reply)
    }

    async fn read_all(&mut self, driver: &Handle<Toy<FLAW>>) -> Result<(), Error> {
        let least = self.world.seen().told;
        let short = u64::from(FLAW == UNMARKED);
        let state =
            driver.read(|state| (state.clone(), state.mark().saturating_sub(short))).await?;
        self.is_told(least, state.mark);
        self.world.seen().states.push((state.mark, state.last, state.keys));
        Ok(())
    }

    async fn read_key(&mut self, driver: &Handle<Toy<FLAW>>) -> Result<(), Error> {
        let key = self.luck.u8(..KEYS);
        let least = self.world.seen().told_of.get(&key).copied().unwrap_or(0);
        let gather = |state: &Toy<FLAW>| {
            let found = state.keys.get(&key).copied();
            (found, found.map_or(0, |(_, mark)| mark))
        };
        let found = driver.read(gather).await?;
        let mut seen = self.world.seen();
        let mark = found.map_or(0, |(_, mark)| mark);
        if mark < least {
            let what = format!("key {key} was read at {mark}, after {least} had been told");
            seen.wrong.get_or_insert(what);
        }
        let told = seen.told_of.entry(key).or_default();
        *told = mark.max(*told);
        seen.keys.extend(found.map(|(id, mark)| (key, id, mark)));
        Ok(())
    }

    /// Nobody is told less than anybody was told before the question was asked.
    fn is_told(&mut self, least: u64, mark: u64) {
        let least = least.max(self.told);
        if mark < least {
            self.world.wrong(format!("told {mark} after {least} had been told"));
        }
        self.told = mark;
        let mut seen = self.world.seen();
        seen.told = seen.told.max(mark);
    }
}
