//! Asking the admin API of a running house, and showing what it answers.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use posthouse_base::time::Timestamp;
use posthouse_journal::sqlite::copy::instant;
use serde_json::Value;
use tokio::net::TcpStream;

use super::table::table;
use super::{Failure, Look, Output, print};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer that is read.
const MAX_ANSWER: usize = 256 << 20;

/// Asks the API. What it refuses is said as it says it.
pub(super) fn ask(look: &Look, method: Method, path: &str) -> Result<Value, Failure> {
    send(look, method, path, Sent::Nothing)
}

/// Asks for a text.
pub(super) fn ask_text(look: &Look, path: &str) -> Result<String, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("no runtime to be had")?;
    runtime.block_on(async {
        let answer = begin(look, Method::GET, path, Sent::Nothing).await?;
        let read = tokio::time::timeout(PATIENCE, body(answer)).await;
        let read = read.context("it does not answer in time").flatten();
        let text = read.and_then(|text| Ok(String::from_utf8(text.into())?));
        text.with_context(|| format!("asking {}", look.admin)).map_err(Failure::other)
    })
}

/// What is sent along with a question.
#[derive(Clone, Debug)]
pub(super) enum Sent {
    Nothing,
    Json(Value),
    /// YAML, or JSON as it was read from a file.
    Document(String),
}

impl Sent {
    fn into_parts(self) -> (Option<&'static str>, Bytes) {
        match self {
            Self::Nothing => (None, Bytes::new()),
            Self::Json(value) => (Some("application/json"), value.to_string().into()),
            Self::Document(text) => (Some("application/yaml"), text.into()),
        }
    }
}

/// Asks the API, and sends something along. What it refuses is said as it says it.
pub(super) fn send(look: &Look, method: Method, path: &str, sent: Sent) -> Result<Value, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("no runtime to be had")?;
    runtime.block_on(async {
        let answer = begin(look, method, path, sent).await?;
        let read = tokio::time::timeout(PATIENCE, read(answer)).await;
        let read = read.context("it does not answer in time").flatten();
        read.with_context(|| format!("asking {}", look.admin)).map_err(Failure::other)
    })
}

/// An answer whose body is still to come.
pub(super) type Answer = http::Response<Incoming>;

/// Asks the API, and returns the answer as it begins. What it refuses is said as it says it.
pub(super) async fn begin(
    look: &Look,
    method: Method,
    path: &str,
    sent: Sent,
) -> Result<Answer, Failure> {
    let url = look.admin.trim_end_matches('/');
    let Some(authority) = url.strip_prefix("http://").or(Some(url)).filter(|a| !a.contains("//"))
    else {
        let message = format!("{url} is not like http://127.0.0.1:8400");
        return Err(Failure::setup(anyhow::anyhow!(message)));
    };
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/api/v1/{path}"))
        .header(header::HOST, authority);
    if let Some(token) = &look.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let (media_type, body) = sent.into_parts();
    if let Some(media_type) = media_type {
        request = request.header(header::CONTENT_TYPE, media_type);
    }
    let request = request.body(Full::new(body));
    let request =
        request.context("a name or token that HTTP cannot carry").map_err(Failure::setup)?;
    let answer = tokio::time::timeout(PATIENCE, exchange(authority, request)).await;
    let answer = answer.context("it does not answer in time").flatten();
    answer.with_context(|| format!("asking {url}")).map_err(Failure::other)
}

async fn exchange(authority: &str, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(authority).await;
    let stream = stream.context("nothing answers there: is `posthouse up` running?")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the runtime.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    if !answer.status().is_success() {
        let refused = read(answer).await?;
        let title = cell(&refused["title"]);
        let detail = refused["detail"].as_str().unwrap_or("no reason was given");
        bail!("{title}: {detail}");
    }
    Ok(answer)
}

async fn read(answer: Answer) -> anyhow::Result<Value> {
    let status = answer.status();
    if status == StatusCode::NO_CONTENT {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body(answer).await?)
        .with_context(|| format!("{status}, and no JSON: is this the admin address?"))
}

async fn body(answer: Answer) -> anyhow::Result<Bytes> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes())
}

/// Shows a list as [`show`] does, with its times (`at_ms`) as people write them (`at`).
pub(super) fn show_times(
    look: &Look,
    mut answer: Value,
    key: &str,
    columns: &[&str],
) -> Result<(), Failure> {
    for row in answer[key].as_array_mut().into_iter().flatten() {
        add_times(row);
    }
    show(look, &answer, key, columns)
}

/// Adds the times of `value` as people write them, beside what programs read.
pub(super) fn add_times(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    let times = fields.iter().filter_map(|(name, time)| {
        let at = Timestamp::from_millis(time.as_u64()?);
        Some((name.strip_suffix("_ms")?.to_owned(), instant::show(at).into()))
    });
    let times: Vec<(String, Value)> = times.filter(|(name, _)| name.ends_with("at")).collect();
    fields.extend(times);
}

/// Shows the list under `key`, as a table of `columns` for people.
pub(super) fn show(
    look: &Look,
    answer: &Value,
    key: &str,
    columns: &[&str],
) -> Result<(), Failure> {
    if look.output == Output::Json {
        return print_json(answer);
    }
    let rows: Vec<Vec<String>> = answer[key]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| columns.iter().map(|column| shown(column, at(row, column))).collect())
        .collect();
    let title = |column: &&str| column.rsplit('.').next().unwrap_or(column).to_uppercase();
    let titles: Vec<String> = columns.iter().map(title).collect();
    print(&table(&titles, &rows))
}

pub(super) fn print_json(answer: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(answer).context("the answer as JSON")?;
    print(&(text + "\n"))
}

/// The value that `path` leads to by keys.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| &value[key])
}

fn shown(column: &str, value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() && column == "methods" => "*".into(),
        value => cell(value),
    }
}

pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(share) if share.contains_key("service") => {
            format!("{} {}", cell(&share["service"]), cell(&share["weight"]))
        }
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        other => other.to_string(),
    }
}
