//! What goes and what stays: removal, truncation, tombstones, checkpoints.

use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use super::tools::{
    ALL, again, all_numbers, append, end, exactly, facts, metadata, new, numbers, of, page,
    page_of_all, put, removal, removal_at, removal_of, stream, to, versions, work,
};
use crate::batch::{Batch, Checkpoint, Expected, StreamMetadata};
use crate::error::Error;
use crate::event::{Position, StreamName, Table, Version};
use crate::journal::{Direction, StreamState};

use Direction::{Backwards, Forwards};
use Expected::{Any, Exists, NoStream};
use Table::{Facts, Work};

async fn state<E: Engine>(engine: &E, stream: &StreamName) -> StreamState {
    engine.journal().stream(stream).await.expect("it is read").expect("it is there")
}

/// Positions of work go, those of facts and those at which nothing is are passed over.
pub async fn work_goes_by_position<E: Engine>(engine: &mut E) {
    let (a, b) = (stream("a"), stream("b"));
    put(engine, work(&a, Any, 1..=4)).await;
    put(engine, facts(&b, Any, [5])).await;
    put(engine, removal_at([1, 3, 5, 99, u64::MAX, 0])).await;
    assert_eq!(numbers(engine, &a).await, [2, 4]);
    assert_eq!(all_numbers(engine, Work).await, [2, 4]);
    assert_eq!(numbers(engine, &b).await, [5], "facts stay");
    put(engine, removal_at([1, 3])).await;
    let read = page(engine, &a, Some(2), Backwards, ALL).await;
    assert_eq!((versions(&read.events), read.end), (vec![1], true));
    assert_eq!(state(engine, &a).await.first, Version::new(1));
    engine.restart().await;
    assert_eq!(all_numbers(engine, Work).await, [2, 4]);
}

/// A range of positions goes in its stream only.
pub async fn work_goes_by_range<E: Engine>(engine: &mut E) {
    let (a, b) = (stream("a"), stream("b"));
    for number in 0..20 {
        put(engine, work(&a, Any, [number])).await;
        put(engine, work(&b, Any, [100 + number])).await;
    }
    let rest = |gone: &[u128]| (0..20).filter(|n| !gone.contains(n)).collect::<Vec<_>>();
    // The events of `a` are at the odd positions: number n at 2n + 1.
    put(engine, removal(&a, 0..=2)).await;
    assert_eq!(numbers(engine, &a).await, rest(&[0]));
    put(engine, removal(&a, 10..=15)).await;
    assert_eq!(numbers(engine, &a).await, rest(&[0, 5, 6, 7]));
    put(engine, removal(&a, 8..=17)).await;
    assert_eq!(numbers(engine, &a).await, rest(&[0, 4, 5, 6, 7, 8]));
    put(engine, removal(&a, 6..=6)).await;
    #[expect(clippy::reversed_empty_ranges, reason = "nothing is in it, which is the case")]
    put(engine, removal(&a, 9..=3)).await;
    put(engine, removal(&stream("nobody"), 0..=99)).await;
    assert_eq!(numbers(engine, &a).await, rest(&[0, 4, 5, 6, 7, 8]));
    put(engine, removal(&a, 37..=u64::MAX)).await;
    assert_eq!(numbers(engine, &a).await, rest(&[0, 4, 5, 6, 7, 8, 18, 19]));
    put(engine, removal(&a, 0..=u64::MAX)).await;
    assert_eq!(numbers(engine, &a).await, [0_u128; 0]);
    assert_eq!(numbers(engine, &b).await, (100..120).collect::<Vec<_>>());
    put(engine, facts(&stream("f"), Any, [1])).await;
    let refused = append(engine, removal(&stream("f"), 0..=99)).await;
    assert_eq!(refused, Err(Error::WrongTable(stream("f"))));
}

