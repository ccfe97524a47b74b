//! `/v1/kv/…`: keys with values, and the locks on them.

use std::pin::pin;

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::App;
use super::ask::{Ask, timer};
use super::body::Value;
use super::reply::{self, Answer, Fault};
use crate::access::Kind;
use crate::error::Error;
use crate::state::kv::{self, Entry, Refusal, Store, Version, When, Write};
use crate::state::{self, Command, Index, Key, Stored, Topic};

/// The longest key, in bytes. Consul has no limit of its own; its clients' URLs have.
pub(super) const MAX_KEY: usize = 2048;

/// The key that a path names; empty for `/v1/kv/`.
#[derive(Debug)]
pub(crate) struct KeyPath(String);

impl FromRequestParts<App> for KeyPath {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Fault> {
        let path = parts.uri.path();
        let key = path.strip_prefix("/v1/kv/").unwrap_or_default();
        let key = percent_decode_str(key).decode_utf8();
        let key = key.map_err(|_error| Fault::bad("Invalid key: it is not UTF-8"))?;
        Ok(Self(key.into_owned()))
    }
}

impl KeyPath {
    /// The key, which must be there.
    fn key(self) -> Result<Key, Fault> {
        if self.0.is_empty() {
            return Err(Fault::bad("Missing key name"));
        }
        Ok(Key::from(self.0))
    }
}

/// A key with its value, as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EntryJson<'a> {
    lock_index: u64,
    key: &'a str,
    flags: u64,
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    create_index: u64,
    modify_index: u64,
}

impl<'a> EntryJson<'a> {
    pub(crate) fn new(stored: &'a Stored<Entry>) -> Self {
        let Stored { value: entry, created, modified } = stored;
        let value = (!entry.value.is_empty()).then(|| STANDARD.encode(&entry.value));
        Self {
            lock_index: entry.locks,
            key: entry.key.as_str(),
            flags: entry.flags,
            value,
            session: entry.session.as_ref().map(state::SessionId::as_str),
            create_index: created.get(),
            modify_index: modified.get(),
        }
    }

    pub(crate) fn without_value(stored: &'a Stored<Entry>) -> Self {
        Self { value: None, ..Self::new(stored) }
    }

    /// A key that is not there.
    pub(crate) fn absent(key: &'a Key) -> Self {
        Self {
            lock_index: 0,
            key: key.as_str(),
            flags: 0,
            value: None,
            session: None,
            create_index: 0,
            modify_index: 0,
        }
    }
}

pub(crate) async fn get(State(app): State<App>, path: KeyPath, ask: Ask) -> Answer {
    if ask.has("keys") {
        return keys(&app, &path.0, &ask).await;
    }
    if ask.has("recurse") {
        return tree(&app, &path.0, &ask).await;
    }
    let key = path.key()?;
    ask.must_read(Kind::Key, key.as_str())?;
    ask.wait(&app, &Topic::Key(key.clone())).await?;
    let read = |state: &state::State| (state.kv().get(&key).cloned(), state.kv().key_index(&key));
    let (stored, index) = app.read(read).await?;
    let Some(stored) = stored else { return Ok(absent(&ask, index)) };
    if ask.has("raw") {
        return Ok(raw(&ask, index, &stored.value));
    }
    Ok(reply::indexed(&ask, index, &[EntryJson::new(&stored)]))
}

/// A value by itself. A browser that is led here must not take it for a page.
fn raw(ask: &Ask, index: Index, entry: &Entry) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox")),
    ];
    let mut response = (headers, entry.value.clone()).into_response();
    reply::describe(&mut response, ask, index);
    response
}

/// There is nothing, as of `index`: a client may wait for something from there.
fn absent(ask: &Ask, index: Index) -> Response {
    let mut response = StatusCode::NOT_FOUND.into_response();
    reply::describe(&mut response, ask, index);
    response
}

async fn tree(app: &App, prefix: &str, ask: &Ask) -> Answer {
    let of_prefix = |state: &state::State| state.kv().prefix_index(prefix);
    ask.wait_for(app, &Store::topic_of(prefix), of_prefix, pin!(timer())).await?;
    let read = |state: &state::State| {
        let found: Vec<_> = state.kv().under(prefix).cloned().collect();
        (found, of_prefix(state))
    };
    let (mut found, index) = app.read(read).await?;
    found.retain(|stored| ask.sees(Kind::Key, stored.value.key.as_str()));
    if found.is_empty() {
        return Ok(absent(ask, index));
    }
    let entries: Vec<_> = found.iter().map(|stored| EntryJson::new(stored)).collect();
    Ok(reply::indexed(ask, index, &entries))
}

