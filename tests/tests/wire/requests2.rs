//! HTTP/2 requests and frames that are refused: by a 4xx, by the stream's or the connection's
//! end, and nothing reaches the instance, which speaks HTTP/1.1.

use posthouse_tests::House;
use posthouse_tests::backend::Backend;
use tokio::time::timeout;

use crate::frame_rows::{AFTER_GET, DROPPED, FRAMES, GET, LATE, POST, WHOLE};
use crate::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Link, PING, PREFACE, RST_STREAM,
    SETTINGS, block, data, frame, headers, setting,
};
use crate::recorder::Recorder;
use crate::table::{Failures, ROW_DEADLINE, house, nothing_but_innocent};

/// The error code of a stream that is cancelled (RFC 9113 §7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Whether this frame, or the end of the connection, refuses; an error when it lets pass.
fn refuses(frame: Option<&Frame>) -> Option<Result<(), String>> {
    let Some(frame) = frame else { return Some(Ok(())) };
    match (frame.kind, frame.code(), frame.status()) {
        (RST_STREAM | GOAWAY, Some(1..), _) => Some(Ok(())),
        (HEADERS, _, Some(400..=499 | 501 | 505)) => Some(Ok(())),
        (HEADERS, _, status) => Some(Err(format!("answered {status:?}: {:?}", frame.payload))),
        _ => None,
    }
}

/// Sends `bytes` after the preface and SETTINGS and waits for the refusal.
async fn refused(house: &House, bytes: &[u8]) -> Result<Link, String> {
    let mut link = Link::begin(house.gateway()).await;
    match timeout(ROW_DEADLINE, link.exchange(bytes, refuses)).await {
        Ok(Ok(())) => Ok(link),
        Ok(Err(why)) => Err(why),
        Err(_deadline) => Err("neither answered nor refused".to_owned()),
    }
}

#[tokio::test]
async fn malformed_requests_and_frames_are_refused_before_anything_is_forwarded() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let after_get = AFTER_GET.iter().map(|&(section, what, more)| {
        (section, what, headers(END_STREAM, 1, &[GET, more].concat()))
    });
    let whole = WHOLE
        .iter()
        .map(|&(section, what, fields)| (section, what, headers(END_STREAM, 1, fields)));
    let frames = FRAMES.iter().map(|&(section, what, bytes)| (section, what, bytes()));
    let mut failures = Failures::default();
    for (number, (section, what, bytes)) in after_get.chain(whole).chain(frames).enumerate() {
        let result = async {
            let outcome = refused(&house, &bytes).await;
            let received = nothing_but_innocent(&house, &recorder, number).await?;
            let _still_open = outcome?;
            match received.bytes.is_empty() {
                true => Ok(()),
                false => Err(format!("the instance received {}", received.text())),
            }
        };
        failures.note(section, what, result.await);
    }
    failures.report(130);
}

#[tokio::test]
async fn a_request_that_breaks_later_never_becomes_whole() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut failures = Failures::default();
    for (number, &(section, what, bytes)) in LATE.iter().enumerate() {
        let result = async {
            let outcome = refused(&house, &bytes()).await;
            let received = nothing_but_innocent(&house, &recorder, number).await?;
            let _still_open = outcome?;
            match received.whole.is_empty() {
                true => Ok(()),
                false => Err(format!("the instance received {}", received.text())),
            }
        };
        failures.note(section, what, result.await);
    }
    failures.report(20);
}

/// The library takes out what is malformed here before the gateway sees it, so such a request is
/// answered like one without it. It must be exactly that: one request, and nothing of what was
/// dropped.
#[tokio::test]
async fn of_what_the_library_drops_nothing_reaches_the_instance() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut failures = Failures::default();
    for (number, &(section, what, bytes)) in DROPPED.iter().enumerate() {
        let result = async {
            let mut link = Link::begin(house.gateway()).await;
            let bytes = bytes();
            let ends = |frame: Option<&Frame>| match frame {
                None => Some(()),
                Some(frame) => [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind).then_some(()),
            };
            let outcome = timeout(ROW_DEADLINE, link.exchange(&bytes, ends)).await;
            let received = nothing_but_innocent(&house, &recorder, number).await?;
            outcome.map_err(|_| "neither answered nor refused".to_owned())?;
            match received.whole.len() <= 1 && !received.text().contains("smuggled") {
                true => Ok(()),
                false => Err(format!("the instance received {}", received.text())),
            }
        };
        failures.note(section, what, result.await);
    }
    failures.report(2);
}

