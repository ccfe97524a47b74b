//! Header sections in flat form: what is found, changed, stripped and written.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};
use posthouse_gateway::http::head::{Fields, Known};
use posthouse_gateway::http1::{Limits, parse_request};

/// The section of a received request with these lines.
#[track_caller]
fn received(lines: &str) -> Fields {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let parsed = parse_request(&mut BytesMut::from(&head[..]), &Limits::default());
    parsed.expect("a good head").expect("a whole head").fields
}

fn written(fields: &Fields) -> String {
    let mut out = Vec::new();
    fields.write_http1(&mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn every_known_name_is_found_in_any_case_and_no_other() {
    for name in ["Host", "TE", "grpc-accept-encoding", "SEC-WEBSOCKET-EXTENSIONS", "X-Request-ID"] {
        let known = Known::of(name.as_bytes());
        assert_ne!(known, Known::Other, "{name}");
        assert_eq!(known.name(), name.to_ascii_lowercase());
    }
    for name in ["", "h", "hos", "hosts", "hpst", "x-forwarded-f0r", "content_length", "ost\0"] {
        assert_eq!(Known::of(name.as_bytes()), Known::Other, "{name}");
    }
    let long = "content-length".repeat(100);
    assert_eq!(Known::of(long.as_bytes()), Known::Other);
}

#[test]
fn untouched_lines_are_written_as_received_and_odd_ones_in_one_shape() {
    assert_eq!(
        written(&received("X-A: 1\r\nx-b:2\r\nX-C:\t 3 \t\r\nX-D:\r\nX-E: 5\r\nx-F: 6\r\n")),
        "Host: a\r\nX-A: 1\r\nx-b: 2\r\nX-C: 3\r\nX-D: \r\nX-E: 5\r\nx-F: 6\r\n"
    );
}

#[test]
fn changes_show_and_nothing_else_does() {
    let mut fields = received("X-A: 1\r\nCookie: c\r\nX-B: 2\r\nx-a: 3\r\nX-C: 4\r\n");
    assert_eq!(fields.len(), 6);
    assert_eq!(fields.remove_named(b"X-a"), 2);
    assert_eq!(fields.remove_named(b"absent"), 0);
    assert_eq!(fields.remove(Known::Cookie), 1);
    assert_eq!(fields.remove(Known::Cookie), 0);
    fields.append(b"X-D", b"5");
    fields.append_known(Known::XForwardedFor, b"1.2.3.4");
    fields.append_known(Known::XForwardedFor, b"5.6.7.8");
    fields.set_known(Known::Host, b"b");
    fields.set(b"x-b", b"6");
    assert_eq!(
        written(&fields),
        "X-C: 4\r\nX-D: 5\r\nx-forwarded-for: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\n\
         host: b\r\nx-b: 6\r\n"
    );
    assert_eq!(fields.get(Known::Host), Some(&b"b"[..]));
    assert_eq!(fields.all(Known::XForwardedFor).count(), 2);
    assert_eq!(fields.get(Known::Other), None);
    assert_eq!(fields.get_named(b"X-X"), None);
}

#[test]
fn nothing_appended_can_end_its_line() {
    let mut fields = Fields::new();
    assert!(fields.is_empty());
    fields.append(b"x-a", b"1\r\nx-evil: 2\0\x7f");
    fields.append(b"x b", b"1");
    fields.append(b"", b"1");
    fields.append(b"x\r\ny", b"1");
    fields.append_known(Known::Other, b"1");
    assert_eq!(written(&fields), "x-a: 1  x-evil: 2  \r\n");
}

#[test]
fn hop_by_hop_fields_are_stripped() {
    let mut fields = received(
        "Connection: close, X-Own, x-absent\r\nKeep-Alive: timeout=5\r\nX-Own: 1\r\nX-Stays: 2\r\n\
         Proxy-Connection: x\r\nTE: gzip, Trailers;q=1\r\nUpgrade: websocket\r\n\
         Proxy-Authorization: x\r\nproxy-authenticate: x\r\nHTTP2-Settings: x\r\n\
         Trailer: X-Sum\r\nX-Own: 3\r\n",
    );
    assert!(fields.strip_hop_by_hop().te_trailers);
    assert_eq!(written(&fields), "Host: a\r\nX-Stays: 2\r\nTrailer: X-Sum\r\n");
    assert!(!fields.strip_hop_by_hop().te_trailers);
}

#[test]
fn connection_cannot_take_away_what_frames_or_secures() {
    let lines = "Content-Length: 5\r\nAuthorization: x\r\nCookie: y\r\nX-Forwarded-For: z\r\n";
    let mut fields = received(&format!(
        "{lines}Connection: Host, content-length, Authorization, cookie, X-Forwarded-For\r\n"
    ));
    fields.strip_hop_by_hop();
    assert_eq!(written(&fields), format!("Host: a\r\n{lines}"));
}

#[test]
fn sections_move_between_versions() {
    let mut fields = received("X-A: 1\r\nCookie: c\r\nx-a: 2\r\nAccept:  */*\r\n");
    fields.append_known(Known::XRequestId, b"r");
    let map = fields.to_header_map(Known::Other).expect("a map");
    assert_eq!(map.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(map["x-request-id"], "r");
    assert_eq!(map["accept"], "*/*");
    assert_eq!(map.len(), 6);

    let mut map = HeaderMap::new();
    map.append("cookie", HeaderValue::from_static("a=1"));
    map.append("x-b", HeaderValue::from_static("\t2 "));
    map.append("cookie", HeaderValue::from_static("b=2"));
    map.append("x-b", HeaderValue::from_static("3"));
    map.append("x-c", HeaderValue::from_static("4"));
    map.append("x-c", HeaderValue::from_static("5"));
    let mut fields = Fields::from_header_map(map);
    let lines = "x-b: 2\r\nx-b: 3\r\nx-c: 4\r\nx-c: 5\r\ncookie: a=1; b=2\r\n";
    assert_eq!(written(&fields), lines);

    // What came over HTTP/2 is edited and goes on over HTTP/2 like what came over HTTP/1.
    assert_eq!(fields.remove_named(b"X-B"), 2);
    fields.set(b"x-c", b"6");
    fields.append_known(Known::Traceparent, b"00-1-2-01");
    assert_eq!(fields.get_named(b"X-C"), Some(&b"6"[..]));
    let map = fields.to_header_map(Known::Cookie).expect("a map");
    assert_eq!((map.len(), &map["x-c"]), (2, &HeaderValue::from_static("6")));
    // It is another in each call: HPACK need not remember it.
    assert!(map["traceparent"].is_sensitive() && !map["x-c"].is_sensitive());
}
