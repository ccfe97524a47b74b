//! What was used of quotas, in the journal: one record a second with the totals that changed in it, and
//! a checkpoint of all that are not over. Totals take the place of the ones before, so that a record
//! that is written twice, because nobody could say whether it was, changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthouse_base::task::Tasks;
use posthouse_base::time::Timestamp;
use posthouse_gateway::limit::{Keeping, NotKept, Period, QuotaStore, Used};
use posthouse_journal::driver::{
    self, Decision, Done, Driver, Entry, Hands, Keep, RecoverError, Rules, Settings, Snapshot,
    Unreadable,
};
use posthouse_journal::{Format, Journal, Recorded, StreamName};
use serde::{Deserialize, Serialize};

/// The stream in the journal.
const STREAM: &str = "quotas";
/// What records are called in it.
const KIND: &str = "quotas.used";
/// The format of checkpoints, counted up when older versions could not read them.
const FORMAT: u32 = 1;
/// Totals of one record: they stay well below the largest record, however long their names are.
const AT_ONCE: usize = 1000;
/// How long a record may take to be durable before it is counted as failed and told again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was used of quotas, kept in the journal.
#[derive(Clone)]
pub(crate) struct Quotas {
    driver: driver::Handle<State>,
}

impl Quotas {
    /// Brings back what the journal tells. Without a journal everything is forgotten at the end.
    ///
    /// # Errors
    /// When what the journal has cannot be brought back.
    pub(crate) async fn open(
        journal: Option<Arc<dyn Journal>>,
        tasks: &Tasks,
    ) -> Result<Self, RecoverError> {
        let settings = Settings::new(StreamName::internal(STREAM));
        let clock: driver::Clock = Arc::new(Timestamp::now);
        let driver = Driver::open(settings, journal, State::default, clock).await?;
        let quotas = Self { driver: driver.handle().clone() };
        driver.run(Idle, tasks);
        Ok(quotas)
    }

    /// Writes down where it stands and ends. The gateway has ended before.
    pub(crate) async fn close(&self) {
        self.driver.close().await;
    }
}

impl QuotaStore for Quotas {
    fn load(&self) -> Vec<Used> {
        self.driver.peek(State::used)
    }

    fn keep(&self, used: Vec<Used>, _: Timestamp) -> Keeping<'_> {
        Box::pin(async move {
            for part in used.chunks(AT_ONCE) {
                let kept = self.driver.command(Command::Keep(part.to_vec()));
                let kept = tokio::time::timeout(PATIENCE, kept).await;
                kept.map_err(|_| NotKept("the journal does not answer in time".into()))?
                    .map_err(|error| NotKept(error.to_string()))?;
            }
            Ok(())
        })
    }
}

/// The totals that are not over.
#[derive(Debug, Default)]
pub(crate) struct State {
    totals: HashMap<Place, u64>,
    mark: u64,
    /// When the first period is over, or did not begin at all.
    first_end: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    limit: Arc<str>,
    key: Arc<str>,
    period: Period,
}

pub(crate) enum Command {
    Keep(Vec<Used>),
    Forget,
}

/// What happens to the totals.
pub(crate) enum Event {
    /// These are the totals now.
    Used(Vec<Used>),
    /// Periods that are over at this time are forgotten.
    Over(Timestamp),
}

/// A record: the totals of each quota and period by key, or when the periods end that are forgotten.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Written {
    Used(Vec<Totals>),
    Over(u64),
}

#[derive(Serialize, Deserialize)]
struct Totals {
    limit: String,
    period: String,
    counts: BTreeMap<String, u64>,
}

impl State {
    fn used(&self) -> Vec<Used> {
        let used = |(Place { limit, key, period }, count): (&Place, &u64)| Used {
            limit: Arc::clone(limit),
            key: Arc::clone(key),
            period: *period,
            count: *count,
        };
        self.totals.iter().map(used).collect()
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Used(used) => {
                for Used { limit, key, period, count } in used {
                    let (limit, key) = (Arc::clone(limit), Arc::clone(key));
                    let end = period.end();
                    self.first_end = Some(self.first_end.map_or(end, |first| first.min(end)));
                    self.totals.insert(Place { limit, key, period: *period }, *count);
                }
            }
            Event::Over(time) => {
                self.totals.retain(|place, _| !place.period.is_over(*time));
                self.first_end = self.totals.keys().map(|place| place.period.end()).min();
            }
        }
    }
}

impl Rules for State {
    type Command = Command;
    type Event = Event;
    type Effect = ();
    type Reply = ();

    fn decide(&self, command: Command, now: Timestamp) -> Decision<Self> {
        let event = match command {
            Command::Keep(used) => (!used.is_empty()).then_some(Event::Used(used)),
            Command::Forget => Some(Event::Over(now)),
        };
        Decision { events: event.into_iter().collect(), reply: () }
    }

    fn apply(&mut self, events: &[Event]) -> Vec<()> {
        for event in events {
            self.happen(event);
            self.mark += 1;
        }
        Vec::new()
    }

    fn encode(events: &[Event]) -> Option<Keep> {
        if events.is_empty() {
            return None;
        }
        let written: Vec<Written> = events.iter().map(written).collect();
        // Such types can always be written.
        let data = Bytes::from(serde_json::to_vec(&written).unwrap_or_default());
        Some(Entry { kind: KIND.into(), format: Format::Json, data }.into())
    }

    fn replay(&mut self, recorded: &Recorded, mark: u64) -> Result<(), Unreadable> {
        let written: Vec<Written> = from_json(&recorded.event.data)?;
        for event in written {
            self.happen(&read(event)?);
        }
        self.mark = mark;
        Ok(())
    }

