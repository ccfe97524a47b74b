//! Response heads: each row is a head and what becomes of it, whole and fed byte by byte.

use bytes::BytesMut;
use http::Method;
use posthouse_gateway::http::head::Known;
use posthouse_gateway::http1::{Framing, Limits, Refusal, ResponseHead, Version, parse_response};

const LIMITS: Limits = Limits { uri: 100, head: 1000, fields: 10 };

fn byte_by_byte(input: &[u8], method: &Method) -> Result<Option<ResponseHead>, Refusal> {
    let mut buf = BytesMut::new();
    for (index, byte) in input.iter().enumerate() {
        buf.extend_from_slice(&[*byte]);
        match parse_response(&mut buf, &LIMITS, method) {
            Ok(None) => assert_eq!(buf.len(), index + 1, "bytes of an unfinished head were taken"),
            answer => return answer,
        }
    }
    Ok(None)
}

fn show(head: &ResponseHead) -> String {
    let mut lines = Vec::new();
    head.fields.write_http1(&mut lines);
    format!(
        "{} {:?} {:?} {:?} {} {:?}",
        head.status,
        String::from_utf8_lossy(head.reason()),
        head.version,
        head.framing,
        head.keep_alive,
        String::from_utf8_lossy(&lines),
    )
}

#[track_caller]
fn accept_for(method: &Method, input: impl AsRef<[u8]>) -> ResponseHead {
    let input = input.as_ref();
    let context = String::from_utf8_lossy(input);
    let mut buf = BytesMut::from(input);
    buf.extend_from_slice(b"REST");
    let head = match parse_response(&mut buf, &LIMITS, method) {
        Ok(Some(head)) => head,
        other => panic!("{context:?} gave {other:?}"),
    };
    assert_eq!(&buf[..], b"REST", "{context:?}");
    match byte_by_byte(input, method) {
        Ok(Some(slow)) => assert_eq!(show(&slow), show(&head), "{context:?}"),
        other => panic!("{context:?} byte by byte gave {other:?}"),
    }
    head
}

#[track_caller]
fn accept(input: impl AsRef<[u8]>) -> ResponseHead {
    accept_for(&Method::GET, input)
}

/// Refused with this label and 502, whole and byte by byte.
#[track_caller]
fn refuse(input: impl AsRef<[u8]>, reason: &str) {
    let input = input.as_ref();
    let context = String::from_utf8_lossy(input);
    match parse_response(&mut BytesMut::from(input), &LIMITS, &Method::GET) {
        Err(refusal) => {
            assert_eq!((refusal.status, refusal.reason), (502, reason), "{context:?}");
        }
        Ok(head) => panic!("{context:?} passed as {:?}", head.map(|head| show(&head))),
    }
    match byte_by_byte(input, &Method::GET) {
        Err(refusal) => assert_eq!(refusal.status, 502, "{context:?} byte by byte"),
        Ok(head) => panic!("{context:?} passed as {:?}", head.map(|head| show(&head))),
    }
}

fn ok(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")
}

#[test]
fn a_plain_response_is_understood() {
    let head = accept("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nServer:x\r\n\r\n");
    assert_eq!(head.status, 404);
    assert_eq!(head.reason(), b"Not Found");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.framing, Framing::Length(5));
    assert!(head.keep_alive);
    assert_eq!(head.fields.get(Known::Server), Some(&b"x"[..]));
}

#[test]
fn status_lines() {
    for (head, reason) in [
        ("HTTP/1.1 20 OK\r\n\r\n", "start-line"),
        ("HTTP/1.1 2000 OK\r\n\r\n", "start-line"),
        ("HTTP/1.1 2OO OK\r\n\r\n", "start-line"),
        ("HTTP/1.1 -20 OK\r\n\r\n", "start-line"),
        ("HTTP/1.1 099 Low\r\n\r\n", "status"),
        ("HTTP/1.1 000 Zero\r\n\r\n", "status"),
        ("HTTP/1.1  200 OK\r\n\r\n", "start-line"),
        ("HTTP/1.1\t200 OK\r\n\r\n", "start-line"),
        ("HTTP/1.1 200\tOK\r\n\r\n", "start-line"),
        ("HTTP/1.1200 OK\r\n\r\n", "version"),
        ("HTTP/1.1 OK\r\n\r\n", "start-line"),
        ("HTTP/1.1\r\n\r\n", "version"),
        ("HTTP/2.0 200 OK\r\n\r\n", "version"),
        ("HTTP/1.2 200 OK\r\n\r\n", "version"),
        ("HTTP/2 200\r\n\r\n", "version"),
        ("HTTP/0.9 200 OK\r\n\r\n", "version"),
        ("http/1.1 200 OK\r\n\r\n", "start-line"),
        ("ICY 200 OK\r\n\r\n", "start-line"),
        (" HTTP/1.1 200 OK\r\n\r\n", "start-line"),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", "start-line"),
        ("<html>no head at all</html>", "start-line"),
        ("\0\0\u{12}\u{4}\0\0\0\0\0", "start-line"),
        ("HTTP/1.1 200 O\0K\r\n\r\n", "start-line"),
        ("HTTP/1.1 200 O\u{1b}K\r\n\r\n", "start-line"),
        ("HTTP/1.1 200 O\rK\r\n\r\n", "start-line"),
        ("HTTP/1.1 200 OK\n\r\n", "bare-line-feed"),
        ("HTTP/1.1 200 OK\nX: y\r\n\r\n", "bare-line-feed"),
        ("HTTP/1.1 200\n\r\n", "bare-line-feed"),
        ("HTTP/1.1 200 OK\n\n", "bare-line-feed"),
        ("HTTP/1.1 200 OK\r\n\n", "bare-line-feed"),
    ] {
        refuse(head, reason);
    }
    for (head, status, reason) in [
        ("HTTP/1.1 200\r\n\r\n", 200, &b""[..]),
        ("HTTP/1.1 200 \r\n\r\n", 200, b""),
        ("HTTP/1.1 200 All  is\twell\r\n\r\n", 200, b"All  is\twell"),
        ("HTTP/1.1 599 \u{fc}ber\r\n\r\n", 599, "über".as_bytes()),
        ("HTTP/1.0 999 Own\r\n\r\n", 999, b"Own"),
    ] {
        let head = accept(head);
        assert_eq!((head.status.as_u16(), head.reason()), (status, reason));
    }
}