/// Versions go in their stream only; what is not there yet stays, but for what the batch appends.
pub async fn work_goes_by_version<E: Engine>(engine: &mut E) {
    let (a, b) = (stream("a"), stream("b"));
    let many = [to(&a, Work, NoStream, 0..20), to(&b, Work, NoStream, 100..120)];
    put(engine, Batch { appends: many.into(), ..Batch::default() }).await;
    put(engine, removal_of(&a, [3..=3, 0..=0, 5..=7, 18..=19])).await;
    let rest = [1, 2, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];
    assert_eq!(numbers(engine, &a).await, rest);
    put(engine, removal_of(&a, [0..=3, 5..=12, 30..=40, 20..=u64::MAX])).await;
    #[expect(clippy::reversed_empty_ranges, reason = "nothing is in it, which is the case")]
    put(engine, removal_of(&a, [17..=4])).await;
    put(engine, removal_of(&stream("nobody"), [0..=99])).await;
    assert_eq!(numbers(engine, &a).await, [4, 13, 14, 15, 16, 17]);
    engine.restart().await;
    assert_eq!(numbers(engine, &a).await, [4, 13, 14, 15, 16, 17]);
    let step = |expected| {
        let appends = vec![to(&a, Work, expected, [20, 21, 22])];
        Batch { appends, ..removal_of(&a, [15..=15, 21..=21]) }
    };
    assert!(append(engine, step(exactly(18))).await.is_err());
    assert_eq!(
        numbers(engine, &a).await,
        [4, 13, 14, 15, 16, 17],
        "a refused batch removes nothing"
    );
    put(engine, step(exactly(19))).await;
    assert_eq!(numbers(engine, &a).await, [4, 13, 14, 16, 17, 20, 22]);
    engine.restart().await;
    put(engine, removal_of(&a, [0..=u64::MAX])).await;
    assert_eq!(numbers(engine, &a).await, [0_u128; 0]);
    assert_eq!(numbers(engine, &b).await, (100..120).collect::<Vec<_>>());
    assert_eq!(append(engine, work(&a, exactly(22), [23])).await, new(&[end(23, 44)]));
    put(engine, facts(&stream("f"), Any, [1])).await;
    let refused = append(engine, removal_of(&stream("f"), [0..=99])).await;
    assert_eq!(refused, Err(Error::WrongTable(stream("f"))));
}

/// As many as an engine may rather hide than delete at once.
pub async fn many_versions_go_at_once<E: Engine>(engine: &mut E) {
    let a = stream("a");
    for block in 0..12 {
        put(engine, work(&a, Any, block * 1000..(block + 1) * 1000)).await;
    }
    put(engine, removal_of(&a, [6_000..=10_999])).await;
    assert_eq!(numbers(engine, &a).await, (0..6_000).chain(11_000..12_000).collect::<Vec<_>>());
    put(engine, removal_of(&a, [0..=5_998])).await;
    engine.restart().await;
    assert_eq!(
        numbers(engine, &a).await,
        [5_999].into_iter().chain(11_000..12_000).collect::<Vec<_>>()
    );
    let all = Batch {
        appends: vec![to(&a, Work, exactly(11_999), 12_000..12_003)],
        ..removal_of(&a, [0..=12_001])
    };
    put(engine, all).await;
    assert_eq!(numbers(engine, &a).await, [12_002]);
    engine.restart().await;
    assert_eq!(all_numbers(engine, Work).await, [12_002]);
    assert_eq!(state(engine, &a).await.first, Version::new(12_002));
}

/// However much it is, none of it shows afterwards, and the stream goes on.
pub async fn a_long_range_goes_at_once<E: Engine>(engine: &mut E) {
    let a = stream("a");
    for block in 0..10 {
        put(engine, work(&a, Any, block * 1000..(block + 1) * 1000)).await;
    }
    put(engine, removal(&a, 0..=9_990)).await;
    assert_eq!(numbers(engine, &a).await, (9_990..10_000).collect::<Vec<_>>());
    assert_eq!(all_numbers(engine, Work).await, (9_990..10_000).collect::<Vec<_>>());
    assert_eq!(state(engine, &a).await.first, Version::new(9_990));
    put(engine, removal(&a, 0..=9_991)).await;
    put(engine, work(&a, exactly(9_999), [10_000])).await;
    engine.restart().await;
    assert_eq!(numbers(engine, &a).await, (9_991..=10_000).collect::<Vec<_>>());
}

