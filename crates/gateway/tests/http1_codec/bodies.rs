//! Bodies: each row is what follows a head, decoded whole, byte by byte, and in every two parts.

use bytes::BytesMut;
use posthouse_gateway::http1::{
    BodyDecoder, Decoded, Framing, Limits, Refusal, encode_chunk_head, encode_last_chunk,
};

/// Everything that came out of a body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    data: Vec<u8>,
    trailers: Vec<(String, String)>,
    ended: bool,
    left: Vec<u8>,
}

fn decode<'a>(
    framing: Framing,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Outcome, Refusal> {
    let mut decoder = BodyDecoder::with_limits(framing, Limits { head: 200, ..Limits::default() });
    let mut outcome = Outcome::default();
    let mut buf = BytesMut::new();
    for part in parts {
        buf.extend_from_slice(part);
        loop {
            match decoder.decode(&mut buf)? {
                Decoded::Data(data) => {
                    assert!(!data.is_empty());
                    outcome.data.extend_from_slice(&data);
                }
                Decoded::Trailers(trailers) => {
                    for (_, name, value) in trailers.iter() {
                        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                        outcome.trailers.push((text(name), text(value)));
                    }
                }
                Decoded::NeedMore => break,
                Decoded::End => {
                    outcome.ended = true;
                    break;
                }
            }
        }
    }
    assert_eq!(outcome.ended, decoder.is_end());
    let may_close = outcome.ended || framing == Framing::UntilClose;
    assert_eq!(decoder.on_eof().is_ok(), may_close);
    outcome.left = buf.to_vec();
    Ok(outcome)
}

/// The same result however the bytes are cut.
#[track_caller]
fn outcome(framing: Framing, input: &[u8]) -> Result<Outcome, Refusal> {
    let whole = decode(framing, [input]);
    let context = String::from_utf8_lossy(input);
    let slow = decode(framing, input.chunks(1));
    match (&whole, &slow) {
        (Err(fast), Err(slow)) => assert_eq!(fast.status, slow.status, "{context:?}"),
        _ => assert_eq!(whole, slow, "{context:?}"),
    }
    for cut in 0..input.len().min(64) {
        let (first, second) = input.split_at(cut);
        let cut = decode(framing, [first, second]);
        assert_eq!(cut.is_ok(), whole.is_ok(), "{context:?}");
        if let (Ok(cut), Ok(whole)) = (cut, &whole) {
            assert_eq!(cut, *whole, "{context:?}");
        }
    }
    whole
}

#[track_caller]
fn accept(input: &str, data: &str) -> Outcome {
    let outcome = outcome(Framing::Chunked, input.as_bytes()).expect("a body");
    assert_eq!(String::from_utf8_lossy(&outcome.data), data);
    assert!(outcome.ended, "{input:?} did not end");
    outcome
}

#[track_caller]
fn refuse(input: impl AsRef<[u8]>, status: u16, reason: &str) {
    let input = input.as_ref();
    let refusal = outcome(Framing::Chunked, input).expect_err(&String::from_utf8_lossy(input));
    assert_eq!((refusal.status, refusal.reason), (status, reason), "{}", input.escape_ascii());
}

#[test]
fn lengths() {
    let taken = outcome(Framing::Length(5), b"helloREST").expect("a body");
    assert_eq!(
        (&taken.data[..], &taken.left[..], taken.ended),
        (&b"hello"[..], &b"REST"[..], true)
    );
    let short = outcome(Framing::Length(5), b"hell").expect("part of a body");
    assert!(!short.ended);
    for framing in [Framing::None, Framing::Length(0)] {
        let none = outcome(framing, b"REST").expect("no body");
        assert_eq!((none.data.len(), &none.left[..], none.ended), (0, &b"REST"[..], true));
    }
    let open = outcome(Framing::UntilClose, b"hello").expect("part of a body");
    assert_eq!((&open.data[..], open.ended), (&b"hello"[..], false));
    let mut buf = BytesMut::from("a");
    let mut endless = BodyDecoder::new(Framing::Length(u64::MAX));
    assert!(matches!(endless.decode(&mut buf), Ok(Decoded::Data(data)) if &data[..] == b"a"));
    assert_eq!(endless.on_eof().map_err(|refusal| refusal.reason), Err("truncated-body"));
}