    fn mark(&self) -> u64 {
        self.mark
    }

    fn snapshot(&self) -> Snapshot {
        let event = Event::Used(self.used());
        Box::new(move || {
            let data = serde_json::to_vec(&written(&event)).unwrap_or_default();
            (FORMAT, Bytes::from(data))
        })
    }

    fn restore(&mut self, format: u32, data: &[u8]) -> Result<(), Unreadable> {
        if format != FORMAT {
            return Err(Unreadable::Format(format));
        }
        self.happen(&read(from_json(data)?)?);
        Ok(())
    }

    fn resume(&mut self, _: Timestamp) {}

    fn next_deadline(&self) -> Option<Timestamp> {
        self.first_end
    }

    fn tick() -> Command {
        Command::Forget
    }
}

/// Does nothing: totals have no effects.
struct Idle;

impl Hands<State> for Idle {
    fn carry_out(&mut self, _: Vec<Done<State>>) {}

    fn take_over(&mut self, _: &State) {}
}

fn written(event: &Event) -> Written {
    match event {
        Event::Over(time) => Written::Over(time.as_millis()),
        Event::Used(used) => {
            let mut quotas: BTreeMap<(&str, Period), BTreeMap<String, u64>> = BTreeMap::new();
            for Used { limit, key, period, count } in used {
                let counts = quotas.entry((limit, *period)).or_default();
                counts.insert(key.to_string(), *count);
            }
            let totals = quotas.into_iter().map(|((limit, period), counts)| Totals {
                limit: limit.to_owned(),
                period: period.to_string(),
                counts,
            });
            Written::Used(totals.collect())
        }
    }
}

fn read(written: Written) -> Result<Event, Unreadable> {
    let totals = match written {
        Written::Over(millis) => return Ok(Event::Over(Timestamp::from_millis(millis))),
        Written::Used(totals) => totals,
    };
    let mut used = Vec::new();
    for Totals { limit, period, counts } in totals {
        let limit: Arc<str> = limit.into();
        let period: Period = period
            .parse()
            .map_err(|error| Unreadable::Damaged(format!("the period `{period}`: {error}")))?;
        let counts = counts.into_iter();
        used.extend(counts.map(|(key, count)| Used {
            limit: Arc::clone(&limit),
            key: key.into(),
            period,
            count,
        }));
    }
    Ok(Event::Used(used))
}

fn from_json<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(data).map_err(|error| Unreadable::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use posthouse_gateway::limit::Every;
    use posthouse_journal::sqlite::{Options, Sqlite};

    use super::*;

    fn used(key: &str, period: Period, count: u64) -> Used {
        Used { limit: "route users day 1 consumer".into(), key: key.into(), period, count }
    }

    fn sorted(mut used: Vec<Used>) -> Vec<Used> {
        used.sort_by(|one, other| (&one.key, one.period).cmp(&(&other.key, other.period)));
        used
    }

    #[test]
    fn what_was_recorded_happens_again() {
        let day: Period = "2026-11-21".parse().unwrap();
        let month: Period = "2026-10".parse().unwrap();
        let events = [
            Event::Used(vec![used("a \"quoted\" key", day, 1), used("b", month, u64::MAX)]),
            Event::Used(vec![used("b", day, 3), used("b", day, 4)]),
            Event::Over(month.end()),
        ];
        let mut state = State::default();
        state.apply(&events);
        let entry = State::encode(&events).unwrap().entry;
        let mut again = State::default();
        for event in from_json::<Vec<Written>>(&entry.data).unwrap() {
            again.happen(&read(event).unwrap());
        }
        assert_eq!(again.totals, state.totals);
        let left = vec![used("a \"quoted\" key", day, 1), used("b", day, 4)];
        assert_eq!(sorted(again.used()), left);
        assert_eq!(again.next_deadline(), Some(day.end()));
        let (format, data) = state.snapshot()();
        let mut restored = State::default();
        restored.restore(format, &data).unwrap();
        assert_eq!(sorted(restored.used()), left);
        assert!(restored.restore(format, b"{").is_err());
        assert!(restored.restore(9, &data).is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn totals_are_there_after_a_restart_and_periods_that_are_over_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let config = posthouse_journal::config::Config::default();
            Arc::new(Sqlite::open(folder.path(), &config, Options::default()).unwrap())
        };
        let now = Timestamp::now();
        let (today, month) = (Every::Day.at(now), Every::Month.at(now));
        let over: Period = "2026-01-31".parse().unwrap();
        let tasks = Tasks::new();
        let journal = open();
        let quotas = Quotas::open(Some(journal.clone()), &tasks).await.unwrap();
        let first = vec![used("consumer a", today, 1), used("consumer b", month, 7)];
        quotas.keep(first, now).await.unwrap();
        quotas.keep(vec![used("consumer a", today, 5), used("old", over, 3)], now).await.unwrap();
        let many: Vec<Used> =
            (0..2500).map(|number| used(&format!("key {number}"), today, number)).collect();
        quotas.keep(many, now).await.unwrap();
        let forgotten = async {
            while quotas.load().len() > 2502 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), forgotten).await.unwrap();
        let all = sorted(quotas.load());
        assert_eq!(all[..2], [used("consumer a", today, 5), used("consumer b", month, 7)]);
        quotas.close().await;
        journal.close();

        let journal = open();
        let quotas = Quotas::open(Some(journal), &Tasks::new()).await.unwrap();
        assert_eq!(sorted(quotas.load()), all, "from the checkpoint");
    }
}