async fn keys(app: &App, prefix: &str, ask: &Ask) -> Answer {
    // The second spelling is an old mistake of Consul's that clients still make.
    let separator = ask.get("separator").or_else(|| ask.get("seperator")).unwrap_or_default();
    let of_prefix = |state: &state::State| state.kv().prefix_index(prefix);
    ask.wait_for(app, &Store::topic_of(prefix), of_prefix, pin!(timer())).await?;
    let read = |state: &state::State| {
        let found: Vec<_> =
            state.kv().under(prefix).map(|stored| stored.value.key.clone()).collect();
        (found, of_prefix(state))
    };
    let (mut found, index) = app.read(read).await?;
    found.retain(|key| ask.sees(Kind::Key, key.as_str()));
    let mut keys: Vec<_> =
        found.iter().map(|key| up_to(key.as_str(), prefix.len(), separator)).collect();
    keys.dedup();
    if keys.is_empty() && !prefix.is_empty() {
        return Ok(absent(ask, index));
    }
    Ok(reply::indexed(ask, index, &keys))
}

/// `key` up to and with the first `separator` at or after `from`.
fn up_to<'a>(key: &'a str, from: usize, separator: &str) -> &'a str {
    let rest = key.get(from..).unwrap_or_default();
    match rest.find(separator) {
        Some(at) if !separator.is_empty() => key.get(..from + at + separator.len()).unwrap_or(key),
        _ => key,
    }
}

pub(crate) async fn put(
    State(app): State<App>,
    path: KeyPath,
    ask: Ask,
    Value(value): Value,
) -> Answer {
    let key = path.key()?;
    check_length(&key)?;
    alone(&ask, &["cas", "acquire", "release"])?;
    ask.must_write(Kind::Key, key.as_str())?;
    let flags = number(&ask, "flags")?.unwrap_or(0);
    let session = |name| match ask.get(name) {
        Some("") => Err(Fault::internal("missing session")),
        session => Ok(session.map(state::SessionId::from)),
    };
    let when = if let Some(index) = number(&ask, "cas")? {
        When::Unchanged(Version::new(index))
    } else if let Some(session) = session("acquire")? {
        When::Acquire(session)
    } else if let Some(session) = session("release")? {
        When::Release(session)
    } else {
        When::Always
    };
    write(&app, &ask, Write::Set { key, value, flags, when }).await
}

pub(crate) async fn delete(State(app): State<App>, path: KeyPath, ask: Ask) -> Answer {
    alone(&ask, &["recurse", "cas"])?;
    if ask.has("recurse") {
        ask.must_write_below(Kind::Key, &path.0)?;
        return write(&app, &ask, Write::DeleteTree { prefix: path.0.into() }).await;
    }
    let key = path.key()?;
    ask.must_write(Kind::Key, key.as_str())?;
    let when = number(&ask, "cas")?.map(Version::new);
    write(&app, &ask, Write::Delete { key, when }).await
}

/// Answers whether it has happened.
async fn write(app: &App, ask: &Ask, write: Write) -> Answer {
    let has_happened = match app.command(Command::Kv(write)).await {
        Ok(_) => true,
        Err(Error::Refused(state::Refusal::Kv(refusal))) if is_no(&refusal) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(reply::json(ask, &has_happened))
}

/// Whether a refusal is an answer, not a mistake.
const fn is_no(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::StaleSet(_)
        | Refusal::StaleDelete(_)
        | Refusal::Held(_)
        | Refusal::NotHeld(_)
        | Refusal::Delayed(_) => true,
        kv::Refusal::UnknownSession(_) => false,
    }
}

pub(super) fn check_length(key: &Key) -> Result<(), Fault> {
    if key.as_str().len() > MAX_KEY {
        return Err(Fault::bad(format!("Key too long: a key has at most {MAX_KEY} bytes")));
    }
    Ok(())
}

/// Refuses parameters that contradict each other.
fn alone(ask: &Ask, names: &[&str]) -> Result<(), Fault> {
    let given: Vec<_> = names.iter().copied().filter(|name| ask.has(name)).collect();
    if given.len() > 1 {
        return Err(Fault::bad(format!("Conflicting flags: {}", given.join("&"))));
    }
    Ok(())
}

/// A parameter that is a number.
fn number(ask: &Ask, name: &str) -> Result<Option<u64>, Fault> {
    let Some(text) = ask.get(name) else { return Ok(None) };
    let number = text.parse().ok().filter(|_| !text.starts_with('+'));
    let fault = || Fault::internal(format!("Invalid {name}: parsing {text:?}: invalid syntax"));
    Ok(Some(number.ok_or_else(fault)?))
}
