//! How a table runs: the house, the innocent request after each row, and all failures at the end.

use std::net::SocketAddr;
use std::time::Duration;

use posthouse_tests::raw::{Raw, exchange, status_of};
use posthouse_tests::{House, eventually};
use tokio::time::timeout;

use crate::recorder::{Received, Recorder, find, whole_chunks};

/// How long a row may take; more than the house gives a client for its header, so that a house
/// that only waits is seen to.
pub(crate) const ROW_DEADLINE: Duration = Duration::from_secs(12);

/// A house with one service of this protocol at this address. Nothing is tried again and no
/// instance is left out, so that each row is judged alone.
pub(crate) async fn house(instance: SocketAddr, protocol: &str) -> House {
    House::start(&format!(
        "listeners:\n  - address: 127.0.0.1:0\n\
         services:\n  back:\n    protocol: {protocol}\n    instances:\n      - address: {instance}\n    \
         ejection:\n      consecutive: 0\n    timeouts:\n      header: 5s\n      silence: 0s\n\
         routes:\n  - service: back\n    retries:\n      attempts: 0\n\
         gateway:\n  timeouts:\n    header: 3s\n"
    ))
    .await
}

/// What is wrong, of all rows.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    rows: usize,
    failed: Vec<String>,
}

impl Failures {
    pub(crate) fn note(&mut self, section: &str, what: &str, result: Result<(), String>) {
        self.rows += 1;
        if let Err(why) = result {
            self.failed.push(format!("[{section}] {what}: {why}"));
        }
    }

    /// Fails with all that is wrong, or when the table has shrunk below `least` rows.
    pub(crate) fn report(self, least: usize) {
        let Self { rows, failed } = self;
        assert!(rows >= least, "only {rows} of {least} rows");
        assert!(failed.is_empty(), "{} of {rows} rows:\n{}", failed.len(), failed.join("\n"));
    }
}

/// The one response in `bytes`: its status, head and body. Two responses, or a part of one, are
/// errors.
pub(crate) fn only_response(bytes: &[u8]) -> Result<(u16, String, Vec<u8>), String> {
    let text = || format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(400)]));
    let status = status_of(bytes).ok_or_else(|| format!("no response but {}", text()))?;
    let head = find(bytes, b"\r\n\r\n").ok_or_else(|| format!("half a head: {}", text()))? + 4;
    let lines = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let field = |name: &str| {
        lines.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let rest = &bytes[head..];
    let length = match (field("transfer-encoding"), field("content-length")) {
        (Some(_), _) => whole_chunks(rest).ok_or_else(|| format!("half a body: {}", text()))?,
        (None, Some(length)) => length.parse().map_err(|_| format!("length {length}"))?,
        (None, None) if status < 200 || status == 204 || status == 304 => 0,
        (None, None) => rest.len(),
    };
    match rest.len() {
        came if came < length => Err(format!("{came} of {length} bytes of a body: {}", text())),
        came if came > length => Err(format!("more than one response: {}", text())),
        _ => Ok((status, lines, rest.to_vec())),
    }
}

/// Sends `bytes` and reads until the house closes, which it must do by itself.
pub(crate) async fn until_closed(house: &House, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut raw = Raw::open(house.gateway()).await;
    let talk = async {
        raw.send(bytes).await;
        raw.read_to_end().await.0
    };
    timeout(ROW_DEADLINE, talk).await.map_err(|_| "the connection was not closed".to_owned())
}

/// Sends `bytes` and reads one response with a length, whether the house closes or not.
pub(crate) async fn first_response(house: &House, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut raw = Raw::open(house.gateway()).await;
    let talk = async {
        raw.send(bytes).await;
        let (head, body) = raw.read_response().await;
        [head.as_bytes(), &body].concat()
    };
    timeout(ROW_DEADLINE, talk).await.map_err(|_| "no response came".to_owned())
}

/// Sends an innocent request: it must be answered for itself. Returns what reached the instance
/// since the last look without it.
pub(crate) async fn nothing_but_innocent(
    house: &House,
    recorder: &Recorder,
    number: usize,
) -> Result<Received, String> {
    let target = format!("/innocent-{number}");
    let sent = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let bytes = until_closed(house, sent.as_bytes()).await?;
    let (status, _, body) =
        only_response(&bytes).map_err(|error| format!("the next request got {error}"))?;
    if status != 200 || body != target.as_bytes() {
        let body = String::from_utf8_lossy(&body).into_owned();
        return Err(format!("the next request got {status} {body:?}"));
    }
    let mut received = recorder.take();
    let begins = format!("GET {target} ").into_bytes();
    let Some(place) = received.whole.iter().position(|whole| whole.starts_with(&begins)) else {
        return Err(format!("the next request was not forwarded alone: {}", received.text()));
    };
    let innocent = received.whole.remove(place);
    if let Some(at) = find(&received.bytes, &innocent) {
        received.bytes.drain(at..at + innocent.len());
    }
    Ok(received)
}

/// Waits until `part` has reached the instance.
pub(crate) async fn reached(recorder: &Recorder, part: &str) {
    eventually(&format!("{part:?} to reach the instance"), || async {
        let received = recorder.received();
        find(&received.bytes, part.as_bytes()).map(|_| ()).ok_or_else(|| received.text())
    })
    .await;
}

/// A whole exchange over a connection that the house closes, which must be one response.
pub(crate) async fn one_exchange(house: &House, bytes: &[u8]) -> (u16, String, Vec<u8>) {
    let (answer, _) = exchange(house.gateway(), bytes).await;
    only_response(&answer).unwrap_or_else(|error| panic!("{error}"))
}
