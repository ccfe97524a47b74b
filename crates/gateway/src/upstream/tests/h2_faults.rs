//! HTTP/2 instances that misbehave or go away, written frame by frame (RFC 9113 §4.1, §6).

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::upstream::{ErrorKind, Retry, Side};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` of HPACK's static table.
const STATUS_200: u8 = 0x88;

fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = len[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `content-length` as a literal without indexing.
fn content_length(digits: &str) -> Vec<u8> {
    let mut field = vec![0x0f, 0x0d, u8::try_from(digits.len()).unwrap()];
    field.extend(digits.as_bytes());
    field
}

fn head_of(stream: u32, more: &[u8], flags: u8) -> Vec<u8> {
    let mut block = vec![STATUS_200];
    block.extend(more);
    frame_of(HEADERS, END_HEADERS | flags, stream, &block)
}

fn go_away(last: u32, code: u32) -> Vec<u8> {
    frame_of(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame_of(RST_STREAM, 0, stream, &code.to_be_bytes())
}

impl Peer {
    /// Exchanges prefaces and settings.
    async fn begin_h2(&mut self) {
        self.bytes(24).await;
        self.say(frame_of(SETTINGS, 0, 0, &[])).await;
        self.say(frame_of(SETTINGS, ACK, 0, &[])).await;
    }

    /// Reads frames until this many requests have come.
    async fn requests(&mut self, mut count: usize) {
        while count > 0 {
            let head = self.bytes(9).await;
            let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            self.bytes(len).await;
            if head[3] == HEADERS {
                count -= 1;
            }
        }
    }
}

/// What comes of a call that is answered with these frames, on stream 1.
async fn answered_with(frames: Vec<Vec<u8>>) -> Result<Answer, ExchangeError> {
    let stage = Stage::new(Protocol::H2c).await;
    let client = async {
        let mut exchange = stage.send(&Ask::get("/")).await;
        answer(&mut exchange, Empty).await
    };
    let server = async {
        let mut peer = stage.accept().await;
        peer.begin_h2().await;
        peer.requests(1).await;
        peer.say(frames.concat()).await;
        peer.0.shutdown().await.unwrap();
        peer
    };
    tokio::join!(client, server).0
}

#[test]
fn a_whole_answer() {
    run(async {
        let frames = vec![
            head_of(1, &content_length("2"), 0),
            frame_of(DATA, 0, 1, b"o"),
            frame_of(DATA, END_STREAM, 1, b"k"),
        ];
        let answer = answered_with(frames).await.unwrap();
        assert_eq!(answer.head.body, BodyKind::Length(2));
        assert_eq!(answer.text(), "ok");
    });
}

/// How an instance says that it needs no more of the request (RFC 9113 §8.1).
#[test]
fn a_whole_answer_outlives_the_reset_after_it() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let client = async {
            let mut exchange = stage.send(&Ask::post(BodyKind::Unknown)).await;
            answer(&mut exchange, Zeros(64 << 20)).await.unwrap()
        };
        let server = async {
            let mut peer = stage.accept().await;
            peer.begin_h2().await;
            peer.requests(1).await;
            let answer = [head_of(1, &[], 0), frame_of(DATA, END_STREAM, 1, b"no"), reset(1, 0)];
            peer.say(answer.concat()).await;
            peer
        };
        let (answer, _peer) = tokio::join!(client, server);
        assert_eq!(answer.text(), "no");
    });
}

#[test]
fn a_refused_stream_may_always_be_repeated() {
    run(async {
        let error = answered_with(vec![reset(1, 7)]).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::RefusedStream, Retry::Always));
    });
}

#[test]
fn a_stream_that_was_reset_may_have_been_acted_upon() {
    run(async {
        let error = answered_with(vec![reset(1, 2)]).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::Reset(2), Retry::IfIdempotent));
        assert_eq!(error.side(), Side::Upstream);
    });
}

#[test]
fn a_response_that_was_reset_is_not_repeated() {
    run(async {
        for code in [0, 2, 7, 8] {
            let frames = vec![head_of(1, &[], 0), frame_of(DATA, 0, 1, b"part"), reset(1, code)];
            let error = answered_with(frames).await.expect_err("a part must not pass for a whole");
            assert_eq!(error.retry, Retry::Never, "{code}");
        }
    });
}

#[test]
fn a_stream_above_the_last_one_may_always_be_repeated() {
    run(async {
        let error = answered_with(vec![go_away(0, 0)]).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::GoAway, Retry::Always));
    });
}

#[test]
fn streams_up_to_the_last_one_are_answered() {
    run(async {
        let frames =
            vec![go_away(1, 0), head_of(1, &[], 0), frame_of(DATA, END_STREAM, 1, b"still here")];
        assert_eq!(answered_with(frames).await.unwrap().text(), "still here");
    });
}

#[test]
fn a_stream_that_was_taken_on_and_lost_may_have_been_acted_upon() {
    run(async {
        let error = answered_with(vec![go_away(1, 2)]).await.unwrap_err();
        assert_eq!(error.retry, Retry::IfIdempotent, "{error}");
        let error = answered_with(Vec::new()).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::Closed, Retry::IfIdempotent));
    });
}

#[test]
fn calls_after_go_away_get_another_connection() {
    run(async {
        let stage = Stage::new(Protocol::H2c).await;
        let ask = Ask::get("/");
        let client = async {
            let mut first = stage.send(&ask).await;
            head(&mut first, Empty).await.unwrap();
            let mut second = stage.send(&ask).await;
            let answer = answer(&mut second, Empty).await.unwrap();
            (answer, first)
        };
        let server = async {
            let mut first = stage.accept().await;
            first.begin_h2().await;
            first.requests(1).await;
            first.say([go_away(1, 0), head_of(1, &[], 0)].concat()).await;
            let mut second = stage.accept().await;
            second.begin_h2().await;
            second.requests(1).await;
            second.say([head_of(1, &[], 0), frame_of(DATA, END_STREAM, 1, b"ok")].concat()).await;
            (first, second)
        };
        let ((answer, _first), _peers) = tokio::join!(client, server);
        assert_eq!(answer.text(), "ok");
    });
}

/// Lengths that are not what they say.
#[test]
fn a_length_is_held_to() {
    run(async {
        let short =
            vec![head_of(1, &content_length("10"), 0), frame_of(DATA, END_STREAM, 1, b"short")];
        let long =
            vec![head_of(1, &content_length("2"), 0), frame_of(DATA, END_STREAM, 1, b"longer")];
        let none = vec![head_of(1, &content_length("2"), END_STREAM)];
        let doubled = vec![
            head_of(1, &[content_length("2"), content_length("3")].concat(), 0),
            frame_of(DATA, END_STREAM, 1, b"ok"),
        ];
        for frames in [short, long, none, doubled] {
            let error = answered_with(frames.clone()).await.expect_err(&format!("{frames:?}"));
            assert!(matches!(error.kind, ErrorKind::Malformed(_)), "{error}: {frames:?}");
            assert_eq!(error.retry, Retry::Never);
        }
    });
}

#[test]
fn connection_fields_are_refused() {
    run(async {
        // A literal with a new name: `connection: close`.
        let mut field = vec![0, 10];
        field.extend(b"connection");
        field.push(5);
        field.extend(b"close");
        let error = answered_with(vec![head_of(1, &field, END_STREAM)]).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Malformed(_)), "{error}");
    });
}

#[test]
fn a_broken_connection_fails_its_calls() {
    run(async {
        // DATA on stream 0 is a connection error (RFC 9113 §6.1).
        let error = answered_with(vec![frame_of(DATA, 0, 0, b"x")]).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Http2(1)), "{error}");
        assert_ne!(error.retry, Retry::Always);
    });
}
