//! Request heads: each row is a head and what becomes of it, whole and fed byte by byte.

use bytes::BytesMut;
use http::Method;
use posthouse_gateway::http::head::Known;
use posthouse_gateway::http1::{
    Framing, Limits, Refusal, RequestHead, Target, Version, check_downgrade, parse_request,
};

const LIMITS: Limits = Limits { uri: 100, head: 1000, fields: 10 };

fn whole(input: &[u8]) -> Result<Option<RequestHead>, Refusal> {
    parse_request(&mut BytesMut::from(input), &LIMITS)
}

/// Feeds one byte more until there is an answer. Nothing may be taken before that.
fn byte_by_byte(input: &[u8]) -> Result<Option<RequestHead>, Refusal> {
    let mut buf = BytesMut::new();
    for (index, byte) in input.iter().enumerate() {
        buf.extend_from_slice(&[*byte]);
        match parse_request(&mut buf, &LIMITS) {
            Ok(None) => assert_eq!(buf.len(), index + 1, "bytes of an unfinished head were taken"),
            answer => return answer,
        }
    }
    Ok(None)
}

fn show(head: &RequestHead) -> String {
    let fields: Vec<_> = head
        .fields
        .iter()
        .map(|(_, name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
        .collect();
    format!(
        "{} {} {} {:?} {:?} {} {} {} {fields:?}",
        head.method,
        head.target.path_and_query(),
        head.target.authority(),
        head.version,
        head.framing,
        head.keep_alive,
        head.expect_continue,
        head.upgrade,
    )
}

/// The head is understood, the same whole and byte by byte, and nothing after it is touched.
#[track_caller]
fn accept(input: impl AsRef<[u8]>) -> RequestHead {
    let input = input.as_ref();
    let context = String::from_utf8_lossy(input);
    let mut buf = BytesMut::from(input);
    buf.extend_from_slice(b"REST");
    let head = match parse_request(&mut buf, &LIMITS) {
        Ok(Some(head)) => head,
        other => panic!("{context:?} gave {other:?}"),
    };
    assert_eq!(&buf[..], b"REST", "{context:?}");
    match byte_by_byte(input) {
        Ok(Some(slow)) => assert_eq!(show(&slow), show(&head), "{context:?}"),
        other => panic!("{context:?} byte by byte gave {other:?}"),
    }
    head
}

/// The head is refused with this status and label; byte by byte with the same status.
#[track_caller]
fn refuse(input: impl AsRef<[u8]>, status: u16, reason: &str) {
    let input = input.as_ref();
    let context = String::from_utf8_lossy(input);
    match whole(input) {
        Err(refusal) => {
            assert_eq!((refusal.status, refusal.reason), (status, reason), "{context:?}");
        }
        Ok(head) => panic!("{context:?} passed as {:?}", head.map(|head| show(&head))),
    }
    match byte_by_byte(input) {
        Err(refusal) => assert_eq!(refusal.status, status, "{context:?} byte by byte: {refusal}"),
        Ok(head) => panic!("{context:?} passed as {:?}", head.map(|head| show(&head))),
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

#[test]
fn a_plain_request_is_understood() {
    let head = accept(
        "GET /a/b?c=d HTTP/1.1\r\nHost: Shop.Example:8080\r\nAccept: */*\r\nX-Thing:  two words \
         \r\n\r\n",
    );
    assert_eq!(head.method, Method::GET);
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.target.path(), "/a/b");
    assert_eq!(head.target.query(), Some("c=d"));
    assert_eq!(head.target.path_and_query(), "/a/b?c=d");
    assert_eq!(head.target.authority(), "Shop.Example:8080");
    assert_eq!(head.target.host(), "Shop.Example");
    assert_eq!(head.target.port(), Some(8080));
    assert_eq!(head.framing, Framing::None);
    assert!(head.keep_alive && !head.expect_continue && !head.upgrade);
    assert_eq!(head.fields.get(Known::Accept), Some(&b"*/*"[..]));
    assert_eq!(head.fields.get_named(b"x-tHing"), Some(&b"two words"[..]));
}

#[test]
fn request_lines() {
    for (head, status, reason) in [
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "version"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version"),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, "version"),
        ("GET / HTTP/3\r\nHost: a\r\n\r\n", 505, "version"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version"),
        ("PRI * HTTP/1.1\r\nHost: a\r\n\r\n", 505, "version"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET / HTTPS/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET / XHTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET /\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "line-end"),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", 400, "line-end"),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bare-line-feed"),
        ("GET / HTTP/1.1\n\n", 400, "bare-line-feed"),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("\tGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bare-line-feed"),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bare-line-feed"),
        ("\0GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GET: / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("(GET) / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("GÉT / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "start-line"),
        ("\u{16}\u{3}\u{1}\u{2} / HTTP/1.1\r\n\r\n", 400, "start-line"),
        ("HTTP/1.1 200 OK\r\n\r\n", 400, "start-line"),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501, "method"),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method"),
        ("ABCDEFGHIJABCDEFGHIJABCDEFGHIJABC / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method"),
    ] {
        refuse(head, status, reason);
    }
    assert_eq!(accept("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").method, Method::GET);
    assert_eq!(accept("PURGE / HTTP/1.1\r\nHost: a\r\n\r\n").method.as_str(), "PURGE");
    assert_eq!(accept("get / HTTP/1.1\r\nHost: a\r\n\r\n").method.as_str(), "get");
    assert_eq!(accept("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n").method.as_str(), "M-SEARCH");
}

#[test]
fn targets_refused() {
    for (target, reason) in [
        ("*", "target"),
        ("a", "target"),
        ("a/b", "target"),
        ("a:80", "target"),
        ("?a", "target"),
        ("/#", "target"),
        ("/a?b#c", "target"),
        ("/a\\b", "target"),
        ("/\\..\\a", "target"),
        ("/<a>", "target"),
        ("/`", "target"),
        ("/?<", "target"),
        ("/?\"", "target"),
        ("/é", "target"),
        ("/?é", "target"),
        ("/\u{7f}", "start-line"),
        ("/a\u{1}", "start-line"),
        ("/a\0b", "start-line"),
        ("/.", "dot-segment"),
        ("/..", "dot-segment"),
        ("/./a", "dot-segment"),
        ("/../a", "dot-segment"),
        ("/a/..", "dot-segment"),
        ("/a/.", "dot-segment"),
        ("/a/../b", "dot-segment"),
        ("/a/..?b", "dot-segment"),
        ("/%2e", "dot-segment"),
        ("/%2E%2e/a", "dot-segment"),
        ("/.%2e/a", "dot-segment"),
        ("/%2e./a", "dot-segment"),
        ("/a/%2e%2e", "dot-segment"),
        ("/a/..;/b", "dot-segment"),
        ("/a/..;x=y/b", "dot-segment"),
        ("/a/.;/b", "dot-segment"),
        ("/a%2f..%2fb", "dot-segment"),
        ("/a%2F../b", "dot-segment"),
        ("/a/..%5cb", "dot-segment"),
        ("/a%5C..", "dot-segment"),
        ("/%00", "nul-escape"),
        ("/a%00.html", "nul-escape"),
        ("/%", "escape"),
        ("/%4", "escape"),
        ("/%g0", "escape"),
        ("/%4g", "escape"),
        ("/a%/b", "escape"),
        ("/%u0041", "escape"),
        ("/%-1", "escape"),
        ("http://", "host-invalid"),
        ("http:///a", "host-invalid"),
        ("http:a", "target"),
        ("http:/a", "target"),
        ("ftp://a/", "target"),
        ("file:///etc/passwd", "target"),
        ("http://b/", "host-mismatch"),
        ("http://a:80/", "host-mismatch"),
        ("http://a@b/", "host-mismatch"),
        ("http://user@a/", "host-mismatch"),
        ("http://a/../b", "dot-segment"),
        ("http://a/#b", "target"),
        ("http://a#b", "host-mismatch"),
        ("http://a\\b", "host-mismatch"),
        ("//a@b /", "start-line"),
    ] {
        refuse(get(target), 400, reason);
    }
    refuse("OPTIONS *?a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target");
    refuse("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target");
    refuse("GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "host-invalid");
    refuse("GET http://u@a/ HTTP/1.0\r\n\r\n", 400, "host-invalid");
}

#[test]
fn targets_taken() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/?", "/", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        ("/a?..%zz\\&x={|}^`[]", "/a", Some("..%zz\\&x={|}^`[]")),
        ("/a?q=%00", "/a", Some("q=%00")),
        ("//a//b/", "//a//b/", None),
        ("/...", "/...", None),
        ("/.well-known/x", "/.well-known/x", None),
        ("/a..", "/a..", None),
        ("/a./b", "/a./b", None),
        ("/..a", "/..a", None),
        ("/a;b=..", "/a;b=..", None),
        ("/a%2fb%5cc", "/a%2fb%5cc", None),
        ("/%252e%252e/", "/%252e%252e/", None),
        ("/a:b@c!$&'()*+,;=~_-", "/a:b@c!$&'()*+,;=~_-", None),
        ("/{\"a\":[1|2^3]}", "/{\"a\":[1|2^3]}", None),
        ("http://a", "/", None),
        ("http://a/", "/", None),
        ("HTTP://A/b?c", "/b", Some("c")),
        ("https://a?b", "/", Some("b")),
    ] {
        let head = accept(get(target));
        assert_eq!((head.target.path(), head.target.query()), (path, query), "{target}");
        assert_eq!(head.target.host().to_ascii_lowercase(), "a", "{target}");
        // What is accepted can be forwarded over HTTP/2 as well.
        let uri: http::uri::PathAndQuery = head.target.path_and_query().parse().expect(target);
        assert_eq!(uri.as_str(), head.target.path_and_query());
    }
    assert_eq!(accept("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target.path(), "*");
    let head = accept("OPTIONS http://a:81 HTTP/1.1\r\nHost: a:81\r\n\r\n");
    assert_eq!((head.target.path(), head.target.port()), ("*", Some(81)));
    assert_eq!(accept("GET http://b/c HTTP/1.0\r\n\r\n").target.host(), "b");
}

/// What may not stand in `Host`.
const BAD_HOSTS: &[&str] = &[
    "",
    " ",
    "a b",
    "a,b",
    "a, b",
    "a/b",
    "a/",
    "/",
    "a?b",
    "a#b",
    "a@b",
    "user:pw@a",
    "a\\b",
    "a%41",
    "a;b",
    "a'",
    "\"a\"",
    "<a>",
    "a:",
    "a:b",
    "a:80:80",
    "a:-1",
    "a:+80",
    "a: 80",
    "a:65536",
    "a:000080000",
    ":80",
    ".",
    ".a",
    "a..b",
    "é",
    "http://a",
    "[",
    "[]",
    "[::1",
    "::1",
    "[::1]a",
    "[::1]:",
    "[::1]:x",
    "[::g]",
    "[fe80::1%25eth0]",
    "[v1.a]",
    "[1.2.3.4]",
    "a\tb",
];

#[test]
fn hosts() {
    for host in BAD_HOSTS {
        refuse(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400, "host-invalid");
    }
    for (host, name, port) in [
        ("a", "a", None),
        ("A-1_b.Example.", "A-1_b.Example.", None),
        ("a:0", "a", Some(0)),
        ("a:65535", "a", Some(65535)),
        ("127.0.0.1:8080", "127.0.0.1", Some(8080)),
        ("[::1]", "[::1]", None),
        ("[2001:DB8::1]:443", "[2001:DB8::1]", Some(443)),
        ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", None),
        ("users.service.consul", "users.service.consul", None),
    ] {
        let head = accept(format!("GET / HTTP/1.1\r\nHost:{host}\t \r\n\r\n"));
        assert_eq!((head.target.host(), head.target.port()), (name, port));
        assert_eq!(head.target.authority(), host);
        assert!(host.parse::<http::uri::Authority>().is_ok(), "{host}");
    }
    let longest = "a".repeat(254);
    accept(format!("GET / HTTP/1.1\r\nHost: {longest}\r\n\r\n"));
    refuse(format!("GET / HTTP/1.1\r\nHost: {longest}a\r\n\r\n"), 400, "host-invalid");
    refuse("GET / HTTP/1.1\r\n\r\n", 400, "host-missing");
    refuse("GET / HTTP/1.1\r\nX: y\r\n\r\n", 400, "host-missing");
    refuse("GET http://a/ HTTP/1.1\r\n\r\n", 400, "host-missing");
    refuse("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "host-doubled");
    refuse("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhOST: b\r\n\r\n", 400, "host-doubled");
    refuse("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400, "host-doubled");
    refuse("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400, "host-invalid");
    let head = accept("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((head.version, head.target.host()), (Version::Http10, ""));
    assert!(!head.keep_alive);
}

#[test]
fn field_lines() {
    for (lines, reason) in [
        ("X : y", "space-before-colon"),
        ("X\t: y", "space-before-colon"),
        ("Transfer-Encoding : chunked", "space-before-colon"),
        ("Content-Length\u{b}: 5", "field-name"),
        (": y", "field-name"),
        (" : y", "line-folding"),
        ("X", "field-name"),
        ("X y", "field-name"),
        ("X(: y", "field-name"),
        ("X\0: y", "field-name"),
        ("X\u{7f}: y", "field-name"),
        ("Xé: y", "field-name"),
        ("\"X\": y", "field-name"),
        ("X/Y: y", "field-name"),
        ("X: y\r\n z", "line-folding"),
        ("X: y\r\n\tz", "line-folding"),
        ("X: y\r\n ", "line-folding"),
        ("X:\r\n y", "line-folding"),
        (" X: y", "line-folding"),
        ("X: y\nZ: z", "bare-line-feed"),
        ("X: y\n", "bare-line-feed"),
        ("X:\nZ: z", "bare-line-feed"),
        ("X: y\n\r\nZ: z", "bare-line-feed"),
        ("X: y\n\nGET /b HTTP/1.1", "bare-line-feed"),
        ("X: y\rZ: z", "field-value"),
        ("X: \r", "field-value"),
        ("X: y\r\r\nZ: z", "field-value"),
        ("X: a\0b", "field-value"),
        ("X: a\u{1}b", "field-value"),
        ("X: a\u{b}b", "field-value"),
        ("X: a\u{c}", "field-value"),
        ("X: a\u{1b}[0m", "field-value"),
        ("X: a\u{7f}", "field-value"),
        ("Content_Length: 5", "disguised-name"),
        ("transfer_encoding: chunked", "disguised-name"),
        ("X_Forwarded-For: 1.2.3.4", "disguised-name"),
        ("X_REAL_IP: 1.2.3.4", "disguised-name"),
    ] {
        refuse(post(lines), 400, reason);
    }
    let head = accept(post("X-Empty:\r\nX-Blank: \t \r\nX_Y: é\r\n!#$%&'*+-.^_`|~09Az:\tv w\t"));
    let fields: Vec<_> = head.fields.iter().map(|(_, _, value)| value).collect();
    assert_eq!(fields, [&b"a"[..], b"", b"", "é".as_bytes(), b"v w"]);
}

#[test]
fn lengths_refused() {
    for (lines, reason) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "length-and-chunked"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", "length-and-chunked"),
        ("Content-Length: 5\r\nContent-Length: 5", "content-length-doubled"),
        ("Content-Length: 5\r\nContent-Length: 6", "content-length-doubled"),
        ("Content-Length: 5\r\nX: y\r\ncontent-length: 5", "content-length-doubled"),
        ("Content-Length: 5, 5", "content-length"),
        ("Content-Length: 5,6", "content-length"),
        ("Content-Length:", "content-length"),
        ("Content-Length: +5", "content-length"),
        ("Content-Length: -5", "content-length"),
        ("Content-Length: 5 5", "content-length"),
        ("Content-Length: 0x5", "content-length"),
        ("Content-Length: 5.0", "content-length"),
        ("Content-Length: 5e1", "content-length"),
        ("Content-Length: 1_000", "content-length"),
        ("Content-Length: five", "content-length"),
        ("Content-Length: \"5\"", "content-length"),
        ("Content-Length: ٥", "content-length"),
        ("Content-Length: 9223372036854775808", "content-length"),
        ("Content-Length: 18446744073709551616", "content-length"),
        ("Content-Length: 00000000000000000005", "content-length"),
    ] {
        refuse(post(lines), 400, reason);
    }
}

#[test]
fn transfer_codings_refused() {
    for (lines, reason) in [
        ("Transfer-Encoding:", "transfer-encoding"),
        ("Transfer-Encoding: identity", "transfer-encoding"),
        ("Transfer-Encoding: xchunked", "transfer-encoding"),
        ("Transfer-Encoding: chunkedx", "transfer-encoding"),
        ("Transfer-Encoding: chunked;a=b", "transfer-encoding"),
        ("Transfer-Encoding: \"chunked\"", "transfer-encoding"),
        ("Transfer-Encoding: 'chunked'", "transfer-encoding"),
        ("Transfer-Encoding: chun\tked", "transfer-encoding"),
        ("Transfer-Encoding: chunked, chunked", "transfer-encoding"),
        ("Transfer-Encoding: chunked, identity", "transfer-encoding"),
        ("Transfer-Encoding: chunked, gzip", "transfer-encoding"),
        ("Transfer-Encoding: gzip", "transfer-encoding"),
        ("Transfer-Encoding: chunked chunked", "transfer-encoding"),
        ("Transfer-Encoding: chunKed\u{e9}", "transfer-encoding"),
        ("Transfer-Encoding: chun\u{212a}ed", "transfer-encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "transfer-encoding"),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "transfer-encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "transfer-encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "transfer-encoding"),
    ] {
        refuse(post(lines), 400, reason);
    }
    refuse(post("Transfer-Encoding: gzip, chunked"), 501, "transfer-coding");
    refuse(post("Transfer-Encoding: , chunked"), 501, "transfer-coding");
    refuse(
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "chunked-in-http-1.0",
    );
}

#[test]
fn connection_fields_refused() {
    for (lines, reason) in [
        ("Upgrade: websocket\r\nUpgrade: other", "upgrade-doubled"),
        ("Upgrade: web socket", "upgrade"),
        ("Upgrade: a/b/c", "upgrade"),
        ("Connection: a b", "connection"),
        ("Connection: close; x", "connection"),
        ("Connection: keep-alive, \"x\"", "connection"),
    ] {
        refuse(post(lines), 400, reason);
    }
    for expect in ["200-ok", "100-continue, x", "100 continue", ""] {
        refuse(post(&format!("Content-Length: 1\r\nExpect: {expect}")), 417, "expectation");
    }
    refuse(post("Expect: 100-continue\r\nExpect: 100-continue"), 417, "expectation");
}

#[test]
fn framing_taken() {
    for (lines, framing) in [
        ("X: y", Framing::None),
        ("Content-Length: 0", Framing::Length(0)),
        ("content-LENGTH:5", Framing::Length(5)),
        ("Content-Length: 0005", Framing::Length(5)),
        ("Content-Length:\t 5 \t", Framing::Length(5)),
        ("Content-Length: 9223372036854775807", Framing::Length(9_223_372_036_854_775_807)),
        ("Transfer-Encoding: chunked", Framing::Chunked),
        ("transfer-encoding:\tCHUNKED ", Framing::Chunked),
    ] {
        assert_eq!(accept(post(lines)).framing, framing, "{lines}");
    }
}

#[test]
fn connection_and_expectations() {
    for (version, lines, keep_alive) in [
        ("1.1", "X: y", true),
        ("1.1", "Connection: close", false),
        ("1.1", "Connection: x, CLOSE ,", false),
        ("1.1", "Connection: keep-alive, close", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close", false),
        ("1.1", "Connection:", true),
        ("1.1", "Connection: closed", true),
        ("1.0", "X: y", false),
        ("1.0", "Connection: Keep-Alive", true),
        ("1.0", "Connection: keep-alive, close", false),
    ] {
        let head = accept(format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n\r\n"));
        assert_eq!(head.keep_alive, keep_alive, "{version} {lines}");
    }
    for (version, lines, upgrade) in [
        ("1.1", "Connection: Upgrade\r\nUpgrade: websocket", true),
        ("1.1", "Connection: keep-alive, upgrade\r\nUpgrade: WebSocket, x/1", true),
        ("1.1", "Upgrade: websocket", false),
        ("1.1", "Connection: upgrade", false),
        ("1.1", "Connection: upgrade\r\nUpgrade:", false),
        ("1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A", false),
        ("1.1", "Connection: upgrade\r\nUpgrade: websocket, H2C", false),
        ("1.1", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5", false),
        ("1.0", "Connection: upgrade\r\nUpgrade: websocket", false),
    ] {
        let head = accept(format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n\r\n"));
        assert_eq!(head.upgrade, upgrade, "{version} {lines}");
    }
    for (version, lines, expected) in [
        ("1.1", "Content-Length: 5\r\nExpect: 100-Continue", true),
        ("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked", true),
        ("1.1", "Expect: 100-continue", false),
        ("1.0", "Content-Length: 5\r\nExpect: 100-continue", false),
    ] {
        let head = accept(format!("POST / HTTP/{version}\r\nHost: a\r\n{lines}\r\n\r\n"));
        assert_eq!(head.expect_continue, expected, "{version} {lines}");
    }
}

#[test]
fn limits_hold_while_the_head_is_still_coming() {
    let path = |len: usize| format!("/{}", "a".repeat(len - 1));
    accept(get(&path(100)));
    refuse(get(&path(101)), 414, "target-too-long");
    refuse(format!("GET {}", path(101)), 414, "target-too-long");
    refuse(get(&path(2000)), 414, "target-too-long");
    refuse("A".repeat(33), 501, "method");
    refuse(format!("{} ", "A".repeat(33)), 501, "method");

    let start = "GET / HTTP/1.1\r\nHost: a\r\n";
    let padded = |len: usize| {
        let value = len - start.len() - "X: \r\n\r\n".len();
        format!("{start}X: {}\r\n\r\n", "a".repeat(value))
    };
    accept(padded(1000));
    refuse(padded(1001), 431, "head-too-large");
    refuse(&padded(2000)[..1000], 431, "head-too-large");

    let fields = |count: usize| format!("{start}{}\r\n", "X: y\r\n".repeat(count - 1));
    accept(fields(10));
    refuse(fields(11), 431, "too-many-fields");
}

#[test]
fn what_may_still_become_a_head_waits() {
    let head = "\r\nGET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    for len in 0..head.len() {
        let mut buf = BytesMut::from(&head[..len]);
        assert!(matches!(parse_request(&mut buf, &LIMITS), Ok(None)), "{:?}", &head[..len]);
        assert_eq!(buf.len(), len);
    }
}

#[test]
fn faults_are_found_before_the_head_is_complete() {
    for prefix in [
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\r\nHost: a\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\n",
        "GET / HTTP/1.1\r\n ",
        "GET / HTTP/1.1\r\nX :",
        "GET / HTTP/1.1\r\nX: \0",
        "GET / X",
        "\n",
    ] {
        assert!(whole(prefix.as_bytes()).is_err(), "{prefix:?}");
    }
}

#[test]
fn http2_requests_are_held_to_the_same_rules() {
    use posthouse_gateway::http::head::Fields;
    let target = Target::new(b"a", b"/x?y").expect("a target");
    assert_eq!((target.path(), target.query(), target.host()), ("/x", Some("y"), "a"));
    for (authority, path) in
        [("a", "x"), ("a", "/.."), ("a b", "/"), ("u@a", "/"), ("a", "/#"), ("a", "")]
    {
        assert!(Target::new(authority.as_bytes(), path.as_bytes()).is_err(), "{authority} {path}");
    }
    let check = |lines: &[(&str, &str)], ends: bool| {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.append(name.as_bytes(), value.as_bytes());
        }
        check_downgrade(&target, &fields, ends).map_err(|refusal| refusal.reason)
    };
    assert_eq!(check(&[("host", "A")], true), Ok(Framing::None));
    assert_eq!(check(&[], false), Ok(Framing::Chunked));
    assert_eq!(check(&[("content-length", "5")], false), Ok(Framing::Length(5)));
    assert_eq!(check(&[("content-length", "0")], true), Ok(Framing::Length(0)));
    assert_eq!(check(&[("content-length", "5")], true), Err("content-length"));
    assert_eq!(check(&[("content-length", "5, 5")], false), Err("content-length"));
    let doubled = [("content-length", "5"), ("content-length", "5")];
    assert_eq!(check(&doubled, false), Err("content-length-doubled"));
    for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"] {
        assert_eq!(check(&[(name, "chunked")], false), Err("connection-field"), "{name}");
    }
    assert_eq!(check(&[("transfer_encoding", "chunked")], false), Err("disguised-name"));
    assert_eq!(check(&[("host", "b")], true), Err("host-mismatch"));
    assert_eq!(check(&[("host", "a"), ("host", "a")], true), Err("host-doubled"));
    assert_eq!(check(&[("expect", "x")], false), Err("expectation"));
}
