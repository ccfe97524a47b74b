//! HTTP/1 requests that are refused: the status says why, the connection is closed, and nothing
//! reaches the instance.

use posthouse_tests::House;
use posthouse_tests::raw::Raw;
use tokio::time::timeout;

use crate::recorder::Recorder;
use crate::table::{
    Failures, ROW_DEADLINE, house, nothing_but_innocent, only_response, reached, until_closed,
};
use crate::{chunk_rows, field_rows, framing_rows, line_rows};

/// The section, what is wrong, the statuses that say so, and bytes of the request.
pub(crate) type Row = (&'static str, &'static str, &'static [u16], &'static [u8]);

/// Malformed.
pub(crate) const BAD: &[u16] = &[400];
/// Malformed, or a method that is not known (RFC 9110 §15.6.2).
pub(crate) const BAD_METHOD: &[u16] = &[400, 501];
/// Malformed, or a version that is not spoken (RFC 9110 §15.6.6).
pub(crate) const BAD_VERSION: &[u16] = &[400, 505];
/// Malformed, or a transfer coding that is not understood (RFC 9112 §6.1).
pub(crate) const BAD_CODING: &[u16] = &[400, 501];
/// Well-formed, but not what a gateway serves.
pub(crate) const UNWANTED: &[u16] = &[400, 405, 501, 505];
/// An expectation that cannot be met.
pub(crate) const EXPECTATION: &[u16] = &[417];
/// Larger than a limit inside of a body.
pub(crate) const LARGE_OR_BAD: &[u16] = &[400, 413, 431];
/// A longer target than the limit.
const LONG_TARGET: &[u16] = &[414];
/// More in the header than the limits.
const LARGE: &[u16] = &[431];

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A row with all of its bytes.
struct Whole {
    section: &'static str,
    what: String,
    statuses: &'static [u16],
    bytes: Vec<u8>,
    /// Whether it is so long that its beginning may have been forwarded before the fault came.
    long_body: bool,
}

impl Whole {
    fn new(start: &str, &(section, what, statuses, rest): &Row) -> Self {
        let bytes = [start.as_bytes(), rest].concat();
        Self { section, what: what.to_owned(), statuses, bytes, long_body: false }
    }
}

fn rows() -> Vec<Whole> {
    let tables: [(&str, &[Row]); 6] = [
        ("", line_rows::WHOLE),
        ("", framing_rows::WHOLE),
        ("GET / HTTP/1.1\r\n", field_rows::HOSTS),
        ("POST / HTTP/1.1\r\nHost: a.test\r\n", field_rows::AFTER_HOST),
        ("POST / HTTP/1.1\r\nHost: a.test\r\n", framing_rows::AFTER_HOST),
        (CHUNKED, chunk_rows::BODIES),
    ];
    let small =
        tables.iter().flat_map(|(start, rows)| rows.iter().map(|row| Whole::new(start, row)));
    let long =
        chunk_rows::LONG_BODIES.iter().map(|&(section, what, statuses, start, part, times)| {
            let bytes = [CHUNKED.as_bytes(), start, &part.repeat(times)].concat();
            Whole { section, what: what.to_owned(), statuses, bytes, long_body: true }
        });
    small.chain(long).chain(large()).collect()
}

