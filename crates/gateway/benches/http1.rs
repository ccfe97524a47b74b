//! What the codec costs a message: nanoseconds for each step on a usual request and response.
//!
//! `cargo bench -p posthouse-gateway --bench http1`, or with `once` as its argument under callgrind,
//! which then counts the instructions of 10,000 rounds of each step.
#![expect(clippy::print_stdout, reason = "the report is the point of a benchmark")]

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use http::Method;
use posthouse_gateway::http::head::Known;
use posthouse_gateway::http1::{
    BodyDecoder, Decoded, Framing, Limits, parse_request, parse_response,
};

const REQUEST: &[u8] = b"GET /api/v1/users/42?expand=orders HTTP/1.1\r\n\
Host: shop.example:8080\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: application/json, text/plain, */*\r\n\
Accept-Language: en-GB,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Cookie: session=9f86d081884c7d659a2feaa0c55ad015\r\n\
X-Request-Id: 0f8fad5b-d9cb-469f-a165-70867728950e\r\n\
Connection: keep-alive\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: gunicorn\r\n\
Date: Sat, 21 Nov 2026 10:00:00 GMT\r\n\
Content-Type: application/json\r\n\
Content-Length: 27\r\n\
Connection: keep-alive\r\n\r\n";

const CHUNKS: &[u8] = b"1b\r\n{\"id\":42,\"name\":\"Alice B.\"}\r\n0\r\n\r\n";

const ROUNDS: u32 = 2_000;

fn main() {
    let once = std::env::args().any(|argument| argument == "once");
    let repeats = if once { 5 } else { 500 };
    let limits = Limits::default();
    println!("request of {} bytes, 8 fields", REQUEST.len());
    measure("copy into the read buffer only", repeats, REQUEST, |buf| {
        black_box(buf.split().freeze());
    });
    measure("parse the request", repeats, REQUEST, |buf| {
        black_box(parse_request(buf, &limits)).expect("a good head");
    });
    let mut out = Vec::with_capacity(4096);
    measure("parse, strip, add four fields, write", repeats, REQUEST, |buf| {
        let head = parse_request(buf, &limits).expect("a good head").expect("a whole head");
        let mut fields = head.fields;
        fields.strip_hop_by_hop();
        fields.append_known(Known::XForwardedFor, b"127.0.0.1");
        fields.append_known(Known::XForwardedProto, b"http");
        fields.append_known(Known::XForwardedHost, b"shop.example:8080");
        fields.set_known(
            Known::Traceparent,
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
        out.clear();
        fields.write_http1(&mut out);
        black_box(&out);
    });
    println!("response of {} bytes, 5 fields", RESPONSE.len());
    measure("parse the response", repeats, RESPONSE, |buf| {
        black_box(parse_response(buf, &limits, &Method::GET)).expect("a good head");
    });
    println!("a body of one chunk");
    measure("decode the body", repeats, CHUNKS, |buf| {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        while !matches!(black_box(decoder.decode(buf)), Ok(Decoded::End)) {}
    });
}

/// Prints the fastest of several runs: noise only ever adds.
fn measure(name: &str, repeats: u32, input: &[u8], mut work: impl FnMut(&mut BytesMut)) {
    let mut best = f64::INFINITY;
    let mut buf = BytesMut::with_capacity(16 << 10);
    for _ in 0..repeats {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            buf.reserve(input.len());
            buf.extend_from_slice(input);
            work(&mut buf);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
    }
    println!("{best:8.0} ns  {name}");
}
