//! Writing and reading.

use std::time::Duration;

use super::Engine;
use super::tools::{
    ALL, again, all_numbers, append, appends, end, event, exactly, facts, new, numbers, of, page,
    page_of_all, positions, put, stream, to, versions, work,
};
use crate::batch::{Append, Batch, Expected};
use crate::error::Error;
use crate::event::{Position, Space, StreamName, Table, Version};
use crate::journal::{Direction, Health, ReadAll, ReadStream};

use Direction::{Backwards, Forwards};
use Expected::{Any, Exists, NoStream};
use Table::{Facts, Work};

/// Nothing is there before something is written.
pub async fn an_empty_log_has_nothing<E: Engine>(engine: &mut E) {
    let journal = engine.journal();
    let head = journal.head().borrow().clone();
    assert_eq!((head.position, head.health), (Position::START, Health::Serving));
    assert_eq!(journal.stream(&stream("a")).await, Ok(None));
    assert_eq!(journal.checkpoint(&stream("a")).await, Ok(None));
    for direction in [Forwards, Backwards] {
        let one = page(engine, &stream("a"), None, direction, ALL).await;
        let all = page_of_all(engine, Facts, None, 0, direction, ALL).await;
        for page in [one, all] {
            assert_eq!((page.events.len(), page.end, page.head), (0, true, Position::START));
        }
    }
    assert_eq!(append(engine, Batch::default()).await, new(&[]), "an empty batch is no mistake");
    assert_eq!(append(engine, facts(&stream("a"), Any, [])).await, new(&[None]));
    assert_eq!(journal.head().borrow().position, Position::START);
}

/// Every part of an event comes back, at the first position and version.
pub async fn events_are_read_as_they_were_written<E: Engine>(engine: &mut E) {
    let (public, internal) = (stream("a"), StreamName::internal("a"));
    assert_eq!(append(engine, facts(&public, NoStream, [1, 2])).await, new(&[end(1, 2)]));
    assert_eq!(append(engine, work(&internal, NoStream, [3])).await, new(&[end(0, 3)]));
    assert_eq!(append(engine, facts(&public, exactly(1), [10])).await, new(&[end(2, 4)]));
    assert_eq!(engine.journal().head().borrow().position, Position::new(4));
    let read = page(engine, &public, None, Forwards, ALL).await;
    assert_eq!(positions(&read.events), [1, 2, 4]);
    assert_eq!(versions(&read.events), [0, 1, 2]);
    for (recorded, number) in read.events.iter().zip([1, 2, 10]) {
        assert_eq!(recorded.event, event(number));
        assert_eq!(recorded.stream, public);
    }
    let read = page(engine, &internal, None, Forwards, ALL).await;
    assert_eq!((of(&read.events), read.events[0].stream.clone()), (vec![3], internal.clone()));
    let state = engine.journal().stream(&public).await.expect("it is read").expect("it is there");
    assert_eq!((state.table, state.first), (Facts, Version::FIRST));
    assert_eq!(state.last, Some(Version::new(2)));
    let state = engine.journal().stream(&internal).await.expect("it is read").expect("it is there");
    assert_eq!((state.table, state.last), (Work, Some(Version::FIRST)));
}

/// From every version, both ways, page by page.
pub async fn a_stream_is_read_in_pages_in_both_directions<E: Engine>(engine: &mut E) {
    let (a, b) = (stream("a"), stream("b"));
    for number in 0..10 {
        put(engine, facts(&a, Any, [number])).await;
        put(engine, facts(&b, Any, [100 + number])).await;
    }
    let read = page(engine, &a, Some(3), Forwards, 4).await;
    assert_eq!((versions(&read.events), read.end), (vec![3, 4, 5, 6], false));
    let read = page(engine, &a, Some(7), Forwards, 3).await;
    assert_eq!((versions(&read.events), read.end), (vec![7, 8, 9], true));
    assert_eq!(read.head, Position::new(20));
    let read = page(engine, &a, Some(10), Forwards, 3).await;
    assert_eq!((versions(&read.events), read.end), (vec![], true));
    let read = page(engine, &a, None, Backwards, 3).await;
    assert_eq!((versions(&read.events), read.end), (vec![9, 8, 7], false));
    let read = page(engine, &a, Some(2), Backwards, 3).await;
    assert_eq!((versions(&read.events), read.end), (vec![2, 1, 0], true));
    let read = page(engine, &a, Some(99), Backwards, 1).await;
    assert_eq!((versions(&read.events), read.end), (vec![9], false));
    let read = page(engine, &a, Some(u64::MAX), Forwards, 1).await;
    assert_eq!((versions(&read.events), read.end), (vec![], true));
}

