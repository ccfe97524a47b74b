//! HTTP/2 responses that are malformed: the client, which speaks HTTP/1.1, gets 502 or a body
//! that is broken off, and never what would be a header line of its own.

use posthouse_tests::House;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Fields, HEADERS, PADDED, PUSH_PROMISE, block,
    data, frame, headers,
};
use crate::recorder::find;
use crate::script::{Frames, Script};
use crate::table::{Failures, house, only_response, until_closed};

/// The section, what is wrong, and the fields of the response's header; DATA follows.
type Row = (&'static str, &'static str, Frames);

/// A response of these fields and `EVIL`.
fn evil(stream: u32, fields: Fields<'_>) -> Vec<u8> {
    [headers(0, stream, fields), data(END_STREAM, stream, "EVIL")].concat()
}

/// A good status, these fields, and `EVIL`.
fn with(stream: u32, more: Fields<'_>) -> Vec<u8> {
    evil(stream, &[&[(":status", "200")], more].concat())
}

/// The header of a good response.
fn good(stream: u32) -> Vec<u8> {
    headers(0, stream, &[(":status", "200")])
}

/// Must end in 502.
const HEADS: &[Row] = &[
    ("9113 §8.3.2", "no :status", |stream| evil(stream, &[("x-a", "b")])),
    ("9113 §8.3.2", "no field at all", |stream| evil(stream, &[])),
    ("9113 §8.3", "two :status", |stream| with(stream, &[(":status", "404")])),
    ("9113 §8.3.2", ":status of two digits", |stream| evil(stream, &[(":status", "20")])),
    ("9113 §8.3.2", ":status of four digits", |stream| evil(stream, &[(":status", "2000")])),
    ("9113 §8.3.2", ":status of letters", |stream| evil(stream, &[(":status", "abc")])),
    ("9113 §8.3.2", "empty :status", |stream| evil(stream, &[(":status", "")])),
    ("9113 §8.3.2", ":status with a reason", |stream| evil(stream, &[(":status", "200 OK")])),
    ("9110 §15", ":status 099", |stream| evil(stream, &[(":status", "099")])),
    ("9113 §8.6", ":status 101", |stream| evil(stream, &[(":status", "101")])),
    ("9113 §8.3", ":status after a regular field", |stream| {
        evil(stream, &[("x-a", "b"), (":status", "200")])
    }),
    ("9113 §8.3", "unknown pseudo-field", |stream| with(stream, &[(":foo", "bar")])),
    ("9113 §8.2.1", "name in upper case", |stream| with(stream, &[("X-A", "b")])),
    ("9113 §8.2.1", "empty name", |stream| with(stream, &[("", "b")])),
    ("9113 §8.2.1", "space in a name", |stream| with(stream, &[("x a", "b")])),
    ("9113 §8.2.1", "line end in a name", |stream| with(stream, &[("x: y\r\nset-cookie", "b")])),
    ("9113 §8.2.1", "NUL in a value", |stream| with(stream, &[("x-a", "b\0c")])),
    ("9113 §8.2.1", "CR in a value", |stream| with(stream, &[("x-a", "b\rc")])),
    ("9113 §8.2.1", "a field in a value", |stream| with(stream, &[("x-a", "b\r\nset-cookie: c")])),
    ("9113 §8.2.1", "a response in a value", |stream| {
        with(stream, &[("x-a", "b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nEVIL")])
    }),
    ("9113 §8.2.1", "space before a value", |stream| with(stream, &[("x-a", " b")])),
    ("9113 §8.2.2", "connection", |stream| with(stream, &[("connection", "close")])),
    ("9113 §8.2.2", "keep-alive", |stream| with(stream, &[("keep-alive", "timeout=5")])),
    ("9113 §8.2.2", "proxy-connection", |stream| with(stream, &[("proxy-connection", "close")])),
    ("9113 §8.2.2", "transfer-encoding", |stream| {
        with(stream, &[("transfer-encoding", "chunked")])
    }),
    ("9113 §8.2.2", "upgrade", |stream| with(stream, &[("upgrade", "evil")])),
    ("9110 §8.6", "two lengths", |stream| {
        with(stream, &[("content-length", "4"), ("content-length", "0")])
    }),
    ("9110 §8.6", "length of letters", |stream| with(stream, &[("content-length", "x")])),
    ("9110 §8.6", "negative length", |stream| with(stream, &[("content-length", "-4")])),
    ("9110 §8.6", "length with a plus sign", |stream| with(stream, &[("content-length", "+4")])),
    ("9110 §8.6", "empty length", |stream| with(stream, &[("content-length", "")])),
    ("9113 §8.1", "interim response that ends the stream", |stream| {
        headers(END_STREAM, stream, &[(":status", "103")])
    }),
    ("9113 §8.1", "DATA before HEADERS", |stream| data(END_STREAM, stream, "EVIL")),
    ("9113 §8.1", "DATA after an interim response", |stream| evil(stream, &[(":status", "103")])),
    ("9113 §8.4", "PUSH_PROMISE although it is off", |stream| {
        let push = [
            &[0, 0, 0, 2],
            &block(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a.test"),
                (":path", "/"),
            ])[..],
        ]
        .concat();
        [
            frame(PUSH_PROMISE, END_HEADERS, stream, &push),
            good(stream),
            data(END_STREAM, stream, "EVIL"),
        ]
        .concat()
    }),
    ("9113 §6.2", "HEADERS on stream 0", |stream| {
        [headers(0, 0, &[(":status", "200")]), good(stream), data(END_STREAM, stream, "EVIL")]
            .concat()
    }),
    ("9113 §6.10", "CONTINUATION without HEADERS", |stream| {
        [
            frame(CONTINUATION, END_HEADERS, stream, &block(&[(":status", "200")])),
            data(END_STREAM, stream, "EVIL"),
        ]
        .concat()
    }),
    ("7541 §6.1", "index 0", |stream| {
        [
            frame(
                HEADERS,
                END_HEADERS,
                stream,
                &[&block(&[(":status", "200")])[..], &[0x80]].concat(),
            ),
            data(END_STREAM, stream, "EVIL"),
        ]
        .concat()
    }),
    ("9113 §10.5.1", "200 fields", |stream| with(stream, &[("x-a", "b"); 200])),
    ("9113 §10.5.1", "header of 64 KiB", |stream| {
        let part = block(&[("x-a", &"b".repeat(8000))]);
        let begin = frame(HEADERS, 0, stream, &block(&[(":status", "200")]));
        [
            begin,
            frame(CONTINUATION, 0, stream, &part).repeat(8),
            frame(CONTINUATION, END_HEADERS, stream, &[]),
            data(END_STREAM, stream, "EVIL"),
        ]
        .concat()
    }),
];