/// The length was reached, so that the request may have been forwarded, and even answered, before
/// the fault came; but what is beyond the length reaches nobody.
#[tokio::test]
async fn data_beyond_a_length_that_was_reached_goes_nowhere() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let smuggled = data(END_STREAM, 1, "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n");
    for (number, (length, body)) in [("0", ""), ("5", "hello")].into_iter().enumerate() {
        let open = headers(0, 1, &[POST, &[("content-length", length)]].concat());
        let first = if body.is_empty() { Vec::new() } else { data(0, 1, body) };
        let bytes = [open, first, smuggled.clone()].concat();
        let mut link = Link::begin(house.gateway()).await;
        let ends = |frame: Option<&Frame>| match frame {
            None => Some(()),
            Some(frame) => [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind).then_some(()),
        };
        let outcome = timeout(ROW_DEADLINE, link.exchange(&bytes, ends)).await;
        assert!(outcome.is_ok(), "length {length}: neither answered nor refused");
        let received = nothing_but_innocent(&house, &recorder, number).await;
        let received = received.unwrap_or_else(|error| panic!("length {length}: {error}"));
        assert!(!received.text().contains("smuggled"), "length {length}: {}", received.text());
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_whole_request() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let open = headers(0, 1, POST);
    let good = data(0, 1, "good");
    for (number, last) in
        [frame(RST_STREAM, 0, 1, &CANCEL), frame(GOAWAY, 0, 0, &[0; 8]), Vec::new()]
            .iter()
            .enumerate()
    {
        let mut link = Link::begin(house.gateway()).await;
        link.send(&[open.clone(), good.clone()].concat()).await;
        crate::table::reached(&recorder, "good").await;
        link.send(last).await;
        drop(link);
        let received = nothing_but_innocent(&house, &recorder, number).await;
        let received = received.unwrap_or_else(|error| panic!("{error}"));
        assert!(received.whole.is_empty(), "{number}: {}", received.text());
    }
}

#[tokio::test]
async fn a_connection_begins_with_the_preface_and_settings() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let get = headers(END_STREAM, 1, GET);
    let no_settings = [PREFACE, &get].concat();
    let acknowledged = [PREFACE, &frame(SETTINGS, 1, 0, &[]), &get].concat();
    let broken =
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\0", &frame(SETTINGS, 0, 0, &[])[..], &get].concat();
    let lower =
        [b"pri * http/2.0\r\n\r\nsm\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..], &get].concat();
    let after_request =
        [b"GET / HTTP/1.1\r\nHost: a.test\r\n", PREFACE, &frame(SETTINGS, 0, 0, &[]), &get]
            .concat();
    let mut failures = Failures::default();
    for (number, (section, what, bytes)) in [
        ("9113 §3.4", "no SETTINGS", no_settings),
        ("9113 §3.4", "acknowledged SETTINGS first", acknowledged),
        ("9113 §3.4", "last byte of the preface is another", broken),
        ("9113 §3.4", "preface in lower case", lower),
        ("9113 §3.4", "preface inside of an HTTP/1 header", after_request),
    ]
    .into_iter()
    .enumerate()
    {
        let result = async {
            let ended = crate::table::until_closed(&house, &bytes).await;
            let received = nothing_but_innocent(&house, &recorder, number).await?;
            let ended = ended?;
            match received.bytes.is_empty() && !ended.starts_with(b"HTTP/1.1 2") {
                true => Ok(()),
                false => Err(format!("the instance received {}", received.text())),
            }
        };
        failures.note(section, what, result.await);
    }
    failures.report(5);
}

