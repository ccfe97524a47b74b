//! Following the log as it grows.

use std::time::Duration;

use super::Engine;
use super::tools::{facts, metadata, put, removal_at, stream, work};
use crate::batch::{Expected, StreamMetadata};
use crate::error::Error;
use crate::event::{Position, Recorded, Space, StreamName, Table, Version};
use crate::follow::{Follower, Item, Start, Target, Window};

use Expected::Any;
use Table::{Facts, Work};

/// After this a follower that shows nothing has failed.
const DEADLINE: Duration = Duration::from_secs(30);

fn everything(table: Table, from: Start<Position>) -> Target {
    Target::All { table, space: None, from }
}

fn one(name: &str, from: Start<Version>) -> Target {
    Target::Stream { stream: stream(name), from }
}

fn follow<E: Engine>(engine: &E, target: Target) -> Follower {
    Follower::new(engine.journal(), target, Window::default())
}

async fn next(follower: &mut Follower) -> Result<Item, Error> {
    tokio::time::timeout(DEADLINE, follower.next()).await.expect("it meets something")
}

async fn event(follower: &mut Follower) -> Recorded {
    loop {
        match next(follower).await.expect("it goes on") {
            Item::Event(event) => return event,
            Item::CaughtUp(_) | Item::FellBehind(_) => {}
        }
    }
}

/// The numbers of the next events.
async fn numbers(follower: &mut Follower, count: usize) -> Vec<u128> {
    let mut found = Vec::new();
    while found.len() < count {
        found.push(event(follower).await.event.id.as_u128());
    }
    found
}

async fn caught_up(follower: &mut Follower) -> Position {
    match next(follower).await.expect("it goes on") {
        Item::CaughtUp(position) => position,
        other => panic!("it was to catch up, but met {other:?}"),
    }
}

/// What is there, the word that this is all, and what comes.
pub async fn a_follower_catches_up_and_goes_on<E: Engine>(engine: &mut E) {
    put(engine, facts(&stream("a"), Any, [1, 2])).await;
    put(engine, facts(&stream("b"), Any, [3])).await;
    let mut all = follow(engine, everything(Facts, Start::Beginning));
    let mut a = follow(engine, one("a", Start::Beginning));
    let mut none = follow(engine, one("c", Start::Beginning));
    assert_eq!(numbers(&mut all, 3).await, [1, 2, 3]);
    assert_eq!(caught_up(&mut all).await, Position::new(3));
    assert_eq!(numbers(&mut a, 2).await, [1, 2]);
    assert_eq!(caught_up(&mut a).await, Position::new(3));
    assert_eq!(caught_up(&mut none).await, Position::new(3));
    put(engine, facts(&stream("b"), Any, [4])).await;
    put(engine, facts(&stream("a"), Any, [5])).await;
    put(engine, facts(&stream("c"), Any, [6])).await;
    assert_eq!(numbers(&mut all, 3).await, [4, 5, 6]);
    let met = event(&mut a).await;
    assert_eq!((met.position, met.version), (Position::new(5), Version::new(2)));
    assert_eq!(numbers(&mut none, 1).await, [6]);
}

/// From the beginning, after a place, or at the end.
pub async fn a_follower_begins_where_it_is_told<E: Engine>(engine: &mut E) {
    for number in 1..=5 {
        put(engine, facts(&stream("a"), Any, [number])).await;
    }
    engine.restart().await;
    let mut followers = [
        follow(engine, everything(Facts, Start::After(Position::new(3)))),
        follow(engine, one("a", Start::After(Version::new(2)))),
    ];
    for follower in &mut followers {
        assert_eq!(numbers(follower, 2).await, [4, 5]);
        caught_up(follower).await;
    }
    let mut ends = [
        follow(engine, everything(Facts, Start::End)),
        follow(engine, one("a", Start::End)),
        follow(engine, one("a", Start::After(Version::new(4)))),
    ];
    for follower in &mut ends {
        assert_eq!(caught_up(follower).await, Position::new(5));
    }
    put(engine, facts(&stream("a"), Any, [6])).await;
    for follower in followers.iter_mut().chain(&mut ends) {
        assert_eq!(numbers(follower, 1).await, [6]);
    }
}