/// Each table and each space by itself, and both spaces together.
pub async fn everything_is_read_by_table_and_space<E: Engine>(engine: &mut E) {
    let (public, internal) = (stream("a"), StreamName::internal("b"));
    let tasks = StreamName::internal("c");
    for number in 0..4 {
        put(engine, facts(&public, Any, [10 + number])).await;
        put(engine, facts(&internal, Any, [20 + number])).await;
        put(engine, work(&tasks, Any, [30 + number])).await;
    }
    let read = page_of_all(engine, Facts, None, 0, Forwards, ALL).await;
    assert_eq!(positions(&read.events), [1, 2, 4, 5, 7, 8, 10, 11]);
    assert_eq!((read.end, read.head), (true, Position::new(12)));
    let read = page_of_all(engine, Facts, Some(Space::Public), 0, Forwards, ALL).await;
    assert_eq!(of(&read.events), [10, 11, 12, 13]);
    let read = page_of_all(engine, Facts, Some(Space::Internal), 3, Forwards, 2).await;
    assert_eq!((of(&read.events), read.end), (vec![21, 22], false));
    assert_eq!(read.events[0].stream, internal);
    let read = page_of_all(engine, Facts, Some(Space::Public), 7, Backwards, ALL).await;
    assert_eq!((of(&read.events), read.end), (vec![12, 11, 10], true));
    let read = page_of_all(engine, Work, None, Position::END.get(), Backwards, 3).await;
    assert_eq!((of(&read.events), read.end), (vec![33, 32, 31], false));
    let read = page_of_all(engine, Work, Some(Space::Public), 0, Forwards, ALL).await;
    assert_eq!((of(&read.events), read.end), (vec![], true));
    let read = page_of_all(engine, Facts, None, 12, Forwards, ALL).await;
    assert_eq!((of(&read.events), read.end), (vec![], true));
}

/// At most the bytes that were asked for, but always one event.
pub async fn a_page_is_bounded_by_bytes<E: Engine>(engine: &mut E) {
    let a = stream("a");
    let size = |number| event(number).data.len() + event(number).metadata.len();
    put(engine, facts(&a, Any, 1..=4)).await;
    for (bytes, count) in [(0, 1), (size(1), 1), (size(1) + size(2), 2), (ALL, 4)] {
        let read =
            ReadStream { stream: a.clone(), from: None, direction: Forwards, limit: ALL, bytes };
        let one = engine.journal().read_stream(read).await.expect("it is read");
        let from = Position::START;
        let read =
            ReadAll { table: Facts, space: None, from, direction: Forwards, limit: ALL, bytes };
        let all = engine.journal().read_all(read).await.expect("it is read");
        for page in [one, all] {
            assert_eq!((page.events.len(), page.end), (count, count == 4), "{bytes} bytes");
        }
    }
}

/// Expectations that are right are taken, others refused with what is there.
pub async fn a_writer_is_held_to_what_it_believes<E: Engine>(engine: &mut E) {
    let a = stream("a");
    let refused = |expected, actual: Option<u64>| {
        let actual = actual.map(Version::new);
        Err(Error::WrongExpectedVersion { stream: stream("a"), expected, actual })
    };
    for expected in [Exists, exactly(0)] {
        assert_eq!(append(engine, facts(&a, expected, [1])).await, refused(expected, None));
    }
    assert_eq!(append(engine, facts(&a, NoStream, [1])).await, new(&[end(0, 1)]));
    for expected in [NoStream, exactly(1), exactly(u64::MAX)] {
        assert_eq!(append(engine, facts(&a, expected, [2])).await, refused(expected, Some(0)));
    }
    assert_eq!(append(engine, facts(&a, exactly(0), [2])).await, new(&[end(1, 2)]));
    assert_eq!(append(engine, facts(&a, Exists, [3])).await, new(&[end(2, 3)]));
    assert_eq!(append(engine, facts(&a, Any, [4])).await, new(&[end(3, 4)]));
    assert_eq!(append(engine, facts(&a, exactly(3), [])).await, new(&[end(3, 4)]));
    assert_eq!(append(engine, facts(&a, exactly(2), [])).await, refused(exactly(2), Some(3)));
    assert_eq!(numbers(engine, &a).await, [1, 2, 3, 4]);
}

/// One wrong expectation refuses all of the batch, and nothing of it shows or counts.
pub async fn a_batch_is_written_whole_or_not_at_all<E: Engine>(engine: &mut E) {
    let (a, b) = (stream("a"), StreamName::internal("b"));
    put(engine, facts(&a, NoStream, [1])).await;
    let both = |expected| {
        let first = to(&b, Work, NoStream, [2]);
        let second = to(&a, Facts, expected, [3]);
        let third = to(&stream("c"), Facts, Any, [4]);
        appends([first, second, third])
    };
    let refused = append(engine, both(exactly(7))).await;
    assert!(matches!(refused, Err(Error::WrongExpectedVersion { .. })), "{refused:?}");
    assert_eq!(all_numbers(engine, Facts).await, [1]);
    assert_eq!(all_numbers(engine, Work).await, [0_u128; 0]);
    assert_eq!(engine.journal().head().borrow().position, Position::new(1));
    let done = append(engine, both(exactly(0))).await;
    assert_eq!(done, new(&[end(0, 2), end(1, 3), end(0, 4)]));
    assert_eq!(all_numbers(engine, Facts).await, [1, 3, 4]);
    assert_eq!(all_numbers(engine, Work).await, [2]);
}