/// Must end in 502 or be broken off.
const BODIES: &[Row] = &[
    ("9113 §8.1.1", "more DATA than the length", |stream| {
        [
            headers(0, stream, &[(":status", "200"), ("content-length", "2")]),
            data(END_STREAM, stream, "EVIL"),
        ]
        .concat()
    }),
    ("9113 §8.1.1", "less DATA than the length", |stream| {
        [
            headers(0, stream, &[(":status", "200"), ("content-length", "9")]),
            data(END_STREAM, stream, "EVIL"),
        ]
        .concat()
    }),
    ("9113 §8.1.1", "no DATA although there is a length", |stream| {
        headers(END_STREAM, stream, &[(":status", "200"), ("content-length", "9")])
    }),
    ("9113 §8.1", "trailers without END_STREAM", |stream| {
        [good(stream), data(0, stream, "EVIL"), headers(0, stream, &[("x-a", "b")])].concat()
    }),
    ("9113 §8.2.1", "trailer with a line end", |stream| {
        [
            good(stream),
            data(0, stream, "EVIL"),
            headers(END_STREAM, stream, &[("x-a", "b\r\nx: y")]),
        ]
        .concat()
    }),
    ("9113 §8.2.1", "trailer in upper case", |stream| {
        [good(stream), data(0, stream, "EVIL"), headers(END_STREAM, stream, &[("X-A", "b")])]
            .concat()
    }),
    ("9113 §6.1", "padding longer than DATA", |stream| {
        [good(stream), frame(DATA, END_STREAM | PADDED, stream, &[9, 1])].concat()
    }),
    ("9113 §4.2", "DATA larger than the largest frame", |stream| {
        [good(stream), frame(DATA, END_STREAM, stream, &[b'x'; 2 << 20])].concat()
    }),
    ("9113 §6.4", "reset inside the body", |stream| {
        [good(stream), data(0, stream, "EVIL"), frame(3, 0, stream, &[0, 0, 0, 2])].concat()
    }),
];

