//! What expressions see of a call: `request` and `identity`. Both are asked for what an expression names,
//! so that nothing is made of a call that nobody looks at.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;
use posthouse_expression::{Failure, Held, List, Map, Object, Program, Root, Value};

use super::seam::{Asked, Identity};
use crate::http::head::Fields;

/// What expressions may use at their root.
pub const ROOTS: [Root; 2] = [
    Root {
        name: "request",
        fields: &["method", "scheme", "host", "path", "query", "headers", "client", "time"],
    },
    Root {
        name: "identity",
        fields: &[
            "known", "provider", "subject", "consumer", "plan", "key", "scopes", "roles", "claims",
        ],
    },
];

/// What is known of a call when its permissions are judged.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What was asked.
    pub asked: Asked<'a>,
    /// Who asks, if that is known.
    pub identity: Option<&'a Identity>,
    /// Now, in seconds of the Unix epoch.
    pub time: u64,
}

/// Now, in seconds of the Unix epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Whether a condition holds.
///
/// # Errors
/// When it cannot be evaluated.
pub fn condition(program: &Program, facts: &Facts<'_>) -> Result<bool, Failure> {
    let request = Request(facts);
    let caller = Caller(facts.identity);
    program.holds(&roots(&request, &caller))
}

/// The value of an expression as a key under which calls are counted. `None` when it has none.
#[must_use]
pub fn key(program: &Program, facts: &Facts<'_>) -> Option<String> {
    let request = Request(facts);
    let caller = Caller(facts.identity);
    let value = program.evaluate(&roots(&request, &caller)).ok()?;
    value.to_key().map(Cow::into_owned)
}

fn roots<'a>(request: &'a Request<'a>, caller: &'a Caller<'a>) -> [Value<'a>; 2] {
    [Value::Map(Map::Object(request)), Value::Map(Map::Object(caller))]
}

/// `request`
struct Request<'a>(&'a Facts<'a>);

impl Object for Request<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let asked = &self.0.asked;
        let (path, query) = split(asked.path_and_query);
        Some(match name {
            "method" => Value::text(Method::as_str(asked.method)),
            "scheme" => Value::text(asked.scheme),
            "host" => Value::made(host(asked.authority)),
            "path" => Value::text(path),
            "query" => query_of(query),
            "headers" => Value::Map(Map::Object(asked.fields)),
            "client" => Value::made(address(asked.client)),
            "time" => Value::Int(i64::try_from(self.0.time).unwrap_or(i64::MAX)),
            _ => return None,
        })
    }

    fn names(&self) -> Vec<Held<'_, str>> {
        ROOTS[0].fields.iter().map(|name| Held::Borrowed(*name)).collect()
    }
}

/// `identity`
struct Caller<'a>(Option<&'a Identity>);

impl Object for Caller<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        const NONE: &[Box<str>] = &[];
        let identity = self.0;
        let list = |of: fn(&Identity) -> &Vec<Box<str>>| {
            Value::List(List::Texts(identity.map_or(NONE, |identity| of(identity))))
        };
        let text = |of: fn(&Identity) -> Option<&str>| Value::text_or_null(identity.and_then(of));
        Some(match name {
            "known" => Value::Bool(identity.is_some()),
            "provider" => text(|identity| Some(&identity.provider)),
            "subject" => text(|identity| Some(&identity.subject)),
            "consumer" => text(|identity| identity.consumer.as_deref()),
            "plan" => text(|identity| identity.plan.as_deref()),
            "key" => text(|identity| identity.key.as_deref()),
            "scopes" => list(|identity| &identity.scopes),
            "roles" => list(|identity| &identity.roles),
            "claims" => match identity {
                Some(identity) => Value::Map(Map::Json(&identity.claims)),
                None => Value::Map(Map::Made(Vec::new().into())),
            },
            _ => return None,
        })
    }

    fn names(&self) -> Vec<Held<'_, str>> {
        ROOTS[1].fields.iter().map(|name| Held::Borrowed(*name)).collect()
    }
}

/// `request.headers`: names in lower case, several values of one name joined by `, `.
impl Object for Fields {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let mut values = self
            .iter()
            .filter(|(_, held, _)| held.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, _, value)| value);
        let first = text(values.next()?);
        let Some(second) = values.next() else {
            return Some(match first {
                Cow::Borrowed(first) => Value::text(first),
                Cow::Owned(first) => Value::made(first),
            });
        };
        let mut all = first.into_owned();
        for value in std::iter::once(second).chain(values) {
            all.push_str(", ");
            all.push_str(&text(value));
        }
        Some(Value::made(all))
    }

    fn names(&self) -> Vec<Held<'_, str>> {
        let mut names: Vec<String> = self
            .iter()
            .map(|(_, name, _)| String::from_utf8_lossy(name).to_ascii_lowercase())
            .collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| Held::Made(name.into())).collect()
    }
}

fn text(value: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(value)
}

/// The host without its port, in lower case, without a final dot.
fn host(authority: &[u8]) -> String {
    let authority = text(authority);
    let host = match authority.rfind(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// An address as expressions see it: IPv4 in its own form wherever it came by.
fn address(client: SocketAddr) -> String {
    client.ip().to_canonical().to_string()
}

fn split(path_and_query: &[u8]) -> (&str, &str) {
    // Checked before: all of a target is ASCII.
    let whole = std::str::from_utf8(path_and_query).unwrap_or_default();
    whole.split_once('?').unwrap_or((whole, ""))
}

/// The query's parameters, decoded; of several of one name the first.
fn query_of<'a>(query: &str) -> Value<'a> {
    let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name);
        let is_known =
            |(held, _): &(Value<'_>, Value<'_>)| held.to_key().as_deref() == Some(&*name);
        if !made.iter().any(is_known) {
            made.push((Value::made(&*name), Value::made(decoded(value))));
        }
    }
    Value::Map(Map::Made(made.into()))
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}
