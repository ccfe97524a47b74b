//! HTTP/2 requests and frames that are refused.

use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Fields, GOAWAY, HEADERS, PADDED, PING,
    PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, data, frame,
    headers, literal, setting,
};

/// The section, what is wrong, and the fields of a request on stream 1.
pub(crate) type Row = (&'static str, &'static str, Fields<'static>);

/// An innocent GET.
pub(crate) const GET: Fields<'static> =
    &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")];

/// An innocent POST.
pub(crate) const POST: Fields<'static> =
    &[(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")];

/// What follows the fields of an innocent GET.
pub(crate) const AFTER_GET: &[Row] = &[
    ("9113 §8.2.1", "name in upper case", &[("X-A", "b")]),
    ("9113 §8.2.1", "name with one letter in upper case", &[("x-A", "b")]),
    ("9113 §8.2", "empty name", &[("", "b")]),
    ("9113 §8.2.1", "space in a name", &[("x a", "b")]),
    ("9113 §8.2.1", "colon in a name", &[("x:a", "b")]),
    ("9113 §8.2.1", "NUL in a name", &[("x\0a", "b")]),
    ("9113 §8.2.1", "control byte in a name", &[("x\u{1}a", "b")]),
    ("9113 §8.2.1", "DEL in a name", &[("x\u{7f}a", "b")]),
    ("9113 §8.2.1", "byte above ASCII in a name", &[("x\u{e9}a", "b")]),
    ("9113 §8.2.1", "line end in a name", &[("x-a: b\r\nx-c", "d")]),
    ("9113 §8.2.1", "a field in a name", &[("transfer-encoding: chunked\r\nx", "d")]),
    ("9113 §8.2.1", "NUL in a value", &[("x-a", "b\0c")]),
    ("9113 §8.2.1", "CR in a value", &[("x-a", "b\rc")]),
    ("9113 §8.2.1", "LF in a value", &[("x-a", "b\nc")]),
    ("9113 §8.2.1", "a field in a value", &[("x-a", "b\r\ntransfer-encoding: chunked")]),
    (
        "9113 §8.2.1",
        "a request in a value",
        &[("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test")],
    ),
    ("9113 §8.2.1", "space before a value", &[("x-a", " b")]),
    ("9113 §8.2.1", "space after a value", &[("x-a", "b ")]),
    ("9113 §8.2.1", "tab before a value", &[("x-a", "\tb")]),
    ("9113 §8.2.1", "tab after a value", &[("x-a", "b\t")]),
    ("9113 §8.2.2", "connection", &[("connection", "close")]),
    ("9113 §8.2.2", "keep-alive", &[("keep-alive", "timeout=5")]),
    ("9113 §8.2.2", "proxy-connection", &[("proxy-connection", "keep-alive")]),
    ("9113 §8.2.2", "transfer-encoding", &[("transfer-encoding", "chunked")]),
    ("9113 §8.2.2", "transfer-encoding, identity", &[("transfer-encoding", "identity")]),
    ("9113 §8.2.2", "upgrade", &[("upgrade", "websocket")]),
    ("9113 §8.2.2", "te other than trailers", &[("te", "gzip")]),
    ("9113 §8.2.2", "te with more than trailers", &[("te", "trailers, gzip")]),
    ("9113 §8.3", "second :method", &[(":method", "GET")]),
    ("9113 §8.3", "second :method, another", &[(":method", "POST")]),
    ("9113 §8.3", "second :scheme", &[(":scheme", "https")]),
    ("9113 §8.3", "second :path", &[(":path", "/smuggled")]),
    ("9113 §8.3", "second :authority", &[(":authority", "b.test")]),
    ("9113 §8.3", "unknown pseudo-field", &[(":foo", "bar")]),
    ("9113 §8.3", "pseudo-field without a name", &[(":", "bar")]),
    ("9113 §8.3", "pseudo-field in upper case", &[(":Path", "/")]),
    ("9113 §8.3", "pseudo-field of a response", &[(":status", "200")]),
    ("8441 §4", ":protocol without CONNECT", &[(":protocol", "websocket")]),
    ("9113 §8.3.1", "host that differs from :authority", &[("host", "b.test")]),
    ("9113 §8.3.1", "host that differs by its port", &[("host", "a.test:81")]),
    ("9112 §3.2", "two hosts that differ", &[("host", "a.test"), ("host", "b.test")]),
    ("9112 §3.2", "empty host beside :authority", &[("host", "")]),
    ("9113 §8.1.1", "length without a body", &[("content-length", "5")]),
    ("9110 §8.6", "two lengths", &[("content-length", "0"), ("content-length", "5")]),
    ("9110 §8.6", "length of letters", &[("content-length", "x")]),
    ("9110 §8.6", "empty length", &[("content-length", "")]),
    ("9110 §8.6", "negative length", &[("content-length", "-1")]),
    ("9110 §8.6", "length with a plus sign", &[("content-length", "+0")]),
    ("9110 §8.6", "lengths in a list that differ", &[("content-length", "0, 5")]),
    ("9110 §8.6", "length of 2^64", &[("content-length", "18446744073709551616")]),
    ("9110 §10.1.1", "another expectation", &[("expect", "200-ok")]),
];

/// All fields.
pub(crate) const WHOLE: &[Row] = &[
    ("9113 §8.3.1", "no field at all", &[]),
    ("9113 §8.3.1", "no :method", &[(":scheme", "http"), (":authority", "a.test"), (":path", "/")]),
    ("9113 §8.3.1", "no :scheme", &[(":method", "GET"), (":authority", "a.test"), (":path", "/")]),
    (
        "9113 §8.3.1",
        "no :path",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test")],
    ),
    (
        "9113 §8.3.1",
        "neither :authority nor host",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/")],
    ),
    (
        "9113 §8.3",
        ":path after a regular field",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.test"),
            ("x-a", "b"),
            (":path", "/"),
        ],
    ),
    (
        "9113 §8.3",
        ":authority after a regular field",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            ("x-a", "b"),
            (":authority", "a.test"),
        ],
    ),
    (
        "9113 §8.3.1",
        "empty :method",
        &[(":method", ""), (":scheme", "http"), (":authority", "a.test"), (":path", "/")],
    ),
    (
        "9113 §8.3.1",
        "space in :method",
        &[
            (":method", "GET /smuggled"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/"),
        ],
    ),
    (
        "9113 §8.3.1",
        "a request line in :method",
        &[
            (":method", "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\nGET"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/"),
        ],
    ),
    (
        "9113 §8.3.1",
        "byte above ASCII in :method",
        &[(":method", "G\u{e9}T"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")],
    ),
    (
        "9113 §8.3.1",
        "empty :scheme",
        &[(":method", "GET"), (":scheme", ""), (":authority", "a.test"), (":path", "/")],
    ),
    (
        "9113 §8.3.1",
        "slash in :scheme",
        &[
            (":method", "GET"),
            (":scheme", "http://b.test/"),
            (":authority", "a.test"),
            (":path", "/"),
        ],
    ),
    (
        "9113 §8.3.1",
        "line end in :scheme",
        &[
            (":method", "GET"),
            (":scheme", "http\r\nx: y"),
            (":authority", "a.test"),
            (":path", "/"),
        ],
    ),
    (
        "9113 §8.3.1",
        "empty :path",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "")],
    ),
    (
        "9113 §8.3.1",
        ":path without a slash",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "x")],
    ),
    (
        "9113 §8.3.1",
        ":path of only a query",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "?x")],
    ),
    (
        "9113 §8.3.1",
        ":path in absolute form",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "http://b.test/smuggled"),
        ],
    ),
    (
        "9113 §8.3.1",
        "asterisk without OPTIONS",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "*")],
    ),
    (
        "9113 §8.3.1",
        "space in :path",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/a b")],
    ),
    (
        "9113 §8.3.1",
        "version in :path",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/smuggled HTTP/1.1\r\nX: y"),
        ],
    ),
    (
        "9113 §8.3.1",
        "a request in :path",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/ HTTP/1.1\r\nHost: a.test\r\n\r\nGET /smuggled"),
        ],
    ),
    (
        "9113 §8.3.1",
        "tab in :path",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/a\tb")],
    ),
    (
        "9113 §8.3.1",
        "NUL in :path",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/a\0b")],
    ),
    (
        "9113 §8.3.1",
        "DEL in :path",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/a\u{7f}")],
    ),
    (
        "3986 §2",
        "UTF-8 in :path",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/\u{e9}")],
    ),
    (
        "9113 §8.3.1",
        "empty :authority without host",
        &[(":method", "GET"), (":scheme", "http"), (":authority", ""), (":path", "/")],
    ),
    (
        "9113 §8.3.1",
        "user in :authority",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "u@a.test"), (":path", "/")],
    ),
    (
        "9113 §8.3.1",
        "space in :authority",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test b"), (":path", "/")],
    ),
    (
        "9113 §8.3.1",
        "slash in :authority",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test/x"), (":path", "/")],
    ),
    (
        "9113 §8.3.1",
        "line end in :authority",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.test\r\nx: y"),
            (":path", "/"),
        ],
    ),
    (
        "3986 §3.2.3",
        "letters as the port in :authority",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test:x"), (":path", "/")],
    ),
    (
        "3986 §3.2.3",
        "port out of range in :authority",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test:65536"), (":path", "/")],
    ),
    (
        "9110 §7.2",
        "broken host without :authority",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a.test/x")],
    ),
    (
        "9112 §3.2",
        "two hosts without :authority",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            ("host", "a.test"),
            ("host", "b.test"),
        ],
    ),
    ("9113 §8.5", "CONNECT", &[(":method", "CONNECT"), (":authority", "a.test:443")]),
    (
        "9113 §8.5",
        "CONNECT with a path",
        &[(":method", "CONNECT"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")],
    ),
    (
        "8441 §4",
        "CONNECT with :protocol but no :path",
        &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "a.test"),
        ],
    ),
    (
        "8441 §4",
        "CONNECT with an empty :protocol",
        &[
            (":method", "CONNECT"),
            (":protocol", ""),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/"),
        ],
    ),
    (
        "8441 §4",
        "CONNECT with a line end in :protocol",
        &[
            (":method", "CONNECT"),
            (":protocol", "x\r\ny: z"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/"),
        ],
    ),
];

