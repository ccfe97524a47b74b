//! Lines and columns of mistakes. Looked up only when there are some: a document that can be read
//! needs none.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser};

use crate::contract::{Mistake, Unreadable};
use crate::history::escaped;

/// The most values whose places are looked at.
const MAX_EVENTS: usize = 2_000_000;

/// The mistakes with their places, as far as those can be found: at the value itself, or at the
/// nearest that it lies in.
pub(super) fn located(text: &str, mistakes: Vec<Mistake>) -> Unreadable {
    let mut wanted: HashMap<&str, Option<(usize, usize)>> = HashMap::new();
    for mistake in mistakes.iter().filter(|mistake| mistake.place.is_none()) {
        let mut pointer = mistake.pointer.as_str();
        loop {
            wanted.insert(pointer, None);
            match pointer.rfind('/') {
                Some(at) => pointer = &pointer[..at],
                None => break,
            }
        }
    }
    find(text, &mut wanted);
    let places: HashMap<String, (usize, usize)> = wanted
        .into_iter()
        .filter_map(|(pointer, place)| Some((pointer.to_owned(), place?)))
        .collect();
    let located = mistakes.into_iter().map(|mut mistake| {
        let mut pointer = mistake.pointer.as_str();
        while mistake.place.is_none() {
            mistake.place = places.get(pointer).copied();
            match pointer.rfind('/') {
                Some(at) => pointer = &pointer[..at],
                None => break,
            }
        }
        mistake
    });
    let none = || Mistake::at("", "it cannot be read");
    Unreadable::of(located.collect()).unwrap_or_else(|| none().into())
}

/// A list or mapping whose end has not come.
enum Frame {
    /// How many items there were.
    Sequence(usize),
    /// The key, with where it is, once it has come.
    Mapping(Option<(String, (usize, usize))>),
}

/// JSON is YAML as far as places go, so one way does for both.
fn find(text: &str, wanted: &mut HashMap<&str, Option<(usize, usize)>>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut frames: Vec<Frame> = Vec::new();
    let mut pointer = String::new();
    let mut lengths: Vec<usize> = Vec::new();
    for event in Parser::new_from_str(text).take(MAX_EVENTS) {
        // What cannot be read ends the search: what was found until then is of use.
        let Ok((event, span)) = event else { return };
        if matches!(event, Event::SequenceEnd | Event::MappingEnd) {
            frames.pop();
            pointer.truncate(lengths.pop().unwrap_or_default());
            continue;
        }
        let is_value = matches!(
            event,
            Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::MappingStart(..)
                | Event::Alias(_)
        );
        if !is_value {
            continue;
        }
        if let (Some(Frame::Mapping(key @ None)), Event::Scalar(text, ..)) =
            (frames.last_mut(), &event)
        {
            *key = Some((text.to_string(), place(span.start)));
            continue;
        }
        let before = pointer.len();
        let mut at = place(span.start);
        match frames.last_mut() {
            None => {}
            Some(Frame::Sequence(count)) => {
                pointer.push_str(&format!("/{count}"));
                *count += 1;
            }
            Some(Frame::Mapping(key)) => {
                let Some((key, key_at)) = key.take() else { return };
                pointer.push_str(&format!("/{}", escaped(&key)));
                at = key_at;
            }
        }
        if let Some(place) = wanted.get_mut(pointer.as_str()) {
            place.get_or_insert(at);
        }
        match event {
            Event::SequenceStart(..) => {
                frames.push(Frame::Sequence(0));
                lengths.push(before);
            }
            Event::MappingStart(..) => {
                frames.push(Frame::Mapping(None));
                lengths.push(before);
            }
            _ => pointer.truncate(before),
        }
    }
}

fn place(marker: Marker) -> (usize, usize) {
    (marker.line(), marker.col() + 1)
}
