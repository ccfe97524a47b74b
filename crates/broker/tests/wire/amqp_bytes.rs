//! What must hold for any bytes that a client sends over AMQP. The fuzz target and the replay of its
//! corpus call [`holds`].

use bytes::BytesMut;
use posthouse_broker::amqp::wire::{
    Frame, Kind, Method, Splitter, read_header, write_header, write_method,
};

/// Small, so that inputs are.
const FRAME_MAX: u32 = 512;

/// Frames, and what ended them: the text of a fault, or how many bytes wait for more.
type Split = (Vec<Frame>, Result<usize, String>);

/// Panics when something does not hold. The first byte says how the rest is cut into reads.
pub fn holds(input: &[u8]) {
    let Some((cut, input)) = input.split_first() else { return };
    let whole = split(input, input.len().max(1));
    assert_eq!(split(input, usize::from(*cut).max(1)), whole, "reads make a difference");
    for frame in &whole.0 {
        assert!(frame.payload.len() + 8 <= 512, "a frame larger than agreed");
        match frame.kind {
            Kind::Method => method(&frame.payload),
            Kind::Header => header(&frame.payload),
            Kind::Body | Kind::Heartbeat => {}
        }
    }
}

/// Frames of what comes in pieces of this size.
fn split(input: &[u8], piece: usize) -> Split {
    let splitter = Splitter::new(FRAME_MAX);
    let (mut received, mut frames) = (BytesMut::new(), Vec::new());
    for piece in input.chunks(piece) {
        received.extend_from_slice(piece);
        loop {
            match splitter.next(&mut received) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(fault) => return (frames, Err(fault.text)),
            }
        }
    }
    (frames, Ok(received.len()))
}

/// A method that can be read is read as the same once it is written. Not every byte need be: of a
/// truth any but 0 will do, and there are bits without a meaning.
fn method(payload: &[u8]) {
    let Ok(read) = Method::read(payload) else { return };
    let mut once = BytesMut::new();
    write_method(&mut once, 1, &read);
    let payload = payload_of(&once);
    let again = Method::read(payload).expect("what was written can be read");
    assert_eq!(again.id(), read.id());
    let mut twice = BytesMut::new();
    write_method(&mut twice, 1, &again);
    assert_eq!(once, twice);
}

fn header(payload: &[u8]) {
    let Ok((size, properties)) = read_header(payload) else { return };
    let mut once = BytesMut::new();
    write_header(&mut once, 1, size, &properties);
    let payload = payload_of(&once);
    let (again_size, again) = read_header(payload).expect("what was written can be read");
    assert_eq!(again_size, size);
    let mut twice = BytesMut::new();
    write_header(&mut twice, 1, again_size, &again);
    assert_eq!(once, twice);
}

fn payload_of(frame: &[u8]) -> &[u8] {
    &frame[7..frame.len() - 1]
}
