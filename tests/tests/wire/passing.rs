//! Well-formed requests that look odd: they pass, and reach the instance as what they mean.

use posthouse_tests::House;
use posthouse_tests::raw::Raw;

use crate::frame_rows::{GET, POST};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Link, PADDED, PRIORITY, SETTINGS,
    WINDOW_UPDATE, block, carries, data, frame, headers, setting,
};
use crate::recorder::{Recorder, find};
use crate::table::{Failures, ROW_DEADLINE, first_response, house};

/// The section, what is odd, bytes of the request, what the instance must receive, and what it
/// must not; both in lower case.
type Row =
    (&'static str, &'static str, &'static [u8], &'static [&'static str], &'static [&'static str]);

const ROWS: &[Row] = &[
    ("9112 §2.2", "empty line before the request", b"\r\nGET /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &["get /a http/1.1\r\n"], &[]),
    ("9112 §3.2.2", "absolute form", b"GET http://a.test/a?b=c HTTP/1.1\r\nHost: a.test\r\n\r\n", &["get /a?b=c http/1.1\r\n", "host: a.test\r\n"], &["http://"]),
    ("9112 §3.2.2", "absolute form without a path", b"GET http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", &["get / http/1.1\r\n"], &[]),
    ("9110 §4.2.3", "absolute form with other cases", b"GET HTTP://A.test/a HTTP/1.1\r\nHost: a.TEST\r\n\r\n", &["get /a http/1.1\r\n"], &[]),
    ("9112 §3.2.4", "asterisk form", b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", &["options * http/1.1\r\n"], &[]),
    ("9110 §7.2", "Host with a port", b"GET /a HTTP/1.1\r\nHost: a.test:8080\r\n\r\n", &["host: a.test:8080\r\n"], &[]),
    ("3986 §3.2.2", "Host of IPv6", b"GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", &["host: [::1]:80\r\n"], &[]),
    ("9110 §5.1", "names in other cases", b"GET /a HTTP/1.1\r\nhOsT: a.test\r\ncOnTeNt-LeNgTh: 2\r\n\r\nhi", &["content-length: 2\r\n", "\r\n\r\nhi"], &[]),
    ("9112 §5.1", "no space after the colon", b"GET /a HTTP/1.1\r\nHost:a.test\r\nX-A:b\r\n\r\n", &["x-a: b\r\n"], &[]),
    ("9112 §5.1", "space and tab around a value", b"GET /a HTTP/1.1\r\nHost: \t a.test \t \r\nX-A: \t b \t \r\n\r\n", &["host: a.test", "x-a: "], &[]),
    ("9110 §5.5", "empty value", b"GET /a HTTP/1.1\r\nHost: a.test\r\nX-A:\r\n\r\n", &["x-a:"], &[]),
    ("9110 §5.5", "bytes above ASCII in a value", b"GET /a HTTP/1.1\r\nHost: a.test\r\nX-A: \xc3\xa9\r\n\r\n", &["x-a: \u{e9}\r\n"], &[]),
    ("9110 §5.6.2", "every mark that a name may have", b"GET /a HTTP/1.1\r\nHost: a.test\r\n!#$%&'*+-.^_`|~9: b\r\n\r\n", &["!#$%&'*+-.^_`|~9: b\r\n"], &[]),
    ("9110 §5.3", "a field in two lines", b"GET /a HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n", &["x-a: 1\r\n", "x-a: 3\r\n"], &[]),
    ("9110 §9.1", "a method that nobody knows", b"PURGE+1 /a HTTP/1.1\r\nHost: a.test\r\n\r\n", &["purge+1 /a http/1.1\r\n"], &[]),
    ("9110 §9.3.1", "GET with a body", b"GET /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi", &["content-length: 2\r\n", "\r\n\r\nhi"], &[]),
    ("9110 §8.6", "length of 0", b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n", &["content-length: 0\r\n"], &[]),
    ("9110 §8.6", "length with leading zeros", b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 002\r\n\r\nhi", &["\r\n\r\nhi"], &[]),
    ("9112 §6.1", "chunked in other cases", b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: cHuNkEd\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &["hi"], &[]),
    ("9112 §7.1", "chunk sizes with zeros and letters", b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n00A\r\n0123456789\r\n00b\r\n0123456789x\r\n000\r\n\r\n", &["0123456789"], &[]),
    ("9112 §7.1.1", "chunk extensions", b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b;c=\"d;e\";f\r\nhi\r\n0;g\r\n\r\n", &["hi"], &[";c="]),
    ("9112 §7.1.2", "trailers", b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 5\r\n\r\n", &["hi", "x-sum: 5\r\n\r\n"], &[]),
    ("9110 §4.1", "two slashes, percent signs and marks in the target", b"GET //a//b%2F%7E?q=/?:@!$&'()*+,;=~ HTTP/1.1\r\nHost: a.test\r\n\r\n", &["get //a//b%2f%7e?q=/?:@!$&'()*+,;=~ http/1.1\r\n"], &[]),
    ("9110 §7.8", "an upgrade to h2c is not passed on", b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", &["get /a http/1.1\r\n"], &["h2c", "http2-settings"]),
    ("9110 §7.6.1", "fields of the connection are not passed on", b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: X-Mine, keep-alive\r\nX-Mine: b\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: gzip\r\nX-Other: c\r\n\r\n", &["x-other: c\r\n"], &["x-mine", "keep-alive: timeout", "proxy-connection", "te: gzip"]),
    ("9110 §7.6.1", "Connection cannot take the framing away", b"POST /a HTTP/1.1\r\nHost: a.test\r\nConnection: Content-Length, Host\r\nContent-Length: 2\r\n\r\nhi", &["host: a.test\r\n", "content-length: 2\r\n", "\r\n\r\nhi"], &[]),
    ("9112 §9.3", "HTTP/1.0 with a host", b"GET /a HTTP/1.0\r\nHost: a.test\r\n\r\n", &["get /a http/1.1\r\n", "host: a.test\r\n"], &[]),
];

#[tokio::test]
async fn odd_requests_pass() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut failures = Failures::default();
    for &(section, what, bytes, has, has_not) in ROWS {
        let result = async {
            recorder.take();
            let answer = first_response(&house, bytes).await?;
            if !answer.starts_with(b"HTTP/1.1 200 ") {
                return Err(format!("answered {:?}", String::from_utf8_lossy(&answer)));
            }
            judge(&recorder, has, has_not)
        };
        failures.note(section, what, result.await);
    }
    failures.report(ROWS.len());
}

/// Whether the one request that the instance received has these parts and not those.
fn judge(recorder: &Recorder, has: &[&str], has_not: &[&str]) -> Result<(), String> {
    let received = recorder.take();
    let [request] = &received.whole[..] else {
        return Err(format!("the instance received {}", received.text()));
    };
    let text = String::from_utf8_lossy(request).to_lowercase();
    let missing = has.iter().find(|part| !text.contains(**part));
    let unwanted = has_not.iter().find(|part| text.contains(**part));
    match (missing, unwanted) {
        (None, None) => Ok(()),
        (Some(part), _) => Err(format!("no {part:?} in {text:?}")),
        (_, Some(part)) => Err(format!("{part:?} in {text:?}")),
    }
}

/// The section, what is odd, frames after the preface and SETTINGS, and what the instance must
/// receive.
type Row2 = (&'static str, &'static str, fn() -> Vec<u8>, &'static [&'static str]);

/// A GET with these fields too.
fn get(more: &[(&str, &str)]) -> Vec<u8> {
    headers(END_STREAM, 1, &[GET, more].concat())
}

/// A POST whose body is these frames.
fn post(more: &[(&str, &str)], body: &[Vec<u8>]) -> Vec<u8> {
    [headers(0, 1, &[POST, more].concat()), body.concat()].concat()
}

const FRAMES: &[Row2] = &[
    ("9113 §8.3.1", "plain", || get(&[]), &["get / http/1.1\r\n", "host: a.test\r\n"]),
    (
        "9113 §8.3.1",
        "host beside :authority, the same",
        || get(&[("host", "a.test")]),
        &["host: a.test\r\n"],
    ),
    (
        "9113 §8.3.1",
        "host instead of :authority",
        || {
            headers(
                END_STREAM,
                1,
                &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "b.test")],
            )
        },
        &["host: b.test\r\n"],
    ),
    (
        "9113 §8.3",
        "pseudo-fields in another order",
        || {
            headers(
                END_STREAM,
                1,
                &[
                    (":path", "/a"),
                    (":authority", "a.test"),
                    (":scheme", "http"),
                    (":method", "GET"),
                ],
            )
        },
        &["get /a http/1.1\r\n"],
    ),
    (
        "9113 §8.3.1",
        "asterisk with OPTIONS",
        || {
            headers(
                END_STREAM,
                1,
                &[
                    (":method", "OPTIONS"),
                    (":scheme", "http"),
                    (":authority", "a.test"),
                    (":path", "*"),
                ],
            )
        },
        &["options * http/1.1\r\n"],
    ),
    (
        "9113 §8.2.3",
        "cookies in crumbs",
        || get(&[("cookie", "a=b"), ("cookie", "c=d")]),
        &["cookie: a=b; c=d\r\n"],
    ),
    ("9113 §8.2.2", "te: trailers", || get(&[("te", "trailers")]), &["get / http/1.1\r\n"]),
    (
        "9110 §8.6",
        "length of 0 without a body",
        || get(&[("content-length", "0")]),
        &["get / http/1.1\r\n"],
    ),
    (
        "9113 §8.1.1",
        "a length and as much DATA",
        || post(&[("content-length", "5")], &[data(0, 1, "hel"), data(END_STREAM, 1, "lo")]),
        &["content-length: 5\r\n", "hello"],
    ),
    (
        "9113 §8.1",
        "DATA without a length",
        || post(&[], &[data(END_STREAM, 1, "hello")]),
        &["hello"],
    ),
    (
        "9113 §6.1",
        "padded DATA",
        || {
            post(
                &[("content-length", "2")],
                &[frame(DATA, END_STREAM | PADDED, 1, b"\x03hi\0\0\0")],
            )
        },
        &["\r\n\r\nhi"],
    ),
    (
        "9113 §6.1",
        "empty DATA before the end",
        || post(&[], &[data(0, 1, ""), data(0, 1, "hi"), data(END_STREAM, 1, "")]),
        &["hi"],
    ),
    (
        "9113 §8.1",
        "trailers",
        || post(&[], &[data(0, 1, "hi"), headers(END_STREAM, 1, &[("x-sum", "5")])]),
        &["hi", "x-sum: 5\r\n\r\n"],
    ),
    (
        "9113 §6.2",
        "padded HEADERS",
        || {
            frame(
                HEADERS,
                END_STREAM | END_HEADERS | PADDED,
                1,
                &[&[2], &block(GET)[..], &[0, 0]].concat(),
            )
        },
        &["get / http/1.1\r\n"],
    ),
    (
        "9113 §6.2",
        "HEADERS with a priority",
        || {
            frame(
                HEADERS,
                END_STREAM | END_HEADERS | 32,
                1,
                &[&[0, 0, 0, 0, 9], &block(GET)[..]].concat(),
            )
        },
        &["get / http/1.1\r\n"],
    ),
    (
        "9113 §6.10",
        "a header in three frames",
        || {
            let fields = block(GET);
            let begin = frame(HEADERS, END_STREAM, 1, &fields[..5]);
            [
                begin,
                frame(CONTINUATION, 0, 1, &fields[5..9]),
                frame(CONTINUATION, END_HEADERS, 1, &fields[9..]),
            ]
            .concat()
        },
        &["get / http/1.1\r\n"],
    ),
    (
        "9113 §5.5",
        "frames of unknown kinds",
        || [frame(77, 255, 0, b"x"), get(&[]), frame(78, 255, 0, b"x")].concat(),
        &["get / http/1.1\r\n"],
    ),
    (
        "9113 §6.5.2",
        "unknown settings",
        || [frame(SETTINGS, 0, 0, &setting(0x7777, 1)), get(&[])].concat(),
        &["get / http/1.1\r\n"],
    ),
    (
        "9113 §6.3",
        "PRIORITY of an idle stream",
        || [frame(PRIORITY, 0, 5, &[0, 0, 0, 0, 9]), get(&[])].concat(),
        &["get / http/1.1\r\n"],
    ),
    (
        "9113 §5.1.1",
        "streams that are left out",
        || headers(END_STREAM, 77, GET),
        &["get / http/1.1\r\n"],
    ),
    (
        "9113 §6.9",
        "a larger window",
        || [frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]), get(&[])].concat(),
        &["get / http/1.1\r\n"],
    ),
];

#[tokio::test]
async fn odd_frames_pass() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut failures = Failures::default();
    for &(section, what, bytes, has) in FRAMES {
        let result = async {
            recorder.take();
            let mut link = Link::begin(house.gateway()).await;
            let bytes = bytes();
            let answer = link.exchange(&bytes, |frame| match frame {
                Some(frame) if frame.kind == HEADERS && frame.status() == Some(200) => Some(Ok(())),
                // Only these are left in silence.
                Some(frame) if [SETTINGS, WINDOW_UPDATE].contains(&frame.kind) => None,
                other => Some(Err(format!("got {other:?}"))),
            });
            let answered = tokio::time::timeout(ROW_DEADLINE, answer).await;
            answered.map_err(|_| "no answer came".to_owned())??;
            judge(&recorder, has, &["transfer-encoding: chunked\r\ncontent-length"])
        };
        failures.note(section, what, result.await);
    }
    failures.report(FRAMES.len());
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut raw = Raw::open(house.gateway()).await;
    let one = |index: usize| match index % 3 {
        0 => format!("GET /{index} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        1 => format!("POST /{index} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"),
        _ => format!(
            "POST /{index} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        ),
    };
    raw.send((0..60).map(one).collect::<String>()).await;
    for index in 0..60 {
        let (head, body) = raw.read_response().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{index}: {head}");
        assert_eq!(String::from_utf8_lossy(&body), format!("/{index}"));
    }
    assert_eq!(recorder.received().whole.len(), 60);
}

#[tokio::test]
async fn requests_in_single_bytes_are_whole_in_the_end() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut raw = Raw::open(house.gateway()).await;
    let request = b"POST /slow HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;x=\"y\"\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n";
    for byte in request {
        raw.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    let (head, body) = raw.read_response().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == b"/slow", "{head}");
}

#[tokio::test]
async fn http1_0_closes_unless_it_asks_not_to() {
    let recorder = Recorder::start().await;
    let house: House = house(recorder.address(), "http").await;
    let mut raw = Raw::open(house.gateway()).await;
    raw.send("GET /a HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n").await;
    let (head, body) = raw.read_response().await;
    assert!(head.to_lowercase().contains("connection: keep-alive\r\n"), "{head}");
    assert_eq!(body, b"/a");
    raw.send("GET /b HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    let (rest, _) = raw.read_to_end().await;
    assert!(rest.ends_with(b"\r\n\r\n/b"), "{}", String::from_utf8_lossy(&rest));
    assert!(find(&recorder.received().bytes, b" HTTP/1.0").is_none());
}

#[tokio::test]
async fn many_streams_are_answered_each_for_itself() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut link = Link::begin(house.gateway()).await;
    for index in 0..50_u32 {
        let path = format!("/{index}");
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", path.as_str()),
        ];
        link.send(&headers(END_STREAM, 2 * index + 1, &fields)).await;
    }
    let mut answers = 0;
    while answers < 50 {
        let frame = link.next().await.expect("the connection goes on");
        if frame.kind == DATA && !frame.payload.is_empty() {
            assert!(carries(&frame, &format!("/{}", frame.stream / 2)), "{frame:?}");
            answers += 1;
        }
    }
    assert_eq!(recorder.received().whole.len(), 50);
}

/// RFC 9110 §6.5.1: such trailers must not be sent. They are refused or left out.
#[tokio::test]
async fn what_frames_or_routes_a_message_is_not_forwarded_as_a_trailer() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    for trailer in ["Content-Length: 9", "Transfer-Encoding: x", "Host: b.test", "Connection: y"] {
        recorder.take();
        let request = format!(
            "POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nhi\r\n0\r\n{trailer}\r\nX-Sum: 5\r\n\r\n"
        );
        let answer = first_response(&house, request.as_bytes()).await.expect("a response");
        let status = posthouse_tests::raw::status_of(&answer);
        assert!([Some(200), Some(400)].contains(&status), "{trailer}: {status:?}");
        let received = recorder.take();
        let text = received.text().to_lowercase();
        assert!(!text.contains(&trailer.to_lowercase()), "{trailer}: {text}");
        assert_eq!(received.whole.len() == 1, status == Some(200), "{trailer}: {text}");
    }
}
