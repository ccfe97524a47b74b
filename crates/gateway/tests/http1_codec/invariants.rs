//! What must hold for any bytes at all. The property tests, the fuzz targets and the replay of
//! their corpus share this file, so that a found input keeps being checked by what found it.

use bytes::BytesMut;
use http::Method;
use posthouse_gateway::http::head::{Fields, Known};
use posthouse_gateway::http1::{
    BodyDecoder, Decoded, Framing, Limits, Refusal, RequestHead, ResponseHead, Version,
    encode_chunk_head, encode_last_chunk, parse_request, parse_response,
};

/// Feeds `input` in parts of `step` bytes until `parse` answers, and checks that nothing is taken
/// before that.
fn feed<T>(
    input: &[u8],
    step: usize,
    parse: impl Fn(&mut BytesMut) -> Result<Option<T>, Refusal>,
) -> Result<Option<T>, Refusal> {
    let mut buf = BytesMut::new();
    let mut fed = 0;
    for part in input.chunks(step.max(1)) {
        buf.extend_from_slice(part);
        fed += part.len();
        match parse(&mut buf) {
            Ok(None) => assert_eq!(buf.len(), fed, "bytes of an unfinished head were taken"),
            answer => return answer,
        }
    }
    Ok(None)
}

/// The head as a gateway forwards it when it changes nothing.
fn request_again(head: &RequestHead) -> Vec<u8> {
    let line = format!("{} {} HTTP/1.1\r\n", head.method, head.target.path_and_query());
    section_again(line, &head.fields)
}

fn response_again(head: &ResponseHead) -> Vec<u8> {
    let version = if head.version == Version::Http10 { "1.0" } else { "1.1" };
    section_again(format!("HTTP/{version} {}\r\n", head.status.as_str()), &head.fields)
}

fn section_again(line: String, fields: &Fields) -> Vec<u8> {
    let mut out = line.into_bytes();
    fields.write_http1(&mut out);
    out.extend_from_slice(b"\r\n");
    out
}