/// Larger than the limits, whose defaults are 8 KiB for the target, 32 KiB and 100 lines.
fn large() -> impl Iterator<Item = Whole> {
    let long = "x".repeat(64 * 1024);
    let lines = |count: usize| "X-A: b\r\n".repeat(count);
    let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: a.test\r\n{rest}");
    [
        (
            "9110 §4.1",
            "target of 64 KiB",
            LONG_TARGET,
            format!("GET /{long} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ),
        ("9110 §4.1", "target without an end", LONG_TARGET, format!("GET /{long}")),
        (
            "9110 §4.1",
            "query of 64 KiB",
            LONG_TARGET,
            format!("GET /?{long} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ),
        (
            "9110 §9.1",
            "method of 64 KiB",
            &[400, 431, 501],
            format!("{long} / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ),
        ("9110 §5.4", "value of 64 KiB", LARGE, get(&format!("X-A: {long}\r\n\r\n"))),
        ("9110 §5.4", "value without an end", LARGE, get(&format!("X-A: {long}"))),
        ("9110 §5.4", "name of 64 KiB", LARGE, get(&format!("{long}: b\r\n\r\n"))),
        (
            "9110 §5.4",
            "Host of 64 KiB",
            &[400, 431],
            format!("GET / HTTP/1.1\r\nHost: {long}\r\n\r\n"),
        ),
        ("9110 §5.4", "200 fields", LARGE, get(&format!("{}\r\n", lines(200)))),
        ("9110 §5.4", "100,000 fields without an end", LARGE, get(&lines(100_000))),
    ]
    .into_iter()
    .map(|(section, what, statuses, text)| Whole {
        section,
        what: what.to_owned(),
        statuses,
        bytes: text.into_bytes(),
        long_body: false,
    })
}

async fn refused(
    house: &House,
    recorder: &Recorder,
    number: usize,
    row: &Whole,
) -> Result<(), String> {
    let answered = until_closed(house, &row.bytes).await;
    let innocent = nothing_but_innocent(house, recorder, number).await;
    let (status, ..) = only_response(&answered?)?;
    if !row.statuses.contains(&status) {
        return Err(format!("answered {status}, not {:?}", row.statuses));
    }
    let received = innocent?;
    let kept = if row.long_body { received.whole.is_empty() } else { received.bytes.is_empty() };
    if !kept {
        return Err(format!("the instance received {}", received.text()));
    }
    Ok(())
}

#[tokio::test]
async fn malformed_and_ambiguous_requests_are_refused_before_anything_is_forwarded() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut failures = Failures::default();
    for (number, row) in rows().iter().enumerate() {
        let result = refused(&house, &recorder, number, row).await;
        failures.note(row.section, &row.what, result);
    }
    failures.report(260);
}

#[tokio::test]
async fn a_refused_request_ends_a_pipeline() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut failures = Failures::default();
    let first = "GET /first HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let third = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for (number, row) in rows().iter().enumerate().filter(|(_, row)| row.bytes.len() < 1024) {
        // Without an end of its own, a row would take what follows for its own.
        let bytes = [first.as_bytes(), &row.bytes, b"\r\n\r\n", third.as_bytes()].concat();
        let result = async {
            let answered = until_closed(&house, &bytes).await?;
            let answers = String::from_utf8_lossy(&answered).into_owned();
            let received = nothing_but_innocent(&house, &recorder, number).await?;
            let whole: Vec<_> = received.whole.iter().collect();
            if whole.len() != 1 || received.bytes != *whole[0] {
                return Err(format!("the instance received {}", received.text()));
            }
            let after_first = answers.split_once("/first").map(|(_, rest)| rest);
            let (status, ..) = only_response(after_first.unwrap_or(&answers).as_bytes())?;
            let found = row.statuses.contains(&status);
            if found { Ok(()) } else { Err(format!("answered {status}, not {:?}", row.statuses)) }
        };
        failures.note(row.section, &row.what, result.await);
    }
    failures.report(250);
}

/// What is wrong comes after the header and one good chunk have been forwarded: the instance must
/// never see the end of such a request.
#[tokio::test]
async fn a_body_that_breaks_later_never_becomes_whole() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut failures = Failures::default();
    for (number, &(section, what, statuses, rest)) in chunk_rows::BODIES.iter().enumerate() {
        recorder.take();
        let mut raw = Raw::open(house.gateway()).await;
        raw.send(format!("{CHUNKED}4\r\ngood\r\n")).await;
        reached(&recorder, "good").await;
        raw.send(rest).await;
        let result = async {
            let answered = timeout(ROW_DEADLINE, raw.read_to_end()).await;
            let (answer, _) = answered.map_err(|_| "the connection was not closed".to_owned())?;
            let received = nothing_but_innocent(&house, &recorder, number).await?;
            if !received.whole.is_empty() {
                return Err(format!("the instance received {}", received.text()));
            }
            let (status, ..) = only_response(&answer)?;
            let found = statuses.contains(&status);
            if found { Ok(()) } else { Err(format!("answered {status}, not {statuses:?}")) }
        };
        failures.note(section, what, result.await);
    }
    failures.report(40);
}

/// The client goes away in the middle.
#[tokio::test]
async fn a_request_that_ends_early_never_becomes_whole() {
    const ROWS: &[(&str, &str, &str)] = &[
        ("9112 §8", "in the request line", "GET /smug"),
        ("9112 §8", "in a field", "GET /smuggled HTTP/1.1\r\nHost: a.t"),
        ("9112 §8", "before the empty line", "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n"),
        (
            "9112 §8",
            "in a body",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nhello",
        ),
        (
            "9112 §8",
            "in a chunk",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
        ),
        (
            "9112 §8",
            "before the last chunk",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ),
        (
            "9112 §8",
            "before the end of the trailers",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
        ),
    ];
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut failures = Failures::default();
    for (number, (section, what, bytes)) in ROWS.iter().enumerate() {
        let mut raw = Raw::open(house.gateway()).await;
        raw.send(bytes).await;
        raw.finish().await;
        let result = async {
            let ended = timeout(ROW_DEADLINE, raw.read_to_end()).await;
            let (answer, _) = ended.map_err(|_| "the connection was not closed".to_owned())?;
            let received = nothing_but_innocent(&house, &recorder, number).await?;
            let success = answer.starts_with(b"HTTP/1.1 2");
            match received.whole.is_empty() && !success {
                true => Ok(()),
                false => Err(format!("the instance received {}", received.text())),
            }
        };
        failures.note(section, what, result.await);
    }
    failures.report(ROWS.len());
}