/// The second append of a batch to a stream finds the first one done.
pub async fn several_appends_of_a_batch_follow_each_other<E: Engine>(engine: &mut E) {
    let a = stream("a");
    let batch = || {
        let asks = to(&a, Facts, exactly(2), []);
        appends([to(&a, Facts, NoStream, [1, 2]), to(&a, Facts, exactly(1), [3]), asks])
    };
    assert_eq!(append(engine, batch()).await, new(&[end(1, 2), end(2, 3), end(2, 3)]));
    assert_eq!(numbers(engine, &a).await, [1, 2, 3]);
    assert_eq!(append(engine, batch()).await, again(&[end(1, 2), end(2, 3), end(2, 3)]));
    let refused =
        append(engine, appends([to(&a, Facts, exactly(2), [4]), to(&a, Facts, exactly(2), [5])]));
    assert!(refused.await.is_err());
    assert_eq!(numbers(engine, &a).await, [1, 2, 3]);
}

/// The same ids where they would be: nothing is written, and the answer is the first one.
pub async fn a_repeated_batch_is_recognised<E: Engine>(engine: &mut E) {
    let a = stream("a");
    put(engine, facts(&a, NoStream, [1, 2])).await;
    assert_eq!(append(engine, facts(&a, NoStream, [1, 2])).await, again(&[end(1, 2)]));
    assert_eq!(append(engine, facts(&a, NoStream, [1])).await, again(&[end(0, 1)]));
    assert_eq!(append(engine, facts(&a, Any, [1, 2])).await, again(&[end(1, 2)]));
    assert_eq!(append(engine, facts(&a, Exists, [2])).await, again(&[end(1, 2)]));
    put(engine, facts(&a, exactly(1), [3, 4])).await;
    engine.restart().await;
    assert_eq!(append(engine, facts(&a, exactly(1), [3, 4])).await, again(&[end(3, 4)]));
    assert_eq!(append(engine, facts(&a, exactly(0), [2])).await, again(&[end(1, 2)]));
    assert_eq!(append(engine, facts(&a, NoStream, [1, 2])).await, again(&[end(1, 2)]));
    for (expected, ids) in [(NoStream, vec![2]), (exactly(1), vec![3, 9]), (exactly(2), vec![4, 5])]
    {
        let refused = append(engine, facts(&a, expected, ids)).await;
        assert!(matches!(refused, Err(Error::WrongExpectedVersion { .. })), "{refused:?}");
    }
    assert_eq!(numbers(engine, &a).await, [1, 2, 3, 4]);
    let done = append(engine, facts(&a, Any, [1, 2])).await;
    assert_eq!(done, new(&[end(5, 6)]), "something else was written in between");
    assert_eq!(append(engine, facts(&a, Any, [1, 2])).await, again(&[end(5, 6)]));
    assert_eq!(numbers(engine, &a).await, [1, 2, 3, 4, 1, 2]);
}

/// A batch that was written in part only is not a repetition.
pub async fn a_repetition_is_recognised_whole_or_not_at_all<E: Engine>(engine: &mut E) {
    let (a, b) = (stream("a"), stream("b"));
    let both = |expected| appends([to(&a, Facts, expected, [1]), to(&b, Work, expected, [2])]);
    put(engine, facts(&a, NoStream, [1])).await;
    let refused = append(engine, both(NoStream)).await;
    assert!(matches!(refused, Err(Error::WrongExpectedVersion { .. })), "{refused:?}");
    assert_eq!(append(engine, both(Any)).await, new(&[end(1, 2), end(0, 3)]));
    assert_eq!(append(engine, both(Any)).await, again(&[end(1, 2), end(0, 3)]));
    assert!(append(engine, both(exactly(0))).await.is_err());
    assert_eq!(all_numbers(engine, Facts).await, [1, 1]);
    assert_eq!(all_numbers(engine, Work).await, [2]);
}

/// Work is not written to a stream of facts, nor facts to one of work.
pub async fn a_stream_is_of_one_kind<E: Engine>(engine: &mut E) {
    let (a, b) = (stream("a"), stream("b"));
    put(engine, facts(&a, Any, [1])).await;
    put(engine, work(&b, Any, [2])).await;
    assert_eq!(append(engine, work(&a, Any, [3])).await, Err(Error::WrongTable(a.clone())));
    assert_eq!(append(engine, facts(&b, Any, [3])).await, Err(Error::WrongTable(b.clone())));
    let internal = StreamName::internal("a");
    assert_eq!(append(engine, work(&internal, Any, [3])).await, new(&[end(0, 3)]));
}

