//! Random histories, carried out by the engine and by a model that is too simple to be wrong: a
//! list of events. After every step both must show the same.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::Engine;
use super::tools::{ALL, event, of, page, page_of_all, stream, versions};
use crate::batch::{Append, Batch, Expected, Removal, StreamMetadata};
use crate::event::{Position, Table, Version};
use crate::journal::Direction;

/// Streams that the histories write to; the first ones are of facts, the others of work.
const STREAMS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Written>),
    Repeat,
    RemoveAt(Vec<u64>),
    RemoveRange { stream: usize, from: u64, to: u64 },
    RemoveVersions { stream: usize, from: u64, to: u64 },
    Limit { stream: usize, max_count: Option<u64>, truncate_before: Option<u64> },
    Restart,
}

#[derive(Clone, Debug)]
struct Written {
    stream: usize,
    events: u32,
    /// How far beside the truth the writer believes the stream to be.
    believes: Option<i64>,
}

#[derive(Debug, Default)]
struct Model {
    /// Position, stream, version and number of every event that may be read.
    events: Vec<(u64, usize, u64, u128)>,
    streams: [Stream; STREAMS],
    position: u64,
    /// What was written last, as long as all of it may still be read.
    last: Option<Batch>,
    numbers: u128,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    next: u64,
    /// The position of the last event.
    last: u64,
    max_count: Option<u64>,
    /// Nothing below was kept.
    lowest: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let believes =
        prop_oneof![3 => Just(None), 3 => Just(Some(0)), 1 => (-2_i64..=2).prop_map(Some)];
    let written = (0..STREAMS, 0_u32..4, believes).prop_map(|(stream, events, believes)| Written {
        stream,
        events,
        believes,
    });
    let range = (STREAMS / 2..STREAMS, 0_u64..60, 0_u64..20)
        .prop_map(|(stream, from, more)| Step::RemoveRange { stream, from, to: from + more });
    let versions = (STREAMS / 2..STREAMS, 0_u64..30, 0_u64..10)
        .prop_map(|(stream, from, more)| Step::RemoveVersions { stream, from, to: from + more });
    let limit = (0..STREAMS, any::<bool>(), 0_u64..6).prop_map(|(stream, count, number)| {
        let (max_count, truncate_before) =
            if count { (Some(number), None) } else { (None, Some(number * 3)) };
        Step::Limit { stream, max_count, truncate_before }
    });
    let step = prop_oneof![
        8 => vec(written, 1..4).prop_map(Step::Append),
        2 => Just(Step::Repeat),
        2 => vec(0_u64..60, 0..5).prop_map(Step::RemoveAt),
        2 => range,
        3 => versions,
        1 => limit,
        1 => Just(Step::Restart),
    ];
    vec(step, 1..40)
}

/// Carries out random histories on engines that `make` makes.
///
/// # Panics
/// When the engine and the model differ; the history is made as short as may be before.
pub fn random_histories<E: Engine>(make: impl Fn() -> E) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime is made");
    let config =
        Config { cases: 24, max_shrink_iters: 400, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        let mut engine = make();
        runtime.block_on(history(&mut engine, &steps))
    });
    if let Err(difference) = outcome {
        panic!("{difference}");
    }
}

async fn history<E: Engine>(engine: &mut E, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for step in steps {
        carry_out(engine, &mut model, step).await?;
        compare(engine, &model).await?;
    }
    Ok(())
}

async fn carry_out<E: Engine>(
    engine: &mut E,
    model: &mut Model,
    step: &Step,
) -> Result<(), TestCaseError> {
    let journal = engine.journal();
    match step {
        Step::Append(written) => {
            let batch = model.batch(written);
            let outcome = journal.append(batch.clone()).await;
            let expected = model.append(&batch);
            same("an append", &outcome.ok().map(|done| done.streams), &expected)?;
        }
        Step::Repeat => {
            if let Some(batch) = model.last.clone() {
                let outcome = journal.append(batch).await;
                same("a repetition is recognised", &outcome.map(|done| done.repeated), &Ok(true))?;
            }
        }
        Step::RemoveAt(positions) => {
            let at = positions.iter().copied().map(Position::new).collect();
            let batch = Batch { removals: vec![Removal::At(at)], ..Batch::default() };
            same("a removal", &journal.append(batch).await.is_ok(), &true)?;
            model.remove(|at, stream, _| positions.contains(&at) && table(stream) == Table::Work);
        }
        Step::RemoveRange { stream: number, from, to } => {
            let positions = Position::new(*from)..=Position::new(*to);
            let removal = Removal::Range { stream: stream(&name(*number)), positions };
            let batch = Batch { removals: vec![removal], ..Batch::default() };
            same("a removal", &journal.append(batch).await.is_ok(), &true)?;
            model.remove(|at, stream, _| (*from..=*to).contains(&at) && stream == *number);
        }
        Step::RemoveVersions { stream: number, from, to } => {
            let versions = Version::new(*from)..=Version::new(*to);
            let removal = Removal::Versions { stream: stream(&name(*number)), versions };
            let batch = Batch { removals: vec![removal], ..Batch::default() };
            same("a removal", &journal.append(batch).await.is_ok(), &true)?;
            model
                .remove(|_, stream, version| (*from..=*to).contains(&version) && stream == *number);
        }
        Step::Limit { stream: number, max_count, truncate_before } => {
            let metadata = StreamMetadata {
                max_count: *max_count,
                truncate_before: truncate_before.map(Version::new),
                ..StreamMetadata::default()
            };
            let metadata = vec![(stream(&name(*number)), metadata)];
            let batch = Batch { metadata, ..Batch::default() };
            same("metadata", &journal.append(batch).await.is_ok(), &true)?;
            model.limit(*number, *max_count, truncate_before.unwrap_or(0));
        }
        Step::Restart => {
            drop(journal);
            engine.restart().await;
        }
    }
    Ok(())
}