#[test]
fn fields_refused() {
    for (lines, reason) in [
        ("X : y", "space-before-colon"),
        ("Content-Length : 5", "space-before-colon"),
        (": y", "field-name"),
        ("X", "field-name"),
        ("X\0: y", "field-name"),
        ("X: y\r\n z", "line-folding"),
        ("X: y\r\n\tz", "line-folding"),
        (" X: y", "line-folding"),
        ("X: y\nZ: z", "bare-line-feed"),
        ("X: y\n\r\nZ: z", "bare-line-feed"),
        ("X: y\rZ: z", "field-value"),
        ("X: \0", "field-value"),
        ("X: \u{7f}", "field-value"),
        ("Set-Cookie: a\r\r\nX: y", "field-value"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "length-and-chunked"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "length-and-chunked"),
        ("Content-Length: 5\r\nContent-Length: 6", "content-length-doubled"),
        ("Content-Length: 5\r\nContent-Length: 5", "content-length-doubled"),
        ("Content-Length: 5, 5", "content-length"),
        ("Content-Length: +5", "content-length"),
        ("Content-Length: -1", "content-length"),
        ("Content-Length:", "content-length"),
        ("Content-Length: 5x", "content-length"),
        ("Content-Length: 99999999999999999999", "content-length"),
        ("Content_Length: 5", "disguised-name"),
        ("Transfer-Encoding: identity", "transfer-encoding"),
        ("Transfer-Encoding: gzip", "transfer-encoding"),
        ("Transfer-Encoding: gzip, chunked", "transfer-coding"),
        ("Transfer-Encoding: chunked, chunked", "transfer-encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "transfer-encoding"),
        ("Transfer-Encoding: xchunked", "transfer-encoding"),
        ("Connection: a b", "connection"),
        ("Upgrade: a\r\nUpgrade: b", "upgrade-doubled"),
    ] {
        refuse(ok(lines), reason);
    }
    refuse("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked-in-http-1.0");
    for status in ["100", "103", "199", "204"] {
        let head = |line: &str| format!("HTTP/1.1 {status} X\r\n{line}\r\n\r\n");
        refuse(head("Content-Length: 5"), "body-not-allowed");
        refuse(head("Transfer-Encoding: chunked"), "body-not-allowed");
    }
    refuse("HTTP/1.1 100 X\r\nContent-Length: 0\r\n\r\n", "body-not-allowed");
    let switch = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
    refuse(format!("{switch}Content-Length: 5\r\n\r\n"), "body-not-allowed");
    for line in ["X: y", "Upgrade: websocket", "Connection: upgrade"] {
        refuse(format!("HTTP/1.1 101 X\r\n{line}\r\n\r\n"), "switching-protocols");
    }
    refuse(
        "HTTP/1.0 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "switching-protocols",
    );
}

#[test]
fn framing_follows_status_and_method() {
    for (head, framing) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Framing::Length(0)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
        ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", Framing::UntilClose),
        ("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", Framing::None),
        ("HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::None),
        ("HTTP/1.1 304 X\r\n\r\n", Framing::None),
        ("HTTP/1.1 204 X\r\n\r\n", Framing::None),
        ("HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", Framing::None),
        ("HTTP/1.1 100 Continue\r\n\r\n", Framing::None),
        ("HTTP/1.1 103 X\r\nLink: <a>\r\n\r\n", Framing::None),
        ("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", Framing::None),
    ] {
        let parsed = accept(head);
        assert_eq!(parsed.framing, framing, "{head}");
        assert_eq!(parsed.keep_alive, framing != Framing::UntilClose, "{head}");
    }
    for lines in ["Content-Length: 5", "Transfer-Encoding: chunked", "X: y"] {
        assert_eq!(accept_for(&Method::HEAD, ok(lines)).framing, Framing::None, "{lines}");
    }
    let lenient = accept("HTTP/1.1 204 X\r\nContent-Length: 0\r\nX: y\r\n\r\n");
    assert_eq!(lenient.fields.get(Known::ContentLength), None);
    assert_eq!(lenient.fields.len(), 1);
    assert!(!accept(ok("Content-Length: 5\r\nConnection: close")).keep_alive);
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n";
    assert!(!accept(format!("{old}\r\n")).keep_alive);
    assert!(accept(format!("{old}Connection: Keep-Alive\r\n\r\n")).keep_alive);
}

#[test]
fn limits_hold_while_the_head_is_still_coming() {
    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(count));
    accept(fields(10));
    refuse(fields(11), "too-many-fields");
    refuse(format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(1000)), "head-too-large");
    refuse(format!("HTTP/1.1 200 {}", "a".repeat(1000)), "head-too-large");
    refuse(ok(&format!("X: {}", "a".repeat(1000))), "head-too-large");
}