/// Malformed, and passed on all the same: the HTTP/2 library takes these fields out before the
/// gateway sees the response, so it cannot refuse it. Of what is dropped nothing may reach the client.
const DROPPED: &[Row] = &[
    ("9113 §8.3", "pseudo-field of a request", |stream| {
        let fields = [(":status", "200"), (":path", "/smuggled")];
        [headers(0, stream, &fields), data(END_STREAM, stream, "body")].concat()
    }),
    ("9113 §8.1", "trailers with a pseudo-field", |stream| {
        let trailers = headers(END_STREAM, stream, &[(":path", "/smuggled")]);
        [good(stream), data(0, stream, "body"), trailers].concat()
    }),
];

async fn run(house: &House, script: &Script, row: &Row, body: bool) -> Result<(), String> {
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    script.answer_with_frames(row.2);
    let answer = until_closed(house, request).await?;
    script.answer_with_frames(|stream| {
        let fields = [(":status", "200"), ("content-length", "8")];
        [headers(0, stream, &fields), data(END_STREAM, stream, "innocent")].concat()
    });
    let next = until_closed(house, request).await?;
    let (status, _, next) = only_response(&next)?;
    if status != 200 || next != b"innocent" {
        let next = String::from_utf8_lossy(&next).into_owned();
        return Err(format!("the next request got {status} {next:?}"));
    }
    // Interim responses that were good on their own may have gone ahead.
    let mut answer = &answer[..];
    while let (true, Some(end)) = (answer.starts_with(b"HTTP/1.1 1"), find(answer, b"\r\n\r\n")) {
        answer = &answer[end + 4..];
    }
    let bad = answer.starts_with(b"HTTP/1.1 502 ") && find(answer, b"EVIL").is_none();
    if bad || (body && only_response(answer).is_err()) {
        return Ok(());
    }
    Err(format!("the client got {:?}", String::from_utf8_lossy(answer)))
}

#[tokio::test]
async fn malformed_responses_become_502_or_are_broken_off() {
    let script = Script::http2().await;
    let house = house(script.address(), "h2c").await;
    let mut failures = Failures::default();
    for row in HEADS {
        failures.note(row.0, row.1, run(&house, &script, row, false).await);
    }
    for row in BODIES {
        failures.note(row.0, row.1, run(&house, &script, row, true).await);
    }
    failures.report(49);
}

/// The library takes out what is malformed here before the gateway sees it. What is left must be one
/// whole response, or 502, without anything of what was dropped.
#[tokio::test]
async fn of_what_the_library_drops_nothing_reaches_the_client() {
    let script = Script::http2().await;
    let house = house(script.address(), "h2c").await;
    let mut failures = Failures::default();
    for &(section, what, frames) in DROPPED {
        let result = async {
            script.answer_with_frames(frames);
            let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
            let answer = until_closed(&house, request).await?;
            let (status, _, _) = only_response(&answer)?;
            let text = String::from_utf8_lossy(&answer);
            match [200, 502].contains(&status) && !text.contains("smuggled") {
                true => Ok(()),
                false => Err(format!("the client got {text:?}")),
            }
        };
        failures.note(section, what, result.await);
    }
    failures.report(2);
}
