//! HTTP/1 responses that are malformed or ambiguous: the client gets 502, or sees that the body
//! was broken off when the header was sent already, and no connection that went wrong is used
//! again.

use posthouse_tests::House;

use crate::recorder::find;
use crate::script::Script;
use crate::table::{Failures, house, only_response, until_closed};

/// What the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Get,
    Head,
    WebSocket,
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// 502. The connection stays open.
    Head,
    /// 502. The instance closes the connection behind it.
    HeadThenEnd,
    /// 502, or a body that is broken off. The connection stays open.
    Body,
    /// 502, or a body that is broken off. The instance closes the connection behind it.
    BodyThenEnd,
    /// The response may pass, but what follows it belongs to nobody.
    Extra,
}

use Ask::{Get, WebSocket};
use Kind::{Body, BodyThenEnd, Extra, HeadThenEnd};

type Row = (&'static str, &'static str, Ask, Kind, &'static [u8]);

const ROWS: &[Row] = &[
    ("9112 §4", "protocol in lower case", Get, Kind::Head, b"http/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "another protocol", Get, Kind::Head, b"ICY 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "version 2.0", Get, Kind::Head, b"HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "version with two digits", Get, Kind::Head, b"HTTP/1.10 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "status of two digits", Get, Kind::Head, b"HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "status of four digits", Get, Kind::Head, b"HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "status of letters", Get, Kind::Head, b"HTTP/1.1 abc OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "negative status", Get, Kind::Head, b"HTTP/1.1 -20 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §15", "status 099", Get, Kind::Head, b"HTTP/1.1 099 Low\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "no status", Get, Kind::Head, b"HTTP/1.1 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "two spaces before the status", Get, Kind::Head, b"HTTP/1.1  200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "tab before the status", Get, Kind::Head, b"HTTP/1.1\t200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "space before the status line", Get, Kind::Head, b" HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "NUL in the reason", Get, Kind::Head, b"HTTP/1.1 200 O\0K\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §4", "bare CR in the reason", Get, Kind::Head, b"HTTP/1.1 200 OK\rX: y\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §2.2", "status line ends with a bare LF", Get, Kind::Head, b"HTTP/1.1 200 OK\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §2.2", "all lines end with a bare LF", Get, Kind::Head, b"HTTP/1.1 200 OK\nContent-Length: 4\n\nEVIL"),
    ("9112 §2.2", "header ends with a bare LF", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\nEVIL"),
    ("9112 §4", "no response at all", Get, HeadThenEnd, b"<html>EVIL</html>"),
    ("9112 §4", "nothing", Get, HeadThenEnd, b""),
    ("9112 §8", "end inside the status line", Get, HeadThenEnd, b"HTTP/1.1 200"),
    ("9112 §8", "end inside the header", Get, HeadThenEnd, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n"),
    ("9112 §5.1", "space before the colon of Content-Length", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nEVIL"),
    ("9112 §5.1", "space before the colon of Transfer-Encoding", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §5.2", "folded line", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nX: y\r\n Content-Length: 9\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §5.2", "space before the first field", Get, Kind::Head, b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §5", "no colon", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §5.1", "no name", Get, Kind::Head, b"HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §5.1", "space in a name", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §5.1", "byte above ASCII in a name", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nX\xe9: z\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §5.5", "NUL in a value", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nX: y\0z\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §5.5", "bare CR in a value", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nX: y\rSet-Cookie: z\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §5.5", "bare LF in a value", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nX: y\nSet-Cookie: z\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §5.5", "control byte in a value", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nX: y\x01z\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §6.3", "length and chunked", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §6.3", "chunked and length", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 14\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §6.3", "two lengths", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 0\r\n\r\nEVIL"),
    ("9112 §6.3", "two lengths in a list", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 4, 0\r\n\r\nEVIL"),
    ("9110 §8.6", "empty length", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nEVIL"),
    ("9110 §8.6", "negative length", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nEVIL"),
    ("9110 §8.6", "length with a plus sign", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nEVIL"),
    ("9110 §8.6", "hexadecimal length", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 0x4\r\n\r\nEVIL"),
    ("9110 §8.6", "length of 2^64 and 4", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551620\r\n\r\nEVIL"),
    ("9112 §6.1", "unknown coding", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §6.1", "gzip alone", Get, HeadThenEnd, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nEVIL"),
    ("9112 §6.3", "chunked is not the last", Get, HeadThenEnd, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §7.1", "chunked twice", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §7", "chunked and identity", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §6.1", "chunked in HTTP/1.0", Get, HeadThenEnd, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §6.1", "chunked before a vertical tab", Get, Kind::Head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\x0b\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9110 §15.2.2", "101 that nobody asked for", Get, Kind::Head, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nEVIL"),
    ("9110 §7.8", "101 to another protocol", WebSocket, Kind::Head, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: evil\r\n\r\nEVIL"),
    ("9110 §7.8", "101 without a protocol", WebSocket, Kind::Head, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\nEVIL"),
    ("9112 §6.1", "interim response with a coding", Get, Kind::Head, b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §15.2", "broken interim response", Get, Kind::Head, b"HTTP/1.1 103 Early Hints\r\nX\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §7.1", "chunk size of letters", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §7.1", "negative chunk size", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §7.1", "chunk size of 2^64 and 4", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000004\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §7.1", "chunk size with 0x", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §7.1", "space after a chunk size", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4 \r\nEVIL\r\n0\r\n\r\n"),
    ("9112 §7.1", "chunk size ends with a bare LF", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\nEVIL\r\n0\r\n\r\n"),
    ("9112 §7.1", "bare LF in a chunk extension", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;\nEVIL\r\n0\r\n\r\n"),
    ("9112 §7.1", "chunk longer than its size", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL!\r\n0\r\n\r\n"),
    ("9112 §7.1", "no line end after a chunk", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL0\r\n\r\n"),
    ("9112 §7.1.2", "trailer without a colon", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\nX\r\n\r\n"),
    ("9112 §7.1.2", "folded trailer", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\nX: y\r\n z\r\n\r\n"),
    ("9112 §7.1.2", "NUL in a trailer", Get, Body, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\nX: y\0\r\n\r\n"),
    ("9112 §8", "end before the last chunk", Get, BodyThenEnd, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n"),
    ("9112 §8", "end inside a chunk", Get, BodyThenEnd, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nEVIL"),
    ("9112 §8", "end before the end of the trailers", Get, BodyThenEnd, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n"),
    ("9112 §8", "end before the length", Get, BodyThenEnd, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nEVIL"),
    ("9112 §6.3", "a second response", Get, Extra, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §6.3", "more than the length", Get, Extra, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEVIL"),
    ("9112 §6.3", "more than the last chunk", Get, Extra, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §9.3.2", "a body after HEAD", Ask::Head, Extra, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §9.3.2", "a second response after HEAD", Ask::Head, Extra, b"HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §9.3.2", "chunks after HEAD", Ask::Head, Extra, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9110 §15.3.5", "a body after 204", Get, Extra, b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §15.3.5", "a second response after 204", Get, Extra, b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9112 §6.1", "chunks after 204", Get, Extra, b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
    ("9110 §15.4.5", "a body after 304", Get, Extra, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nEVIL"),
    ("9110 §15.4.5", "a second response after 304", Get, Extra, b"HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
];

/// The sections, names and bytes that are too long to write down. All must end in 502.
fn large() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let ok = |fields: String| {
        format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 4\r\n\r\nEVIL").into_bytes()
    };
    let hints = "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n".repeat(100_000);
    vec![
        ("9110 §5.4", "value of 64 KiB", ok(format!("X: {}\r\n", "y".repeat(65_536)))),
        ("9110 §5.4", "200 fields", ok("X: y\r\n".repeat(200))),
        ("9110 §5.4", "100,000 fields", ok("X: y\r\n".repeat(100_000))),
        (
            "9112 §4",
            "reason of 64 KiB",
            format!("HTTP/1.1 200 {}\r\n\r\n", "y".repeat(65_536)).into_bytes(),
        ),
        (
            "9110 §15.2",
            "100,000 interim responses",
            [hints.as_bytes(), &ok(String::new())].concat(),
        ),
    ]
}

const INNOCENT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ninnocent";

/// Innocent requests after a row: each must get the innocent answer and nothing of the row's.
async fn innocent_answers(house: &House, script: &Script) -> Result<(), String> {
    script.answer_with(INNOCENT, false);
    for _ in 0..3 {
        let request = b"GET /innocent HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        let (status, _, body) = only_response(&until_closed(house, request).await?)?;
        if status != 200 || body != b"innocent" {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(format!("the next request got {status} {body:?}"));
        }
    }
    Ok(())
}

async fn run(
    house: &House,
    script: &Script,
    ask: Ask,
    kind: Kind,
    bytes: &[u8],
) -> Result<(), String> {
    let ends = matches!(kind, HeadThenEnd | BodyThenEnd);
    script.answer_with(bytes, ends);
    let sent = script.sent();
    let (method, more) = match ask {
        Get => ("GET", "Connection: close\r\n"),
        Ask::Head => ("HEAD", "Connection: close\r\n"),
        WebSocket => (
            "GET",
            "Connection: upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
    };
    let request = format!("{method} / HTTP/1.1\r\nHost: a.test\r\n{more}\r\n");
    let answer = if ask == WebSocket {
        // A refused upgrade leaves a connection that may be used again.
        crate::table::first_response(house, request.as_bytes()).await?
    } else {
        until_closed(house, request.as_bytes()).await?
    };
    if bytes.len() < 4096 {
        script.has_sent(sent + 1).await;
    }
    innocent_answers(house, script).await?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    if matches!(kind, Body | BodyThenEnd) && only_response(&answer).is_err() {
        // A body that is broken off is no success, whatever came before.
        return Ok(());
    }
    match (kind, answer.starts_with(b"HTTP/1.1 502 "), find(&answer, b"EVIL")) {
        (_, true, None) | (Extra, _, None) => Ok(()),
        _ => Err(format!("the client got {text:?}")),
    }
}

#[tokio::test]
async fn ambiguous_responses_become_502_or_are_broken_off() {
    let script = Script::http1().await;
    let house = house(script.address(), "http").await;
    let mut failures = Failures::default();
    for &(section, what, ask, kind, bytes) in ROWS {
        failures.note(section, what, run(&house, &script, ask, kind, bytes).await);
    }
    for (section, what, bytes) in large() {
        // Some of the interim responses may be forwarded before they are too many.
        let kind = if what.contains("interim") { Extra } else { Kind::Head };
        failures.note(section, what, run(&house, &script, Get, kind, &bytes).await);
    }
    failures.report(80);
}
