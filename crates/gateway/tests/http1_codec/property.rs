//! What holds for any input: no panic, no byte taken that does not belong to the message, the same
//! answer however the bytes are cut, and what is written is read back as it was meant.

use bytes::BytesMut;
use http::Method;
use posthouse_gateway::http1::{
    BodyDecoder, Decoded, Framing, Limits, RequestHead, encode_chunk_head, encode_last_chunk,
    parse_request, parse_response,
};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

/// Pieces of messages, good and bad, so that random rows of them come close to being messages.
const GOOD: [&[u8]; 11] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"POST /a?b HTTP/1.0\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: upgrade, close\r\nUpgrade: x\r\n",
    b"Host: b\r\n",
    b"X: y\r\n",
    b"\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
];
const BAD: [&[u8]; 8] = [b"\n", b"\r", b" ", b":", b"\0", b"\x80", b"HTTP/1.1", b";"];

fn near_heads() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![8 => select(&GOOD[..]), 1 => select(&BAD[..])];
    let pieces = vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => pieces, 1 => vec(any::<u8>(), 0..200)]
}

/// A body in all its data, its trailers and where it ended, or nothing when it was refused.
fn read_body(framing: Framing, input: &[u8], step: usize) -> Option<(Vec<u8>, Vec<u8>, bool)> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut trailers, mut buf) = (Vec::new(), Vec::new(), BytesMut::new());
    for part in input.chunks(step.max(1)) {
        buf.extend_from_slice(part);
        loop {
            match decoder.decode(&mut buf).ok()? {
                Decoded::Data(part) => data.extend_from_slice(&part),
                Decoded::Trailers(fields) => fields.write_http1(&mut trailers),
                Decoded::NeedMore | Decoded::End => break,
            }
        }
    }
    Some((data, trailers, decoder.is_end()))
}

/// The head as a gateway forwards it when it changes nothing.
fn write_again(head: &RequestHead) -> Vec<u8> {
    let line = format!("{} {} HTTP/1.1\r\n", head.method, head.target.path_and_query());
    let mut out = line.into_bytes();
    head.fields.write_http1(&mut out);
    out.extend_from_slice(b"\r\n");
    out
}

proptest! {
    #[test]
    fn requests_are_read_the_same_however_they_are_cut(input in near_heads(), step in 1_usize..20) {
        let limits = Limits::default();
        let mut whole = BytesMut::from(&input[..]);
        let answer = parse_request(&mut whole, &limits);
        prop_assert!(input.ends_with(&whole), "what is left is not the end of the input");
        let (mut buf, mut slow) = (BytesMut::new(), Ok(None));
        for part in input.chunks(step) {
            buf.extend_from_slice(part);
            slow = parse_request(&mut buf, &limits);
            if !matches!(slow, Ok(None)) {
                break;
            }
        }
        prop_assert_eq!(answer.is_err(), slow.is_err());
        if let (Ok(answer), Ok(slow)) = (answer, slow) {
            prop_assert_eq!(answer.map(|head| write_again(&head)), slow.map(|head| write_again(&head)));
        }
    }

    #[test]
    fn a_forwarded_request_is_read_as_it_was(input in near_heads()) {
        let limits = Limits::default();
        if let Ok(Some(head)) = parse_request(&mut BytesMut::from(&input[..]), &limits)
            && !head.target.host().is_empty()
            && head.fields.get_named(b"host").is_some()
        {
            let wire = write_again(&head);
            let again = parse_request(&mut BytesMut::from(&wire[..]), &limits);
            let again = again.expect("not refused").expect("complete");
            prop_assert_eq!(again.framing, head.framing);
            prop_assert_eq!(again.target.authority(), head.target.authority());
            prop_assert_eq!(write_again(&again), wire);
        }
    }

    #[test]
    fn responses_are_read_the_same_however_they_are_cut(input in near_heads(), step in 1_usize..20) {
        let limits = Limits::default();
        let mut whole = BytesMut::from(&input[..]);
        let answer = parse_response(&mut whole, &limits, &Method::GET);
        prop_assert!(input.ends_with(&whole), "what is left is not the end of the input");
        let (mut buf, mut slow) = (BytesMut::new(), Ok(None));
        for part in input.chunks(step) {
            buf.extend_from_slice(part);
            slow = parse_response(&mut buf, &limits, &Method::GET);
            if !matches!(slow, Ok(None)) {
                break;
            }
        }
        prop_assert_eq!(answer.is_err(), slow.is_err());
        if let (Ok(answer), Ok(slow)) = (answer, slow) {
            let seen = |head: posthouse_gateway::http1::ResponseHead| (head.status, head.framing);
            prop_assert_eq!(answer.map(seen), slow.map(seen));
        }
    }

    #[test]
    fn bodies_are_read_the_same_however_they_are_cut(input in near_heads(), step in 1_usize..20) {
        for framing in [Framing::Chunked, Framing::Length(7), Framing::UntilClose] {
            prop_assert_eq!(
                read_body(framing, &input, usize::MAX),
                read_body(framing, &input, step)
            );
        }
    }

    #[test]
    fn chunks_come_back_as_they_were_sent(
        chunks in vec(vec(any::<u8>(), 1..300), 0..8),
        trailers in vec(("x-[a-z0-9]{1,10}", "[ -~]{0,30}"), 0..4),
        step in 1_usize..200,
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            encode_chunk_head(chunk.len(), &mut wire);
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        let mut fields = posthouse_gateway::http::head::Fields::new();
        for (name, value) in &trailers {
            fields.append(name.as_bytes(), value.trim().as_bytes());
        }
        encode_last_chunk(Some(&fields), &mut wire);
        let mut lines = Vec::new();
        fields.write_http1(&mut lines);
        prop_assert_eq!(read_body(Framing::Chunked, &wire, step), Some((chunks.concat(), lines, true)));
    }
}
