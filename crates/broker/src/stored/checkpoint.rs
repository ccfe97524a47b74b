//! The state as it is written down now and then: what there is, and of each lane ranges of numbers.
//! Messages stay where they are.

use super::bytes::{Reader, Writer};
use super::entry::{read_lane, read_reason, write_lane, written_reason};
use super::{Unreadable, definition};
use crate::state::{Image, LaneImage};

/// Counted up when older versions could not read it.
pub(crate) const FORMAT: u32 = 1;

pub(crate) fn written(image: &Image) -> bytes::Bytes {
    let Image { mark, next_queue, definitions, lanes, expiring } = image;
    let mut writer = Writer::default();
    writer.number(*mark);
    writer.number(*next_queue);
    writer.count(definitions.len());
    definitions.iter().for_each(|defined| definition::write(&mut writer, defined));
    writer.count(lanes.len());
    for lane in lanes {
        write_lane_image(&mut writer, lane);
    }
    writer.count(expiring.len());
    expiring.iter().for_each(|queue| writer.number(queue.get()));
    writer.finish()
}

pub(crate) fn read(data: &[u8]) -> Result<Image, Unreadable> {
    let mut reader = Reader::new(data);
    Ok(Image {
        mark: reader.number()?,
        next_queue: reader.number()?,
        definitions: reader.list(definition::read)?,
        lanes: reader.list(read_lane_image)?,
        expiring: reader.list(|reader| reader.number().map(crate::ids::QueueId::new))?,
    })
}

fn write_lane_image(writer: &mut Writer, image: &LaneImage) {
    let LaneImage { lane, next, kept, kept_bytes, reached, dying, counts } = image;
    write_lane(writer, *lane);
    writer.number(*next);
    writer.count(kept.len());
    let mut last = 0;
    for (from, end) in kept {
        writer.number(from - last);
        writer.number(end - from);
        last = *end;
    }
    writer.number(*kept_bytes);
    writer.number(*reached);
    writer.count(dying.len());
    for (seq, reason) in dying {
        writer.number(*seq);
        writer.byte(written_reason(*reason));
    }
    writer.count(counts.len());
    for (seq, count) in counts {
        writer.number(*seq);
        writer.number((*count).into());
    }
}

fn read_lane_image(reader: &mut Reader<'_>) -> Result<LaneImage, Unreadable> {
    let lane = read_lane(reader)?;
    let next = reader.number()?;
    let mut last = 0_u64;
    let count = reader.count()?;
    let mut kept = Vec::with_capacity(count);
    for _ in 0..count {
        let from = last.saturating_add(reader.number()?);
        last = from.saturating_add(reader.number()?);
        kept.push((from, last));
    }
    Ok(LaneImage {
        lane,
        next,
        kept,
        kept_bytes: reader.number()?,
        reached: reader.number()?,
        dying: reader.list(|reader| Ok((reader.number()?, read_reason(reader.byte()?)?)))?,
        counts: reader.list(|reader| {
            let (seq, count) = (reader.number()?, reader.number()?);
            Ok((seq, u32::try_from(count).unwrap_or(u32::MAX)))
        })?,
    })
}
