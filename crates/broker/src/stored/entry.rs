//! A command's durable events as one entry, with the messages that it puts into streams and takes out
//! of them.

use std::sync::Arc;

use posthouse_journal::driver::{Entry, Keep, Work};
use posthouse_journal::{Format, Removal, StreamName, Version};

use super::bytes::{Reader, Writer};
use super::definition;
use super::{Unreadable, message};
use crate::ids::{LaneId, QueueId};
use crate::state::{Definition, Event, Fact, Placed, Reason};

/// What entries are called in the journal.
const KIND: &str = "messages.changed";
/// Counted up when older versions could not read them.
const FORMAT: u8 = 1;

const DEFINED: u8 = 1;
const PLACED: u8 = 2;
const REMOVED: u8 = 3;
const DIED: u8 = 4;
const COUNTED: u8 = 5;
const REACHED: u8 = 6;

/// What is kept of a command; `None` when nothing is.
pub(crate) fn keep(events: &[Event]) -> Option<Keep> {
    if !events.iter().any(Event::is_kept) {
        return None;
    }
    let mut writer = Writer::default();
    writer.byte(FORMAT);
    let (mut work, mut removals) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Defined(defined) if defined.is_kept() => {
                writer.byte(DEFINED);
                definition::write(&mut writer, defined);
                if let Definition::QueueDeleted { streams, .. } = defined {
                    let all = |(stream, next): &(StreamName, u64)| versions(stream, 0, *next);
                    removals.extend(streams.iter().map(all));
                }
            }
            Event::Placed(placed) => place(&mut writer, placed, &mut work),
            Event::Removed(removed) => {
                writer.byte(REMOVED);
                write_lane(&mut writer, removed.lane);
                writer.count(removed.ranges.len());
                let mut last = 0;
                for (from, end) in &removed.ranges {
                    writer.number(from - last);
                    writer.number(end - from);
                    last = *end;
                    removals.push(versions(&removed.stream, *from, *end));
                }
                writer.number(removed.bytes);
            }
            Event::Died { lane, seqs, reason } => {
                writer.byte(DIED);
                write_lane(&mut writer, *lane);
                writer.byte(written_reason(*reason));
                write_seqs(&mut writer, seqs);
            }
            Event::Counted { lane, seqs } => {
                writer.byte(COUNTED);
                write_lane(&mut writer, *lane);
                write_seqs(&mut writer, seqs);
            }
            Event::Reached { lane, seq } => {
                writer.byte(REACHED);
                write_lane(&mut writer, *lane);
                writer.number(*seq);
            }
            _ => {}
        }
    }
    let entry = Entry { kind: Arc::from(KIND), format: Format::Binary, data: writer.finish() };
    Some(Keep { entry, work, removals })
}

/// Writes runs of messages that follow each other in a lane, and gives them to its stream.
fn place(writer: &mut Writer, placed: &[Placed], work: &mut Vec<Work>) {
    let kind = message::kind();
    let mut kept: Vec<(LaneId, u64, &Placed)> =
        placed.iter().filter_map(|placed| Some((placed.lane, placed.seq?, placed))).collect();
    kept.sort_by_key(|(lane, seq, _)| (*lane, *seq));
    for run in kept.chunk_by(|one, other| one.0 == other.0 && one.1 + 1 == other.1) {
        let (lane, first, placed) = run[0];
        writer.byte(PLACED);
        write_lane(writer, lane);
        writer.number(first);
        let expire =
            run.iter().any(|(_, _, placed)| placed.message.properties.expiration.is_some());
        writer.flag(expire);
        writer.count(run.len());
        for (_, _, placed) in run {
            writer.count(placed.message.body.len());
        }
        let items = run.iter().map(|(_, _, placed)| message::written(&placed.message, &kind));
        let (stream, items) = (placed.stream.clone(), items.collect());
        work.push(Work { stream, first: Version::new(first), items });
    }
}

/// An entry, read back.
pub(crate) fn facts(data: &[u8]) -> Result<Vec<Fact>, Unreadable> {
    let mut reader = Reader::new(data);
    if reader.byte()? != FORMAT {
        return Err(Unreadable("its format is not known to this version"));
    }
    let mut facts = Vec::new();
    while !reader.is_empty() {
        facts.push(fact(&mut reader)?);
    }
    Ok(facts)
}

fn fact(reader: &mut Reader<'_>) -> Result<Fact, Unreadable> {
    Ok(match reader.byte()? {
        DEFINED => Fact::Defined(definition::read(reader)?),
        PLACED => {
            let lane = read_lane(reader)?;
            let first = reader.number()?;
            let expire = reader.flag()?;
            Fact::Placed { lane, first, expire, sizes: reader.list(Reader::number)? }
        }
        REMOVED => {
            let lane = read_lane(reader)?;
            let count = reader.count()?;
            let mut last = 0_u64;
            let mut ranges = Vec::with_capacity(count);
            for _ in 0..count {
                let from = last.saturating_add(reader.number()?);
                last = from.saturating_add(reader.number()?);
                ranges.push((from, last));
            }
            Fact::Removed { lane, ranges, bytes: reader.number()? }
        }
        DIED => {
            let lane = read_lane(reader)?;
            let reason = read_reason(reader.byte()?)?;
            Fact::Died { lane, reason, seqs: read_seqs(reader)? }
        }
        COUNTED => Fact::Counted { lane: read_lane(reader)?, seqs: read_seqs(reader)? },
        REACHED => Fact::Reached { lane: read_lane(reader)?, seq: reader.number()? },
        _ => return Err(Unreadable("a later version wrote it")),
    })
}

fn versions(stream: &StreamName, from: u64, end: u64) -> Removal {
    let versions = Version::new(from)..=Version::new(end.saturating_sub(1));
    Removal::Versions { stream: stream.clone(), versions }
}

pub(super) fn write_lane(writer: &mut Writer, lane: LaneId) {
    writer.number(lane.queue.get());
    writer.byte(lane.priority);
}

pub(super) fn read_lane(reader: &mut Reader<'_>) -> Result<LaneId, Unreadable> {
    Ok(LaneId { queue: QueueId::new(reader.number()?), priority: reader.byte()? })
}

fn write_seqs(writer: &mut Writer, seqs: &[u64]) {
    writer.count(seqs.len());
    seqs.iter().for_each(|seq| writer.number(*seq));
}

fn read_seqs(reader: &mut Reader<'_>) -> Result<Vec<u64>, Unreadable> {
    reader.list(Reader::number)
}

pub(super) const fn written_reason(reason: Reason) -> u8 {
    match reason {
        Reason::Rejected => 1,
        Reason::Expired => 2,
        Reason::MaxLen => 3,
        Reason::DeliveryLimit => 4,
    }
}

pub(super) fn read_reason(written: u8) -> Result<Reason, Unreadable> {
    Ok(match written {
        1 => Reason::Rejected,
        2 => Reason::Expired,
        3 => Reason::MaxLen,
        4 => Reason::DeliveryLimit,
        _ => return Err(Unreadable("a later version wrote it")),
    })
}
