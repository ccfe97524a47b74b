//! Exchanges and what is bound to them.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::command::Kind;
use super::topic::Topics;
use crate::ids::{ExchangeName, QueueId, RoutingKey, VhostName};
use crate::message::{Table, Value};

/// Where a binding leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// Into a queue.
    Queue(QueueId),
    /// On to an exchange.
    Exchange(ExchangeName),
}

/// An exchange as it is declared.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeSpec {
    /// Where.
    pub vhost: VhostName,
    /// Its name.
    pub name: ExchangeName,
    /// How it routes.
    pub kind: Kind,
    /// Whether it is there after a restart.
    pub durable: bool,
    /// Whether it goes with the last of its bindings.
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    pub internal: bool,
    /// `alternate-exchange`, and whatever else.
    pub arguments: Table,
}

impl ExchangeSpec {
    /// Whether it is one of those that are in every virtual host.
    #[must_use]
    pub fn is_predefined(&self) -> bool {
        PREDEFINED.iter().any(|(name, _)| *name == self.name.as_str())
    }

    /// One of those that are in every virtual host.
    pub(crate) fn predefined(vhost: &VhostName, name: &str, kind: Kind) -> Self {
        Self {
            vhost: vhost.clone(),
            name: name.into(),
            kind,
            durable: true,
            auto_delete: false,
            internal: name == "amq.rabbitmq.trace",
            arguments: Table::new(),
        }
    }
}

/// Those that are in every virtual host, but for the default one.
pub(crate) const PREDEFINED: [(&str, Kind); 7] = [
    ("amq.direct", Kind::Direct),
    ("amq.fanout", Kind::Fanout),
    ("amq.headers", Kind::Headers),
    ("amq.match", Kind::Headers),
    ("amq.rabbitmq.log", Kind::Topic),
    ("amq.rabbitmq.trace", Kind::Topic),
    ("amq.topic", Kind::Topic),
];

/// A binding.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Where.
    pub vhost: VhostName,
    /// The exchange that messages come from.
    pub source: ExchangeName,
    /// Where they go.
    pub destination: Destination,
    /// By which key, or pattern.
    pub key: RoutingKey,
    /// By which headers.
    pub arguments: Table,
    /// Whether it is there after a restart.
    pub durable: bool,
}

/// An exchange with its bindings.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) spec: Arc<ExchangeSpec>,
    pub(crate) alternate: Option<ExchangeName>,
    /// Where each binding leads, by key; those with other arguments beside each other.
    bindings: Vec<Arc<Binding>>,
    by_key: HashMap<RoutingKey, Vec<Arc<Binding>>, RandomState>,
    by_pattern: Topics<Destination>,
}

impl Exchange {
    pub(crate) fn new(spec: Arc<ExchangeSpec>) -> Self {
        let alternate = spec.arguments.get("alternate-exchange").and_then(Value::as_text);
        let alternate = alternate.map(ExchangeName::from);
        Self {
            spec,
            alternate,
            bindings: Vec::new(),
            by_key: HashMap::default(),
            by_pattern: Topics::default(),
        }
    }

    pub(crate) fn bindings(&self) -> &[Arc<Binding>] {
        &self.bindings
    }

    /// The binding that is just so.
    pub(crate) fn binding(
        &self,
        destination: &Destination,
        key: &RoutingKey,
        arguments: &Table,
    ) -> Option<&Arc<Binding>> {
        let is_it = |binding: &&Arc<Binding>| {
            binding.destination == *destination && binding.arguments == *arguments
        };
        self.by_key.get(key)?.iter().find(is_it)
    }

    pub(crate) fn bind(&mut self, binding: Arc<Binding>) {
        if self.spec.kind == Kind::Topic {
            self.by_pattern.insert(binding.key.as_str(), binding.destination.clone());
        }
        self.by_key.entry(binding.key.clone()).or_default().push(Arc::clone(&binding));
        self.bindings.push(binding);
    }