async fn compare<E: Engine>(engine: &E, model: &Model) -> Result<(), TestCaseError> {
    use Direction::{Backwards, Forwards};
    same("the head", &engine.journal().head().borrow().position.get(), &model.position)?;
    for of_table in [Table::Facts, Table::Work] {
        let all: Vec<_> = model
            .events
            .iter()
            .filter(|event| table(event.1) == of_table)
            .map(|event| event.3)
            .collect();
        let read = page_of_all(engine, of_table, None, 0, Forwards, ALL).await;
        same("everything", &of(&read.events), &all)?;
        let read = page_of_all(engine, of_table, None, u64::MAX, Backwards, 5).await;
        let latest: Vec<_> = all.iter().rev().take(5).copied().collect();
        same("the latest of everything", &of(&read.events), &latest)?;
        same("whether that is all", &read.end, &(all.len() <= 5))?;
    }
    for number in 0..STREAMS {
        let all: Vec<_> =
            model.events.iter().filter(|event| event.1 == number).map(|event| event.2).collect();
        let read = page(engine, &stream(&name(number)), None, Forwards, ALL).await;
        same("a stream", &versions(&read.events), &all)?;
        let read = page(engine, &stream(&name(number)), None, Backwards, 3).await;
        let latest: Vec<_> = all.iter().rev().take(3).copied().collect();
        same("the latest of a stream", &versions(&read.events), &latest)?;
        let state = engine.journal().stream(&stream(&name(number))).await;
        let state = state.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let next = model.streams[number].next;
        let last = state.as_ref().and_then(|state| state.last).map(Version::get);
        same("a stream's last version", &last, &next.checked_sub(1))?;
        if let Some(state) = state {
            let first = all.first().copied().unwrap_or(next);
            same("a stream's first version", &state.first.get(), &first)?;
        }
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    engine: &T,
    model: &T,
) -> Result<(), TestCaseError> {
    if engine == model {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("{what}: the engine has {engine:?}, the model {model:?}")))
}

fn name(stream: usize) -> String {
    format!("stream-{stream}")
}

const fn table(stream: usize) -> Table {
    if stream < STREAMS / 2 { Table::Facts } else { Table::Work }
}

impl Model {
    /// What the step means now: events that were never written, and what the writer believes.
    fn batch(&mut self, written: &[Written]) -> Batch {
        let mut next: Vec<u64> = self.streams.iter().map(|stream| stream.next).collect();
        let mut appends = Vec::new();
        for Written { stream: number, events, believes } in written {
            let expected = match believes {
                None => Expected::Any,
                Some(beside) => next[*number]
                    .checked_add_signed(beside - 1)
                    .map_or(Expected::NoStream, |version| Expected::Exactly(Version::new(version))),
            };
            let first = self.numbers;
            self.numbers += u128::from(*events);
            next[*number] += u64::from(*events);
            appends.push(Append {
                stream: stream(&name(*number)),
                table: table(*number),
                expected,
                events: (first..self.numbers).map(event).collect(),
            });
        }
        Batch { appends, ..Batch::default() }
    }

    /// Where the appends of `batch` end; `None` when it is refused.
    fn append(&mut self, batch: &Batch) -> Option<Vec<Option<(Version, Position)>>> {
        let (mut streams, mut events) = (self.streams.clone(), self.events.clone());
        let mut position = self.position;
        let mut ends = Vec::new();
        for append in &batch.appends {
            let number = (0..STREAMS).find(|number| append.stream.as_str() == name(*number))?;
            let stream = &mut streams[number];
            let exists = stream.next > stream.lowest;
            let right = match append.expected {
                Expected::Any => true,
                Expected::NoStream => !exists,
                Expected::Exists => exists,
                Expected::Exactly(version) => version.get().checked_add(1) == Some(stream.next),
            };
            if !right {
                return None;
            }
            for event in &append.events {
                position += 1;
                events.push((position, number, stream.next, event.id.as_u128()));
                (stream.next, stream.last) = (stream.next + 1, position);
            }
            stream.cut();
            let last = stream.next.checked_sub(1).map(Version::new);
            ends.push(last.map(|version| (version, Position::new(stream.last))));
        }
        let written = position - self.position;
        (self.streams, self.events, self.position) = (streams, events, position);
        self.cut();
        if written > 0 {
            let kept = self.events.iter().filter(|event| event.0 > position - written).count();
            self.last = (u64::try_from(kept) == Ok(written)).then(|| batch.clone());
        }
        Some(ends)
    }

    /// Removes events by position, stream and version.
    fn remove(&mut self, which: impl Fn(u64, usize, u64) -> bool) {
        self.last = None;
        self.events.retain(|event| !which(event.0, event.1, event.2));
    }

    fn limit(&mut self, number: usize, max_count: Option<u64>, truncate_before: u64) {
        self.last = None;
        let stream = &mut self.streams[number];
        stream.max_count = max_count;
        stream.lowest = stream.lowest.max(truncate_before.min(stream.next));
        stream.cut();
        self.cut();
    }

    /// Takes away what the streams no longer keep.
    fn cut(&mut self) {
        let streams = &self.streams;
        self.events.retain(|event| event.2 >= streams[event.1].lowest);
    }
}

impl Stream {
    fn cut(&mut self) {
        let most = self.max_count.unwrap_or(u64::MAX);
        self.lowest = self.lowest.max(self.next.saturating_sub(most));
    }
}