/// Names that cannot be.
pub async fn what_cannot_be_right_is_refused<E: Engine>(engine: &mut E) {
    for name in [String::new(), "x".repeat(10_000)] {
        let refused = append(engine, facts(&stream(&name), Any, [1])).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    let kind = "x".repeat(10_000).into();
    let events = vec![crate::NewEvent { kind, ..event(1) }];
    let long = Append { stream: stream("a"), table: Facts, expected: Any, events };
    let refused = append(engine, appends([long])).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_eq!(engine.journal().head().borrow().position, Position::START);
}

/// Those that are handed in one after the other.
pub async fn batches_are_written_in_order<E: Engine>(engine: &mut E) {
    let (a, journal) = (stream("a"), engine.journal());
    let mut receipts = Vec::new();
    for number in 0..500_u64 {
        let expected = number.checked_sub(1).map_or(NoStream, exactly);
        let batch = facts(&a, expected, [u128::from(number)]);
        receipts.push(journal.submit(batch).await.expect("it is taken on"));
    }
    for (number, receipt) in (0..).zip(receipts) {
        assert_eq!(receipt.await, new(&[end(number, number + 1)]));
    }
    assert_eq!(numbers(engine, &a).await, (0..500).collect::<Vec<_>>());
}

/// What was handed in is written, whether anybody waits for it or not.
pub async fn a_dropped_receipt_changes_nothing<E: Engine>(engine: &mut E) {
    let (a, journal) = (stream("a"), engine.journal());
    drop(journal.submit(facts(&a, Any, [1])).await.expect("it is taken on"));
    put(engine, facts(&a, Any, [2])).await;
    assert_eq!(numbers(engine, &a).await, [1, 2]);
}

/// While many write, whoever reads sees a beginning of the log without a gap, and at once what was
/// confirmed.
pub async fn nobody_sees_a_later_position_before_an_earlier_one<E: Engine>(engine: &mut E) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 60;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let journal = engine.journal();
        writers.push(tokio::spawn(async move {
            for number in 0..EACH {
                let name = stream(&format!("stream-{writer}"));
                let id = u128::from(writer * EACH + number);
                let done = journal.append(facts(&name, Any, [id])).await.expect("it is written");
                let (version, position) = done.streams[0].expect("an event was written");
                assert_eq!(version, Version::new(number));
                assert!(journal.head().borrow().position >= position);
            }
        }));
    }
    loop {
        let before = engine.journal().head().borrow().position;
        let read = page_of_all(engine, Facts, None, 0, Forwards, ALL).await;
        let seen = positions(&read.events);
        assert_eq!(seen, (1..=read.head.get()).collect::<Vec<_>>());
        assert!(read.head >= before, "what the head shows can be read");
        if read.head == Position::new(WRITERS * EACH) {
            break;
        }
    }
    for writer in writers {
        writer.await.expect("no writer fails");
    }
}

/// Events are stamped by the clock, but never before an earlier event.
pub async fn time_never_goes_back<E: Engine>(engine: &mut E) {
    let a = stream("a");
    put(engine, facts(&a, Any, [1])).await;
    engine.advance(Duration::from_secs(3600));
    put(engine, facts(&a, Any, [2])).await;
    engine.restart().await;
    put(engine, facts(&a, Any, [3])).await;
    let times: Vec<_> =
        page(engine, &a, None, Forwards, ALL).await.events.iter().map(|event| event.time).collect();
    assert!(times[1].since(times[0]) >= Duration::from_secs(3600), "{times:?}");
    assert!(times[2] >= times[1], "{times:?}");
}

/// Events, ends of streams and the counter.
pub async fn everything_is_there_after_a_restart<E: Engine>(engine: &mut E) {
    let (a, b) = (stream("a"), StreamName::internal("b"));
    put(engine, facts(&a, NoStream, [1, 2])).await;
    put(engine, work(&b, NoStream, [3])).await;
    let before = page_of_all(engine, Facts, None, 0, Forwards, ALL).await;
    engine.restart().await;
    assert_eq!(engine.journal().head().borrow().position, Position::new(3));
    assert_eq!(page_of_all(engine, Facts, None, 0, Forwards, ALL).await, before);
    assert_eq!(append(engine, facts(&a, exactly(1), [4])).await, new(&[end(2, 4)]));
    assert_eq!(append(engine, work(&b, exactly(0), [5])).await, new(&[end(1, 5)]));
    assert_eq!(numbers(engine, &b).await, [3, 5]);
}
