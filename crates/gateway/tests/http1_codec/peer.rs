//! Agreement with hyper on well-formed messages: what it reads from the same bytes is what the
//! codec reads. Where the codec is stricter, the tables say so.

use http::Method;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use crate::oracle::{hyper_request, hyper_response, our_request, our_response};

/// Lines of fields that say nothing about framing, with all white space that the grammar allows.
fn plain_fields() -> impl Strategy<Value = String> {
    let name = "[xX]-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}";
    let line = (name, "[ \t]{0,2}", "([!-~]([ -~\t]{0,40}[!-~])?)?", "[ \t]{0,2}");
    vec(
        line.prop_map(|(name, before, value, after)| format!("{name}:{before}{value}{after}\r\n")),
        0..12,
    )
    .prop_map(|lines| lines.concat())
}

/// The field that declares the framing, and the bytes that follow the head.
fn framed_body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let sized = vec(any::<u8>(), 0..2000)
        .prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body));
    let chunk = (vec(any::<u8>(), 1..500), "(;[a-z]{1,8}(=[a-z0-9]{1,8})?)?");
    let trailers = vec("(x-[a-z]{1,9}): ?([!-~]{1,20})\r\n", 0..3);
    let chunked = (vec(chunk, 0..6), trailers).prop_map(|(chunks, trailers)| {
        let mut body = Vec::new();
        for (data, extension) in chunks {
            body.extend_from_slice(format!("{:X}{extension}\r\n", data.len()).as_bytes());
            body.extend_from_slice(&data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n");
        body.extend_from_slice(trailers.concat().as_bytes());
        body.extend_from_slice(b"\r\n");
        ("Transfer-Encoding: chunked\r\n".to_owned(), body)
    });
    prop_oneof![sized, chunked]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn requests(
        method in prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("DELETE"), Just("X-OWN")],
        path in "(/[A-Za-z0-9_~!$&'()*+,;=:@-]{1,12}){1,4}/?",
        query in option::of("[A-Za-z0-9/?=&%.+-]{0,30}"),
        fields in plain_fields(),
        body in option::of(framed_body()),
    ) {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let (framing, body) = body.unwrap_or_default();
        let mut wire = format!(
            "{method} {path}{query} HTTP/1.1\r\nHost: shop.example:8080\r\n{fields}{framing}\r\n"
        )
        .into_bytes();
        wire.extend_from_slice(&body);
        let (ours, read) = our_request(&wire).expect("a good request");
        assert_eq!(read, wire.len());
        assert_eq!(Some(ours), hyper_request(&wire).expect("hyper takes it"));
    }

    #[test]
    fn responses(
        status in prop_oneof![200_u16..204, 205_u16..600],
        reason in "[ -~]{0,20}",
        fields in plain_fields(),
        body in option::of(framed_body()),
        head_only in any::<bool>(),
    ) {
        let method = if head_only { Method::HEAD } else { Method::GET };
        let (framing, body) = body.unwrap_or_default();
        let mut wire = format!("HTTP/1.1 {status} {reason}\r\n{fields}{framing}\r\n").into_bytes();
        if !head_only && status != 304 {
            wire.extend_from_slice(&body);
        }
        assert_eq!(our_response(&wire, &method), hyper_response(&wire, method));
    }
}