/// The section, what is wrong, and bytes after the preface and SETTINGS.
pub(crate) type Bytes = (&'static str, &'static str, fn() -> Vec<u8>);

/// The header that another frame or a broken block follows or precedes.
fn get(stream: u32) -> Vec<u8> {
    headers(END_STREAM, stream, GET)
}

/// A request whose header block is followed by these bytes of HPACK.
fn hpack(more: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&block(GET)[..], more].concat())
}

/// Frames that break the rules of a connection, alone or before a request.
pub(crate) const FRAMES: &[Bytes] = &[
    ("9113 §5.1.1", "HEADERS on an even stream", || get(2)),
    ("9113 §6.2", "HEADERS on stream 0", || get(0)),
    ("9113 §6.1", "DATA on stream 0", || data(END_STREAM, 0, "x")),
    ("9113 §5.1", "DATA on an idle stream", || data(END_STREAM, 1, "x")),
    ("9113 §8.4", "PUSH_PROMISE of a client", || {
        frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], &block(GET)[..]].concat())
    }),
    ("9113 §6.2", "padding longer than HEADERS", || {
        frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &[&[255], &block(GET)[..]].concat())
    }),
    ("9113 §6.2", "HEADERS without a byte for its padding", || {
        frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &[])
    }),
    ("9113 §4.2", "HEADERS larger than the largest frame", || {
        headers(END_STREAM, 1, &[GET, &[("x-a", &"b".repeat(40_000))]].concat())
    }),
    ("9113 §6.5", "SETTINGS of five bytes", || [frame(SETTINGS, 0, 0, &[0; 5]), get(1)].concat()),
    ("9113 §6.5", "SETTINGS on a stream", || [frame(SETTINGS, 0, 1, &[]), get(1)].concat()),
    ("9113 §6.5", "acknowledged SETTINGS with content", || {
        [frame(SETTINGS, ACK, 0, &setting(3, 1)), get(1)].concat()
    }),
    ("9113 §6.5.2", "ENABLE_PUSH of 2", || {
        [frame(SETTINGS, 0, 0, &setting(2, 2)), get(1)].concat()
    }),
    ("9113 §6.5.2", "INITIAL_WINDOW_SIZE of 2^31", || {
        [frame(SETTINGS, 0, 0, &setting(4, 1 << 31)), get(1)].concat()
    }),
    ("9113 §6.5.2", "MAX_FRAME_SIZE below 16,384", || {
        [frame(SETTINGS, 0, 0, &setting(5, 16_383)), get(1)].concat()
    }),
    ("9113 §6.5.2", "MAX_FRAME_SIZE of 2^24", || {
        [frame(SETTINGS, 0, 0, &setting(5, 1 << 24)), get(1)].concat()
    }),
    ("8441 §3", "ENABLE_CONNECT_PROTOCOL of 2", || {
        [frame(SETTINGS, 0, 0, &setting(8, 2)), get(1)].concat()
    }),
    ("9113 §6.9", "WINDOW_UPDATE of 0", || [frame(WINDOW_UPDATE, 0, 0, &[0; 4]), get(1)].concat()),
    ("9113 §6.9", "WINDOW_UPDATE of three bytes", || {
        [frame(WINDOW_UPDATE, 0, 0, &[0; 3]), get(1)].concat()
    }),
    ("9113 §6.9.1", "window beyond 2^31", || {
        [
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            get(1),
        ]
        .concat()
    }),
    ("9113 §6.9", "WINDOW_UPDATE on an idle stream", || frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
    ("9113 §6.7", "PING of seven bytes", || [frame(PING, 0, 0, &[0; 7]), get(1)].concat()),
    ("9113 §6.7", "PING on a stream", || [frame(PING, 0, 1, &[0; 8]), get(1)].concat()),
    ("9113 §6.4", "RST_STREAM on an idle stream", || frame(RST_STREAM, 0, 1, &[0; 4])),
    ("9113 §6.4", "RST_STREAM on stream 0", || {
        [frame(RST_STREAM, 0, 0, &[0; 4]), get(1)].concat()
    }),
    ("9113 §6.8", "GOAWAY on a stream", || [frame(GOAWAY, 0, 1, &[0; 8]), get(1)].concat()),
    ("9113 §6.3", "PRIORITY on stream 0", || [frame(PRIORITY, 0, 0, &[0; 5]), get(1)].concat()),
    ("9113 §6.10", "CONTINUATION without HEADERS", || {
        [frame(CONTINUATION, END_HEADERS, 1, &block(GET)), get(3)].concat()
    }),
    ("9113 §6.10", "CONTINUATION on stream 0", || {
        frame(CONTINUATION, END_HEADERS, 0, &block(GET))
    }),
    ("9113 §6.10", "CONTINUATION of another stream", || {
        [frame(HEADERS, END_STREAM, 1, &block(GET)), frame(CONTINUATION, END_HEADERS, 3, &[])]
            .concat()
    }),
    ("9113 §6.2", "another frame inside a header block", || {
        [
            frame(HEADERS, END_STREAM, 1, &block(GET)),
            frame(PING, 0, 0, &[0; 8]),
            frame(CONTINUATION, END_HEADERS, 1, &[]),
        ]
        .concat()
    }),
    ("9113 §6.2", "another stream inside a header block", || {
        [frame(HEADERS, END_STREAM, 1, &block(GET)), get(3)].concat()
    }),
    ("9113 §6.2", "unknown frame inside a header block", || {
        [
            frame(HEADERS, END_STREAM, 1, &block(GET)),
            frame(77, 0, 1, &[]),
            frame(CONTINUATION, END_HEADERS, 1, &[]),
        ]
        .concat()
    }),
    ("7541 §6.1", "index 0", || hpack(&[0x80])),
    ("7541 §2.3.3", "index beyond the tables", || hpack(&[0xbe])),
    ("7541 §5.1", "index without an end", || hpack(&[0xff; 20])),
    ("7541 §5.2", "literal cut off", || hpack(&[0, 5, b'x'])),
    ("7541 §5.2", "value longer than the block", || hpack(&[0, 1, b'x', 0x7f, 0xff, 0xff, 0x03])),
    ("7541 §6.3", "table larger than allowed", || {
        frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            1,
            &[&[0x3f, 0xe1, 0xff, 0xff, 0x07], &block(GET)[..]].concat(),
        )
    }),
    ("7541 §4.2", "change of the table's size after a field", || hpack(&[0x20])),
    ("7541 §5.2", "Huffman with the end symbol", || {
        hpack(&[0, 1, b'x', 0x84, 255, 255, 255, 255])
    }),
    ("7541 §5.2", "Huffman padded with zeros", || hpack(&[0, 1, b'x', 0x81, 0x00])),
    ("9110 §5.5", "value that is no UTF-8 and has LF", || hpack(&literal(b"x-a", b"\xff\n"))),
    ("9113 §3.4", "a second preface", || [PREFACE.to_vec(), get(1)].concat()),
];