/// Not after everything is removed, nor after a restart.
pub async fn positions_and_versions_are_never_given_again<E: Engine>(engine: &mut E) {
    let a = stream("a");
    put(engine, work(&a, Any, [1, 2, 3])).await;
    put(engine, removal_at([3])).await;
    assert_eq!(append(engine, work(&a, exactly(2), [4])).await, new(&[end(3, 4)]));
    put(engine, removal(&a, 1..=4)).await;
    assert_eq!(numbers(engine, &a).await, [0_u128; 0]);
    for round in 0..3 {
        engine.restart().await;
        assert_eq!(engine.journal().head().borrow().position, Position::new(4 + round));
        let done = append(engine, work(&a, exactly(3 + round), [u128::from(5 + round)])).await;
        assert_eq!(done, new(&[end(4 + round, 5 + round)]));
        put(engine, removal_at([5 + round])).await;
    }
    assert_eq!(append(engine, work(&a, Exists, [])).await, new(&[end(6, 7)]));
}

/// What takes and what gives is one step.
pub async fn removals_belong_to_their_batch<E: Engine>(engine: &mut E) {
    let (a, b) = (stream("a"), stream("b"));
    put(engine, work(&a, Any, [1, 2])).await;
    let step = |expected| Batch { appends: vec![to(&b, Work, expected, [3])], ..removal_at([1]) };
    assert!(append(engine, step(Exists)).await.is_err());
    assert_eq!(all_numbers(engine, Work).await, [1, 2]);
    put(engine, step(NoStream)).await;
    assert_eq!(all_numbers(engine, Work).await, [2, 3]);
    assert_eq!(append(engine, step(NoStream)).await, again(&[end(0, 3)]));
    let own = Batch { appends: vec![to(&a, Work, Any, [4])], ..removal_at([4]) };
    put(engine, own).await;
    assert_eq!(all_numbers(engine, Work).await, [2, 3], "a batch may remove what it appends");
}

/// `$maxCount`.
pub async fn a_stream_keeps_its_latest_events<E: Engine>(engine: &mut E) {
    let (a, b) = (stream("a"), stream("b"));
    put(engine, facts(&a, Any, 1..=5)).await;
    put(engine, facts(&b, Any, [9])).await;
    let limits = StreamMetadata { max_count: Some(2), ..StreamMetadata::default() };
    put(engine, metadata(&a, limits.clone())).await;
    assert_eq!(numbers(engine, &a).await, [4, 5]);
    assert_eq!(all_numbers(engine, Facts).await, [4, 5, 9]);
    put(engine, facts(&a, exactly(4), [6])).await;
    assert_eq!(numbers(engine, &a).await, [5, 6]);
    let read = page(engine, &a, None, Backwards, ALL).await;
    assert_eq!((versions(&read.events), read.end), (vec![5, 4], true));
    let read = page(engine, &a, Some(1), Forwards, 1).await;
    assert_eq!((versions(&read.events), read.end), (vec![4], false));
    let read = page_of_all(engine, Facts, None, u64::MAX, Backwards, ALL).await;
    assert_eq!(of(&read.events), [6, 9, 5]);
    let found = state(engine, &a).await;
    assert_eq!((found.first, found.metadata), (Version::new(4), limits));
    engine.restart().await;
    assert_eq!(all_numbers(engine, Facts).await, [5, 9, 6]);
}