/// Its table and its space, before and after it has caught up.
pub async fn a_follower_sees_its_part_of_the_log<E: Engine>(engine: &mut E) {
    let internal = StreamName::internal("i");
    let of = |space| Target::All { table: Facts, space: Some(space), from: Start::Beginning };
    let mut followers = [
        (follow(engine, of(Space::Public)), [1, 11]),
        (follow(engine, of(Space::Internal)), [2, 12]),
        (follow(engine, everything(Work, Start::Beginning)), [3, 13]),
    ];
    for round in [0, 10] {
        put(engine, facts(&stream("a"), Any, [round + 1])).await;
        put(engine, facts(&internal, Any, [round + 2])).await;
        put(engine, work(&stream("w"), Any, [round + 3])).await;
        for (follower, numbers) in &mut followers {
            let number = if round == 0 { numbers[0] } else { numbers[1] };
            assert_eq!(self::numbers(follower, 1).await, [number]);
        }
    }
}

/// One that holds little and asks late gets everything, in order.
pub async fn a_slow_follower_misses_nothing<E: Engine>(engine: &mut E) {
    let window = Window { events: 3, bytes: 100 };
    let targets = [everything(Facts, Start::Beginning), one("a", Start::Beginning)];
    let mut followers = targets.map(|target| Follower::new(engine.journal(), target, window));
    put(engine, facts(&stream("a"), Any, [0])).await;
    for follower in &mut followers {
        assert_eq!(numbers(follower, 1).await, [0]);
    }
    for block in 0..50 {
        put(engine, facts(&stream("a"), Any, 1 + block * 4..1 + (block + 1) * 4)).await;
    }
    for follower in &mut followers {
        assert_eq!(numbers(follower, 200).await, (1..=200).collect::<Vec<_>>());
    }
}

/// However many write and follow at the same time.
pub async fn followers_see_everything_in_order<E: Engine>(engine: &mut E) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 50;
    let mut tasks = Vec::new();
    for number in 0..6 {
        let target = if number < 4 {
            everything(Facts, Start::Beginning)
        } else {
            one(&format!("stream-{}", number - 4), Start::Beginning)
        };
        let mut follower = follow(engine, target);
        let all = number < 4;
        tasks.push(tokio::spawn(async move {
            for place in 0..if all { WRITERS * EACH } else { EACH } {
                let met = event(&mut follower).await;
                let at = if all { met.position.get() - 1 } else { met.version.get() };
                assert_eq!(at, place);
            }
        }));
    }
    for writer in 0..WRITERS {
        let journal = engine.journal();
        tasks.push(tokio::spawn(async move {
            let name = stream(&format!("stream-{writer}"));
            for number in 0..EACH {
                let id = u128::from(writer * EACH + number);
                journal.append(facts(&name, Any, [id])).await.expect("it is written");
            }
        }));
    }
    for task in tasks {
        task.await.expect("nobody fails");
    }
}

/// Removed or cut off before it was asked for.
pub async fn what_goes_is_not_followed<E: Engine>(engine: &mut E) {
    let mut tasks = follow(engine, everything(Work, Start::Beginning));
    let mut events = follow(engine, everything(Facts, Start::Beginning));
    caught_up(&mut tasks).await;
    caught_up(&mut events).await;
    put(engine, work(&stream("w"), Any, [1, 2, 3])).await;
    put(engine, removal_at([1, 3])).await;
    put(engine, facts(&stream("a"), Any, [4, 5, 6])).await;
    let limits = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
    put(engine, metadata(&stream("a"), limits)).await;
    assert_eq!(numbers(&mut tasks, 1).await, [2]);
    assert_eq!(numbers(&mut events, 1).await, [6]);
    put(engine, work(&stream("w"), Any, [7])).await;
    put(engine, facts(&stream("a"), Any, [8])).await;
    assert_eq!(numbers(&mut tasks, 1).await, [7]);
    assert_eq!(numbers(&mut events, 1).await, [8]);
}

/// When that is closed for ever: whoever reads it is told.
pub async fn a_follower_ends_with_its_stream<E: Engine>(engine: &mut E) {
    put(engine, facts(&stream("a"), Any, [1])).await;
    let tombstone = StreamMetadata { tombstone: true, ..StreamMetadata::default() };
    put(engine, metadata(&stream("a"), tombstone)).await;
    let mut follower = follow(engine, one("a", Start::Beginning));
    assert_eq!(next(&mut follower).await, Err(Error::Tombstone(stream("a"))));
}

/// When that is closed.
pub async fn a_follower_ends_with_its_journal<E: Engine>(engine: &mut E) {
    let mut follower = follow(engine, everything(Facts, Start::Beginning));
    caught_up(&mut follower).await;
    let task = tokio::spawn(async move { next(&mut follower).await });
    engine.restart().await;
    assert_eq!(task.await.expect("it does not fail"), Err(Error::Closed));
}