#[tokio::test]
async fn floods_and_oversize_headers_are_refused() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let begun = |fields: &[u8]| frame(HEADERS, END_STREAM, 1, fields);
    let one = block(&[("x-a", &"b".repeat(8000))]);
    let small = block(&[("x-a", "b")]);
    let continued = |part: &[u8], times: usize, end: u8| {
        let more = frame(CONTINUATION, 0, 1, part).repeat(times);
        [begun(&block(GET)), more, frame(CONTINUATION, end, 1, &[])].concat()
    };
    let resets: Vec<u8> = (0..5000_u32)
        .flat_map(|index| {
            let stream = 2 * index + 1;
            [headers(END_STREAM, stream, GET), frame(RST_STREAM, 0, stream, &CANCEL)].concat()
        })
        .collect();
    let mut failures = Failures::default();
    for (number, (section, what, bytes)) in [
        ("9113 §10.5.1", "header of 64 KiB", continued(&one, 8, END_HEADERS)),
        ("9113 §10.5.1", "header of 16 MiB without an end", continued(&one, 2000, 0)),
        ("9113 §10.5.1", "400 fields", continued(&small.repeat(400), 1, END_HEADERS)),
        ("9113 §10.5", "100,000 empty CONTINUATION frames", continued(&[], 100_000, 0)),
        ("9113 §10.5", "100,000 CONTINUATION frames of one field", continued(&small, 100_000, 0)),
        ("9113 §10.5", "5,000 streams that are reset at once", resets),
    ]
    .into_iter()
    .enumerate()
    {
        let result = async {
            let outcome = if what.contains("reset at once") {
                reset_in_time(&house, &bytes).await
            } else {
                refused(&house, &bytes).await.map(|_| ())
            };
            let received = nothing_but_innocent(&house, &recorder, number).await?;
            outcome?;
            // Streams that were reset may have been forwarded before they were.
            match received.whole.is_empty() || what.contains("reset") {
                true => Ok(()),
                false => Err(format!("the instance received {}", received.text())),
            }
        };
        failures.note(section, what, result.await);
    }
    failures.report(6);
}

/// Rapid reset (CVE-2023-44487): the connection must end before all of it was served.
async fn reset_in_time(house: &House, bytes: &[u8]) -> Result<(), String> {
    let mut link = Link::begin(house.gateway()).await;
    let ends = |frame: Option<&Frame>| match frame {
        None => Some(()),
        Some(frame) => (frame.kind == GOAWAY && frame.code() > Some(0)).then_some(()),
    };
    let ended = timeout(ROW_DEADLINE, link.exchange(bytes, ends)).await;
    ended.map_err(|_| "the connection goes on".to_owned())
}

/// Frames that ask for answers do not pile up without end: the house serves on, or ends the
/// connection.
#[tokio::test]
async fn frames_that_ask_for_answers_do_no_harm() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    for (number, kind) in [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, 0, 0, &setting(4, 65_535)),
        frame(77, 0, 0, &[0; 64]),
    ]
    .iter()
    .enumerate()
    {
        let bytes = [kind.repeat(20_000), headers(END_STREAM, 1, GET)].concat();
        let mut link = Link::begin(house.gateway()).await;
        let served_or_ended = |frame: Option<&Frame>| match frame {
            None => Some(()),
            Some(frame) => [HEADERS, GOAWAY].contains(&frame.kind).then_some(()),
        };
        let outcome = timeout(ROW_DEADLINE, link.exchange(&bytes, served_or_ended)).await;
        assert!(outcome.is_ok(), "{number}: neither served nor ended");
        let received = nothing_but_innocent(&house, &recorder, number).await;
        assert!(received.is_ok(), "{number}: {received:?}");
    }
}

#[tokio::test]
async fn more_streams_than_the_limit_are_refused() {
    let backend = Backend::raw(|_, mut raw| async move {
        raw.read_head().await;
        // Answers when the house gives up, which is never.
        raw.read_to_end().await;
    })
    .await;
    let house = house(backend.address(), "http").await;
    let mut link = Link::begin(house.gateway()).await;
    // The limit binds a client once it knows of it (RFC 9113 §5.1.2).
    link.until(SETTINGS, 0).await;
    link.send(&frame(SETTINGS, 1, 0, &[])).await;
    let many: Vec<u8> =
        (0..300).flat_map(|index| headers(END_STREAM, 2 * index + 1, GET)).collect();
    let outcome = timeout(ROW_DEADLINE, link.exchange(&many, refuses)).await;
    assert_eq!(outcome, Ok(Ok(())));
    assert!(backend.connections() <= 256, "{} calls at once", backend.connections());
}