/// `$maxAge`, by the clock that stamps the events.
pub async fn a_stream_keeps_its_events_for_a_time<E: Engine>(engine: &mut E) {
    let a = stream("a");
    let max_age = Some(Duration::from_secs(60));
    put(engine, metadata(&a, StreamMetadata { max_age, ..StreamMetadata::default() })).await;
    put(engine, facts(&a, Any, [1, 2])).await;
    engine.advance(Duration::from_secs(40));
    put(engine, facts(&a, Any, [3])).await;
    assert_eq!(numbers(engine, &a).await, [1, 2, 3]);
    engine.advance(Duration::from_secs(40));
    assert_eq!(numbers(engine, &a).await, [3]);
    assert_eq!(all_numbers(engine, Facts).await, [3]);
    assert_eq!(state(engine, &a).await.first, Version::new(2));
    let read = page(engine, &a, None, Backwards, ALL).await;
    assert_eq!((of(&read.events), read.end), (vec![3], true));
    engine.advance(Duration::from_secs(40));
    assert_eq!(numbers(engine, &a).await, [0_u128; 0]);
    assert_eq!(state(engine, &a).await.first, Version::new(3));
    assert_eq!(append(engine, facts(&a, exactly(2), [4])).await, new(&[end(3, 4)]));
    assert_eq!(all_numbers(engine, Facts).await, [4]);
}

/// `$tb`. What is yet to be written is not cut off by it.
pub async fn a_stream_is_truncated<E: Engine>(engine: &mut E) {
    for (name, table) in [("a", Facts), ("b", Work)] {
        let a = stream(name);
        let base = engine.journal().head().borrow().position.get();
        let many = Batch { appends: vec![to(&a, table, Any, 1..=5)], ..Batch::default() };
        put(engine, many).await;
        let before = |version| StreamMetadata {
            truncate_before: Some(Version::new(version)),
            ..StreamMetadata::default()
        };
        put(engine, metadata(&a, before(3))).await;
        assert_eq!(numbers(engine, &a).await, [4, 5]);
        assert_eq!(all_numbers(engine, table).await, [4, 5]);
        assert_eq!(state(engine, &a).await.first, Version::new(3));
        put(engine, metadata(&a, before(u64::MAX))).await;
        assert_eq!(numbers(engine, &a).await, [0_u128; 0]);
        assert_eq!(state(engine, &a).await.metadata, before(5));
        let more = Batch { appends: vec![to(&a, table, Any, [6])], ..Batch::default() };
        assert_eq!(append(engine, more).await, new(&[end(5, base + 6)]));
        assert_eq!(numbers(engine, &a).await, [6]);
    }
    engine.restart().await;
    assert_eq!(numbers(engine, &stream("a")).await, [6]);
}

/// More generous metadata brings nothing back, whether it is gone from the disk or not.
pub async fn what_was_cut_off_stays_cut_off<E: Engine>(engine: &mut E) {
    let a = stream("a");
    put(engine, facts(&a, Any, 1..=5)).await;
    let limits = StreamMetadata { max_count: Some(2), ..StreamMetadata::default() };
    put(engine, metadata(&a, limits)).await;
    put(engine, metadata(&a, StreamMetadata::default())).await;
    put(engine, facts(&a, Any, [6])).await;
    assert_eq!(numbers(engine, &a).await, [4, 5, 6]);
    let limits =
        StreamMetadata { truncate_before: Some(Version::new(5)), ..StreamMetadata::default() };
    put(engine, metadata(&a, limits)).await;
    put(engine, metadata(&a, StreamMetadata::default())).await;
    engine.restart().await;
    assert_eq!(numbers(engine, &a).await, [6]);
}

/// After everything is cut off it is as if nothing were there, but versions go on.
pub async fn a_softly_deleted_stream_begins_anew<E: Engine>(engine: &mut E) {
    let a = stream("a");
    put(engine, facts(&a, NoStream, [1, 2])).await;
    let all = StreamMetadata {
        truncate_before: Some(Version::new(u64::MAX)),
        ..StreamMetadata::default()
    };
    put(engine, metadata(&a, all)).await;
    assert_eq!(numbers(engine, &a).await, [0_u128; 0]);
    let refused = append(engine, facts(&a, Exists, [3])).await;
    assert!(matches!(refused, Err(Error::WrongExpectedVersion { .. })), "{refused:?}");
    assert_eq!(append(engine, facts(&a, NoStream, [1, 2])).await, new(&[end(3, 4)]));
    assert_eq!(append(engine, facts(&a, NoStream, [1, 2])).await, again(&[end(3, 4)]));
    assert_eq!(numbers(engine, &a).await, [1, 2]);
    assert_eq!(append(engine, facts(&a, Exists, [3])).await, new(&[end(4, 5)]));
}