/// An open POST on stream 1 with these fields.
fn post(more: Fields<'_>) -> Vec<u8> {
    headers(0, 1, &[POST, more].concat())
}

/// What breaks a request whose header may have been forwarded already.
pub(crate) const LATE: &[Bytes] = &[
    ("9113 §8.1.1", "more DATA than the length", || {
        [post(&[("content-length", "4")]), data(END_STREAM, 1, "hello")].concat()
    }),
    ("9113 §8.1.1", "more DATA than the length, in a second frame", || {
        [
            post(&[("content-length", "5")]),
            data(0, 1, "hell"),
            data(END_STREAM, 1, "oGET /smuggled HTTP/1.1\r\n\r\n"),
        ]
        .concat()
    }),
    ("9113 §8.1.1", "less DATA than the length", || {
        [post(&[("content-length", "9")]), data(END_STREAM, 1, "hello")].concat()
    }),
    ("9113 §8.1.1", "no DATA although there is a length", || {
        [post(&[("content-length", "9")]), data(END_STREAM, 1, "")].concat()
    }),
    ("9113 §8.1.1", "less DATA than the length before trailers", || {
        [
            post(&[("content-length", "9")]),
            data(0, 1, "hello"),
            headers(END_STREAM, 1, &[("x-a", "b")]),
        ]
        .concat()
    }),
    ("9113 §8.1", "trailers without END_STREAM", || {
        [post(&[]), data(0, 1, "hello"), headers(0, 1, &[("x-a", "b")])].concat()
    }),
    ("9113 §8.2.1", "trailer in upper case", || {
        [post(&[]), data(0, 1, "hello"), headers(END_STREAM, 1, &[("X-A", "b")])].concat()
    }),
    ("9113 §8.2.1", "trailer with a line end in its value", || {
        [
            post(&[]),
            data(0, 1, "hello"),
            headers(END_STREAM, 1, &[("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1")]),
        ]
        .concat()
    }),
    ("9113 §8.2.1", "trailer with a line end in its name", || {
        [post(&[]), data(0, 1, "hello"), headers(END_STREAM, 1, &[("x\r\ny", "b")])].concat()
    }),
    ("9113 §8.2.2", "connection in the trailers", || {
        [post(&[]), data(0, 1, "hello"), headers(END_STREAM, 1, &[("connection", "close")])]
            .concat()
    }),
    ("9113 §8.2.2", "transfer-encoding in the trailers", || {
        [
            post(&[]),
            data(0, 1, "hello"),
            headers(END_STREAM, 1, &[("transfer-encoding", "chunked")]),
        ]
        .concat()
    }),
    ("9113 §6.1", "padding longer than DATA", || {
        [post(&[]), frame(DATA, END_STREAM | PADDED, 1, &[9, 1])].concat()
    }),
    ("9113 §6.1", "DATA without a byte for its padding", || {
        [post(&[]), frame(DATA, END_STREAM | PADDED, 1, &[])].concat()
    }),
    ("9113 §4.2", "DATA larger than the largest frame", || {
        [post(&[]), frame(DATA, END_STREAM, 1, &[b'x'; 20_000])].concat()
    }),
    ("9113 §6.9", "WINDOW_UPDATE of 0 on the stream", || {
        [post(&[]), frame(WINDOW_UPDATE, 0, 1, &[0; 4]), data(END_STREAM, 1, "x")].concat()
    }),
    ("9113 §6.9.1", "window of the stream beyond 2^31", || {
        [post(&[]), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255]), data(END_STREAM, 1, "x")]
            .concat()
    }),
    ("9113 §6.4", "RST_STREAM of three bytes", || {
        [post(&[]), frame(RST_STREAM, 0, 1, &[0; 3])].concat()
    }),
    ("9113 §5.1.1", "a stream older than the last", || [headers(0, 3, POST), get(1)].concat()),
    ("9113 §6.10", "CONTINUATION after the whole header", || {
        [post(&[]), frame(CONTINUATION, END_HEADERS, 1, &[]), data(END_STREAM, 1, "x")].concat()
    }),
    ("7541 §2.3.3", "broken block in the trailers", || {
        [post(&[]), frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x80])].concat()
    }),
];

/// Malformed, and answered all the same: the HTTP/2 library takes these parts out before the gateway
/// sees the request, so it cannot refuse it. Of what is dropped nothing may reach the instance.
pub(crate) const DROPPED: &[Bytes] = &[
    ("9113 §8.3.1", "fragment in :path", || {
        let path = (":path", "/a#smuggled");
        headers(
            END_STREAM,
            1,
            &[(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), path],
        )
    }),
    ("9113 §8.1", "trailers with a pseudo-field", || {
        [post(&[]), data(0, 1, "hello"), headers(END_STREAM, 1, &[(":path", "/smuggled")])].concat()
    }),
];
