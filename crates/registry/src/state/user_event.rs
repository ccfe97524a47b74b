//! User events: short messages to whoever listens. They are kept in memory only, the newest ones,
//! and are no facts: who was not there has missed them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use regex::{Regex, RegexBuilder};

use super::State;
use super::apply::Step;
use super::command::{Effect, Topic};
use super::model::Index;

/// How many events are remembered.
pub const MAX_REMEMBERED: usize = 256;

/// How large a regular expression of a filter may become, in bytes.
const MAX_REGEX: usize = 64 * 1024;

/// A message to whoever listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEvent {
    /// Its id: a UUID, given by the registry.
    pub id: String,
    /// What it is about.
    pub name: String,
    /// What it says.
    pub payload: Bytes,
    /// A regular expression for the nodes that it is for; empty for all.
    pub node: String,
    /// A regular expression for the services whose nodes it is for; empty for all.
    pub service: String,
    /// A regular expression for a tag that such a service must have; empty for any.
    pub tag: String,
}

/// Something that happened to user events. Volatile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One was fired, and is for this node.
    Fired(Arc<UserEvent>),
}

/// Why an event was not fired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has a tag, but no service that could have it.
    #[error("Cannot provide tag filter without service filter")]
    TagWithoutService,
    /// A filter is not a regular expression within bounds.
    #[error("Invalid {filter} filter: {why}")]
    BadFilter {
        /// Which filter.
        filter: &'static str,
        /// What is wrong with it, in one line.
        why: String,
    },
}

/// The newest events, oldest first, each with its number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserEvents {
    newest: VecDeque<(u64, Arc<UserEvent>)>,
    fired: u64,
}

impl UserEvents {
    /// The events, oldest first, each with its number in the order of firing.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(u64, Arc<UserEvent>)> {
        self.newest.iter()
    }
}

impl UserEvent {
    /// The number by which clients tell whether there is a newer event than this one: the halves of
    /// its id, one upon the other, as Consul computes it. It may be smaller for a newer event.
    #[must_use]
    pub fn index(&self) -> Index {
        let digits = self.id.bytes().filter_map(|byte| char::from(byte).to_digit(16));
        let whole = digits.fold(0_u128, |whole, digit| (whole << 4) | u128::from(digit));
        let bytes = whole.to_be_bytes();
        let halves = bytes[..8].iter().zip(&bytes[8..]);
        Index::new(halves.fold(0, |index, (high, low)| (index << 8) | u64::from(high ^ low)))
    }
}

impl State {
    /// The newest user events.
    #[must_use]
    pub const fn user_events(&self) -> &UserEvents {
        &self.user_events
    }

    /// An event that is not for this node has been fired, and does not happen here.
    pub(super) fn decide_user_event(&self, event: UserEvent) -> Result<Option<Event>, Refusal> {
        if !event.tag.is_empty() && event.service.is_empty() {
            return Err(Refusal::TagWithoutService);
        }
        let node = pattern("node", &event.node)?;
        let service = pattern("service", &event.service)?;
        let tag = pattern("tag", &event.tag)?;
        if node.is_some_and(|node| !node.is_match(self.own.as_str())) {
            return Ok(None);
        }
        if let Some(service) = service {
            let here = self.nodes.get(&self.own).into_iter().flat_map(|own| own.instances.values());
            let mut services = here.map(|entry| &entry.instance.value);
            let is_for_us = services.any(|instance| {
                let mut tags = instance.tags.iter();
                service.is_match(instance.service.as_str())
                    && tag.as_ref().is_none_or(|tag| tags.any(|own| tag.is_match(own)))
            });
            if !is_for_us {
                return Ok(None);
            }
        }
        Ok(Some(Event::Fired(Arc::new(event))))
    }

    pub(super) fn apply_user_event(&mut self, Event::Fired(event): &Event, step: &mut Step) {
        let events = &mut self.user_events;
        if events.newest.len() >= MAX_REMEMBERED {
            events.newest.pop_front();
        }
        events.fired += 1;
        events.newest.push_back((events.fired, Arc::clone(event)));
        // Not a change of what is stored: it moves no index but its own.
        step.effects.push(Effect::Wake(Topic::UserEvents));
    }
}

fn pattern(filter: &'static str, text: &str) -> Result<Option<Regex>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let regex = RegexBuilder::new(text).size_limit(MAX_REGEX).build();
    regex.map(Some).map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Refusal::BadFilter { filter, why }
    })
}