    /// Takes a binding away; whether it was there.
    pub(crate) fn unbind(&mut self, binding: &Binding) -> bool {
        let is_it = |there: &Arc<Binding>| {
            there.destination == binding.destination
                && there.key == binding.key
                && there.arguments == binding.arguments
        };
        let Some(place) = self.bindings.iter().position(is_it) else { return false };
        self.bindings.swap_remove(place);
        if let Some(same) = self.by_key.get_mut(&binding.key) {
            same.retain(|there| !is_it(there));
            if same.is_empty() {
                self.by_key.remove(&binding.key);
            }
        }
        if self.spec.kind == Kind::Topic {
            self.by_pattern.remove(binding.key.as_str(), &binding.destination);
        }
        true
    }

    /// Calls `visit` with where a message goes from here; the same place perhaps more than once.
    pub(crate) fn route<'a>(
        &'a self,
        key: &str,
        headers: Option<&Table>,
        mut visit: impl FnMut(&'a Destination),
    ) {
        match self.spec.kind {
            Kind::Direct => {
                let bound = self.by_key.get(key).into_iter().flatten();
                bound.for_each(|binding| visit(&binding.destination));
            }
            Kind::Fanout => self.bindings.iter().for_each(|binding| visit(&binding.destination)),
            Kind::Topic => self.by_pattern.find(key, visit),
            Kind::Headers => {
                let nothing = Table::new();
                let headers = headers.unwrap_or(&nothing);
                for binding in &self.bindings {
                    if has_headers(&binding.arguments, headers) {
                        visit(&binding.destination);
                    }
                }
            }
        }
    }
}

/// Whether `headers` are as a binding wants them. `x-match` is `all` unless it says `any`; fields that
/// begin with `x-` count only for `all-with-x` and `any-with-x`.
fn has_headers(wanted: &Table, headers: &Table) -> bool {
    let how = wanted.get("x-match").and_then(Value::as_text).unwrap_or("all");
    let with_x = how.ends_with("-with-x");
    let mut counted =
        wanted.iter().filter(|(key, _)| *key != "x-match" && (with_x || !key.starts_with("x-")));
    // A binding that wants a field without a value wants only that it is there.
    let is_there = |(key, value): (&str, &Value)| {
        headers.get(key).is_some_and(|there| *value == Value::Void || same(value, there))
    };
    if how.starts_with("any") { counted.any(is_there) } else { counted.all(is_there) }
}

/// Whether two values are the same to a headers exchange: numbers whatever their width.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_integer(), other.as_integer()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(fields: &[(&str, &str)]) -> Table {
        fields.iter().map(|(key, value)| (Arc::from(*key), Value::text(value))).collect()
    }

    #[test]
    fn headers_are_matched_by_all_or_any() {
        let check = |wanted: &[(&str, &str)], headers: &[(&str, &str)], is: bool| {
            let found = has_headers(&table(wanted), &table(headers));
            assert_eq!(found, is, "{wanted:?} {headers:?}");
        };
        check(&[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2"), ("c", "3")], true);
        check(&[("a", "1"), ("b", "2")], &[("a", "1")], false);
        check(&[("x-match", "any"), ("a", "1"), ("b", "2")], &[("b", "2")], true);
        check(&[("x-match", "any"), ("a", "1")], &[("a", "2")], false);
        check(&[("x-match", "any")], &[("a", "2")], false);
        check(&[], &[], true);
        check(&[("x-match", "all"), ("x-a", "1")], &[], true);
        check(&[("x-match", "all-with-x"), ("x-a", "1")], &[], false);
        check(&[("x-match", "any-with-x"), ("x-a", "1")], &[("x-a", "1")], true);
        check(&[("x-match", "any"), ("x-a", "1")], &[("x-a", "1")], false);
        let wanted = Table::from_iter([(Arc::from("n"), Value::I64(5))]);
        assert!(has_headers(&wanted, &Table::from_iter([(Arc::from("n"), Value::U8(5))])));
        let wanted = Table::from_iter([(Arc::from("n"), Value::Void)]);
        assert!(has_headers(&wanted, &table(&[("n", "whatever")])));
    }
}