/// The most naive reading of a head that was let through: only whole lines, of only what may stand
/// in them, and at most one way to tell where the body ends.
fn check_bytes(head: &[u8], fields: &Fields) {
    for (index, byte) in head.iter().enumerate() {
        let neighbour = |at: Option<usize>| at.and_then(|at| head.get(at).copied());
        match byte {
            b'\r' => assert_eq!(neighbour(Some(index + 1)), Some(b'\n'), "a bare CR passed"),
            b'\n' => assert_eq!(neighbour(index.checked_sub(1)), Some(b'\r'), "a bare LF passed"),
            b'\t' | b' '..=b'~' | 0x80.. => {}
            _ => panic!("a control character passed"),
        }
    }
    let lines = head.split(|byte| *byte == b'\n').filter(|line| line.len() > 1).count();
    assert!(lines >= 1 && fields.len() < lines, "there are more fields than lines");
    let lengths = fields.all(Known::ContentLength).count();
    let codings = fields.all(Known::TransferEncoding).count();
    assert!(lengths + codings <= 1, "two fields frame the body");
    for (known, name, value) in fields.iter() {
        assert!(!name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(value, value.trim_ascii(), "white space belongs to no value");
        assert!(known == Known::Other || known.name().as_bytes().eq_ignore_ascii_case(name));
    }
}

/// Any bytes as a request head.
pub fn request(input: &[u8]) {
    let limits = Limits::default();
    let mut buf = BytesMut::from(input);
    let whole = parse_request(&mut buf, &limits);
    assert!(input.ends_with(&buf), "what is left is not the end of the input");
    for step in [1, 7] {
        let parts = feed(input, step, |buf| parse_request(buf, &limits));
        match (&whole, parts) {
            (Err(_), Err(_)) | (Ok(None), Ok(None)) => {}
            (Ok(Some(whole)), Ok(Some(parts))) => {
                assert_eq!(request_again(whole), request_again(&parts));
            }
            (whole, parts) => panic!("whole {whole:?}, in parts of {step} {parts:?}"),
        }
    }
    let Ok(Some(head)) = whole else { return };
    check_bytes(input.strip_suffix(&buf[..]).unwrap_or(input), &head.fields);
    let hosts = head.fields.all(Known::Host).count();
    assert!(hosts == 1 || (hosts == 0 && head.version == Version::Http10));
    assert_ne!(head.method, Method::CONNECT);
    assert!(head.framing != Framing::UntilClose, "a request cannot end by closing");
    let path = head.target.path();
    assert!(path == "*" || path.starts_with('/'), "{path}");
    assert!(!path.split('/').any(|segment| segment == "." || segment == ".."), "{path}");
    if hosts == 1 {
        let wire = request_again(&head);
        let again = parse_request(&mut BytesMut::from(&wire[..]), &limits);
        // In HTTP/1.1 form a 1.0 request can be refused for nothing that it did not have before.
        let again = again.expect("what is forwarded is not refused").expect("it is complete");
        assert_eq!(again.framing, head.framing);
        // `Host` and an absolute target agree but for case.
        assert!(again.target.authority().eq_ignore_ascii_case(head.target.authority()));
        assert_eq!(request_again(&again), wire);
    }
    let mut fields = head.fields;
    fields.strip_hop_by_hop();
    assert!(fields.iter().all(|(known, _, _)| !known.is_hop_by_hop()));
    assert_eq!(fields.all(Known::Host).count(), hosts);
    let map = fields.to_header_map(Known::Other).expect("what HTTP/1 allows, HTTP/2 can say");
    assert_eq!(map.len(), fields.len());
}

/// Any bytes as a response head, to a method that the first byte chooses.
pub fn response(input: &[u8]) {
    let Some((choice, input)) = input.split_first() else { return };
    let method = if choice % 2 == 0 { Method::GET } else { Method::HEAD };
    let limits = Limits::default();
    let mut buf = BytesMut::from(input);
    let whole = parse_response(&mut buf, &limits, &method);
    assert!(input.ends_with(&buf), "what is left is not the end of the input");
    let parts = feed(input, 1, |buf| parse_response(buf, &limits, &method));
    match (&whole, parts) {
        (Err(left), Err(right)) => assert_eq!((left.status, right.status), (502, 502)),
        (Ok(None), Ok(None)) => {}
        (Ok(Some(whole)), Ok(Some(parts))) => {
            assert_eq!(response_again(whole), response_again(&parts));
        }
        (whole, parts) => panic!("whole {whole:?}, in parts {parts:?}"),
    }
    let Ok(Some(head)) = whole else { return };
    check_bytes(input.strip_suffix(&buf[..]).unwrap_or(input), &head.fields);
    assert!(!(head.keep_alive && head.framing == Framing::UntilClose));
    let wire = response_again(&head);
    let again = parse_response(&mut BytesMut::from(&wire[..]), &limits, &method);
    let again = again.expect("what is forwarded is not refused").expect("it is complete");
    assert_eq!((again.status, again.framing), (head.status, head.framing));
    assert_eq!(response_again(&again), wire);
}

/// Everything that came out of a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    /// All data.
    pub data: Vec<u8>,
    /// The trailer section as it would be written.
    pub trailers: Vec<u8>,
    /// Whether the body came to its end.
    pub ended: bool,
    /// How many bytes were left for the next message.
    pub left: usize,
}

/// Reads a body in parts; nothing when it is refused.
pub fn read_body(framing: Framing, input: &[u8], step: usize) -> Option<Body> {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Body { data: Vec::new(), trailers: Vec::new(), ended: false, left: 0 };
    let mut buf = BytesMut::new();
    for part in input.chunks(step.max(1)) {
        buf.extend_from_slice(part);
        loop {
            match decoder.decode(&mut buf).ok()? {
                Decoded::Data(data) => body.data.extend_from_slice(&data),
                Decoded::Trailers(fields) => fields.write_http1(&mut body.trailers),
                Decoded::NeedMore | Decoded::End => break,
            }
        }
    }
    body.ended = decoder.is_end();
    body.left = buf.len();
    Some(body)
}

/// Any bytes as a body in chunks, cut as the first byte says.
pub fn chunked(input: &[u8]) {
    let Some((step, input)) = input.split_first() else { return };
    let whole = read_body(Framing::Chunked, input, usize::MAX);
    assert_eq!(whole, read_body(Framing::Chunked, input, usize::from(*step)));
    let Some(body) = whole.filter(|body| body.ended) else { return };
    let mut wire = Vec::new();
    if !body.data.is_empty() {
        encode_chunk_head(body.data.len(), &mut wire);
        wire.extend_from_slice(&body.data);
        wire.extend_from_slice(b"\r\n");
    }
    encode_last_chunk(None, &mut wire);
    let end = wire.len() - 2;
    wire.splice(end..end, body.trailers.iter().copied());
    let again = read_body(Framing::Chunked, &wire, 3);
    assert_eq!(again, Some(Body { left: 0, ..body }), "what is forwarded is read as it was");
}