/// Nothing is read or written any more, and it stays so.
pub async fn a_tombstone_is_for_ever<E: Engine>(engine: &mut E) {
    let (a, closed) = (stream("a"), Err(Error::Tombstone(stream("a"))));
    put(engine, facts(&a, Any, [1])).await;
    put(engine, facts(&stream("b"), Any, [2])).await;
    let tombstone = StreamMetadata { tombstone: true, ..StreamMetadata::default() };
    put(engine, metadata(&a, tombstone.clone())).await;
    for expected in [Any, NoStream, Exists, exactly(0)] {
        assert_eq!(append(engine, facts(&a, expected, [3])).await, closed);
    }
    assert_eq!(append(engine, metadata(&a, StreamMetadata::default())).await, closed);
    engine.restart().await;
    assert_eq!(append(engine, facts(&a, Any, [3])).await, closed);
    let read = crate::ReadStream {
        stream: a.clone(),
        from: None,
        direction: Forwards,
        limit: 1,
        bytes: ALL,
    };
    assert_eq!(engine.journal().read_stream(read).await, Err(Error::Tombstone(a.clone())));
    assert_eq!(all_numbers(engine, Facts).await, [2]);
    assert_eq!(state(engine, &a).await.metadata, tombstone);
}

fn checkpoint(stream: &StreamName, version: Option<u64>, data: &'static [u8]) -> Batch {
    let checkpoint = Checkpoint {
        stream: stream.clone(),
        version: version.map(Version::new),
        format: 3,
        data: Bytes::from_static(data),
    };
    Batch { checkpoint: Some(checkpoint), ..Batch::default() }
}

/// The last one by each name is there, after a restart as well.
pub async fn a_checkpoint_replaces_the_one_before<E: Engine>(engine: &mut E) {
    let (a, b) = (StreamName::internal("a"), stream("a"));
    put(engine, checkpoint(&a, None, b"empty")).await;
    put(engine, facts(&a, Any, [1, 2])).await;
    put(engine, checkpoint(&a, Some(0), b"one")).await;
    put(engine, checkpoint(&b, None, b"other")).await;
    put(engine, checkpoint(&a, Some(1), b"two")).await;
    engine.restart().await;
    let journal = engine.journal();
    assert_eq!(journal.checkpoint(&a).await, Ok(checkpoint(&a, Some(1), b"two").checkpoint));
    assert_eq!(journal.checkpoint(&b).await, Ok(checkpoint(&b, None, b"other").checkpoint));
    assert_eq!(journal.checkpoint(&stream("c")).await, Ok(None));
}

/// It is there when the events are, and only then.
pub async fn a_checkpoint_belongs_to_its_batch<E: Engine>(engine: &mut E) {
    let a = StreamName::internal("a");
    let step = |expected| Batch {
        appends: vec![to(&a, Facts, expected, [1])],
        ..checkpoint(&a, Some(0), b"one")
    };
    assert!(append(engine, step(Exists)).await.is_err());
    assert_eq!(engine.journal().checkpoint(&a).await, Ok(None));
    put(engine, step(NoStream)).await;
    assert_eq!(
        engine.journal().checkpoint(&a).await,
        Ok(checkpoint(&a, Some(0), b"one").checkpoint)
    );
}

/// It would leave out what is yet to be written.
pub async fn a_checkpoint_is_not_ahead_of_its_stream<E: Engine>(engine: &mut E) {
    let a = StreamName::internal("a");
    put(engine, facts(&a, Any, [1])).await;
    let refused = append(engine, checkpoint(&a, Some(1), b"ahead")).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    let refused = append(engine, checkpoint(&stream("b"), Some(0), b"ahead")).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_eq!(engine.journal().checkpoint(&a).await, Ok(None));
}