#[test]
fn chunks_taken() {
    accept("0\r\n\r\n", "");
    accept("5\r\nhello\r\n0\r\n\r\n", "hello");
    accept("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc");
    accept("a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n", "01234567890123456789");
    accept("0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", "hello");
    accept("2\r\n\r\n\r\n0\r\n\r\n", "\r\n");
    accept("5;a=b;c=\"d e\" ; f\r\nhello\r\n0;x\r\n\r\n", "hello");
    accept("5; \ta \t= b\r\nhello\r\n0; x =\"\"\r\n\r\n", "hello");
    accept("5;a=\"\\\"=;\\\\\";b\r\nhello\r\n0\r\n\r\n", "hello");
    let outcome = accept("1\r\na\r\n0\r\n\r\nGET / HTTP/1.1", "a");
    assert_eq!(outcome.left, b"GET / HTTP/1.1");
    let outcome = accept("0\r\nGrpc-Status: 0\r\nX-Sum:  abc \r\n\r\n\r\n", "");
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(outcome.trailers, [text("Grpc-Status", "0"), text("X-Sum", "abc")]);
    assert_eq!(outcome.left, b"\r\n");
    let outcome = accept("0\r\nAuthorization: x\r\nX: y\r\nSet-Cookie: z\r\n\r\n", "");
    assert_eq!(outcome.trailers, [text("X", "y")]);
    let outcome = accept("0\r\nX-Forwarded-For: 1.2.3.4\r\nContent-Type: x\r\n\r\nREST", "");
    assert_eq!((outcome.trailers.len(), &outcome.left[..]), (0, &b"REST"[..]));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn chunks_refused() {
    for (input, reason) in [
        ("\r\n", "chunk-size"),
        ("\n", "chunk-size"),
        (" 5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("\t5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("5 \r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("5\t\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("5 ;a\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("+5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("-5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("-0\r\n\r\n", "chunk-size"),
        ("0x5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("5h\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("5_0\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("5,5\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("5\0\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        (";a\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("g\r\n", "chunk-size"),
        ("GET / HTTP/1.1\r\n", "chunk-size"),
        ("00000000000000005\r\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("ffffffffffffffff\r\nhello", "chunk-size"),
        ("8000000000000000\r\nhello", "chunk-size"),
        ("10000000000000000\r\nhello", "chunk-size"),
        ("5\nhello\r\n0\r\n\r\n", "chunk-size"),
        ("5\rhello\r\n0\r\n\r\n", "chunk-line"),
        ("5\r\rhello\r\n0\r\n\r\n", "chunk-line"),
        ("5;\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;;a\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a;\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;=b\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a=\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a==b\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a=b=c\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a b\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a=b c\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a \r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a,b\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;\"a\"\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a=b\"c\"\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a=\"b\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a=\"\\\r\nhello\r\n0\r\n\r\n", "chunk-extension"),
        ("5;a\nhello\r\n0\r\n\r\n", "chunk-line"),
        ("5;a\rb\r\nhello\r\n0\r\n\r\n", "chunk-line"),
        ("5;a\0\r\nhello\r\n0\r\n\r\n", "chunk-line"),
        ("5;é\r\nhello\r\n0\r\n\r\n", "chunk-line"),
        ("5;\u{7f}\r\nhello\r\n0\r\n\r\n", "chunk-line"),
        ("5\r\nhello0\r\n\r\n", "chunk-end"),
        ("5\r\nhello!\r\n0\r\n\r\n", "chunk-end"),
        ("4\r\nhello\r\n0\r\n\r\n", "chunk-end"),
        ("5\r\nhello\n0\r\n\r\n", "bare-line-feed"),
        ("5\r\nhello\r0\r\n\r\n", "line-end"),
        ("5\r\nhello\r\n\r\n0\r\n\r\n", "chunk-size"),
        ("6\r\nhello\r\n0\r\n\r\n", "bare-line-feed"),
        ("0\n\n", "chunk-size"),
        ("0\r\n\n", "bare-line-feed"),
        ("0\r\n\rX", "line-end"),
        ("0\r\nX: y\n\r\n", "bare-line-feed"),
        ("0\r\nX: y\r\n\n", "bare-line-feed"),
        ("0\r\nX: y\r\n z\r\n\r\n", "line-folding"),
        ("0\r\n X: y\r\n\r\n", "field-name"),
        ("0\r\nX : y\r\n\r\n", "field-name"),
        ("0\r\nX: \0\r\n\r\n", "field-value"),
        ("0\r\nX: y\rZ: z\r\n\r\n", "field-value"),
        ("0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "field-name"),
        ("0\r\nContent-Length: 5\r\n\r\n", "trailer-field"),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\n", "trailer-field"),
        ("0\r\nX: y\r\nHost: a\r\n\r\n", "trailer-field"),
        ("0\r\nConnection: close\r\n\r\n", "trailer-field"),
        ("0\r\nUpgrade: websocket\r\n\r\n", "trailer-field"),
        ("0\r\nTrailer: X\r\n\r\n", "trailer-field"),
        ("0\r\nTransfer_Encoding: chunked\r\n\r\n", "disguised-name"),
    ] {
        refuse(input, 400, reason);
    }
}

#[test]
fn chunk_limits() {
    let extension = |len: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(len - 1));
    accept(&extension(256), "a");
    refuse(extension(257), 400, "chunk-extension");
    refuse(format!("1;{}", "x".repeat(256)), 400, "chunk-extension");
    refuse(format!("1;{}\r\na\r\n", "x".repeat(250)).repeat(100), 400, "chunk-padding");
    let tiny = format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(20_000));
    assert_eq!(decode(Framing::Chunked, [tiny.as_bytes()]).expect("a body").data.len(), 20_000);
    refuse(format!("0\r\n{}\r\n", "X: y\r\n".repeat(65)), 431, "too-many-fields");
    refuse(format!("0\r\nX: {}\r\n\r\n", "a".repeat(200)), 431, "head-too-large");
    refuse(format!("0\r\nX: {}", "a".repeat(200)), 431, "head-too-large");
}

#[test]
fn a_refused_body_stays_refused() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert!(decoder.decode(&mut BytesMut::from("x")).is_err());
    assert!(decoder.decode(&mut BytesMut::from("0\r\n\r\n")).is_err());
    assert!(decoder.on_eof().is_err());
}

#[test]
fn chunks_are_written_as_they_are_read() {
    for len in [1, 9, 10, 15, 16, 255, 256, 4096, 65_535, 1_000_000] {
        let mut out = Vec::new();
        encode_chunk_head(len, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("{len:x}\r\n"));
        out.extend(std::iter::repeat_n(b'x', len));
        out.extend_from_slice(b"\r\n");
        encode_last_chunk(None, &mut out);
        let read = decode(Framing::Chunked, [&out[..]]).expect("a body");
        assert_eq!((read.data.len(), read.ended), (len, true));
    }
    let mut out = Vec::new();
    encode_chunk_head(0, &mut out);
    assert!(out.is_empty(), "a chunk of no bytes would end the body");
}
