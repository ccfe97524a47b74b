//! Clients over HTTP/2 that wait, give up, take nothing, or stay: interim responses, flow control,
//! resets, and the ends of connections.

use std::sync::Arc;

use posthouse_tests::House;
use posthouse_tests::backend::Backend;
use posthouse_tests::raw::Raw;
use posthouse_tests::wait::PATIENCE;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use crate::frame_rows::{GET, POST};
use crate::frames::{
    ACK, DATA, END_STREAM, Frame, GOAWAY, HEADERS, Link, PING, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, data, frame, headers, setting,
};
use crate::recorder::Recorder;
use crate::table::{house, nothing_but_innocent};

/// The error code of a stream that is cancelled (RFC 9113 §7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// A house that waits for this instance as long as it takes.
async fn patient(backend: &Backend, gateway: &str) -> House {
    House::start(&format!(
        "listeners:\n  - address: 127.0.0.1:0\n\
         services:\n  back:\n    instances:\n      - address: {}\n    \
         timeouts:\n      header: 10m\n      idle: 10m\n      silence: 0s\n\
         routes:\n  - service: back\n    timeout: 10m\n{gateway}",
        backend.address()
    ))
    .await
}

/// An instance that hands each connection to `script` once a head has come, and lets the test hear
/// from it.
async fn telling<F, Fut>(script: F) -> (Backend, mpsc::UnboundedReceiver<&'static str>)
where
    F: Fn(Raw, mpsc::UnboundedSender<&'static str>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (say, heard) = mpsc::unbounded_channel();
    let backend = Backend::raw(move |_, mut raw| {
        let (script, say) = (script.clone(), say.clone());
        async move {
            raw.read_head().await;
            script(raw, say).await;
        }
    })
    .await;
    (backend, heard)
}

async fn hears(heard: &mut mpsc::UnboundedReceiver<&'static str>, what: &str) {
    let said = timeout(PATIENCE, heard.recv()).await;
    assert_eq!(said.expect("the instance says something in time"), Some(what));
}

/// The next frame of this kind that is about the connection.
async fn about_connection(link: &mut Link, kind: u8) -> Frame {
    let search = async {
        loop {
            let frame = link.next().await.expect("the connection is open");
            if frame.kind == kind && frame.flags & ACK == 0 {
                return frame;
            }
        }
    };
    timeout(PATIENCE, search).await.expect("a frame in time")
}

async fn ends(link: &mut Link) {
    let end = async { while link.next().await.is_some() {} };
    timeout(PATIENCE, end).await.expect("the end of the connection in time");
}

#[tokio::test]
async fn early_hints_come_before_the_final_response() {
    let (release, wait) = mpsc::unbounded_channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let backend = Backend::raw(move |_, mut raw| {
        let wait = Arc::clone(&wait);
        async move {
            raw.read_head().await;
            raw.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n").await;
            wait.lock().await.recv().await;
            raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let house = house(backend.address(), "http").await;
    let mut link = Link::begin(house.gateway()).await;
    link.send(&headers(END_STREAM, 1, GET)).await;
    let hints = link.until(HEADERS, 1).await;
    assert_eq!((hints.status(), hints.flags & END_STREAM), (Some(103), 0), "{hints:?}");
    release.send(()).expect("the instance waits");
    assert_eq!(link.until(HEADERS, 1).await.status(), Some(200));
    assert_eq!(link.until(DATA, 1).await.payload, b"ok");
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_when_its_body_is_wanted() {
    let (backend, _heard) = telling(|mut raw, _| async move {
        assert_eq!(raw.read_exact(5).await, b"hello");
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let house = house(backend.address(), "http").await;
    let mut link = Link::begin(house.gateway()).await;
    let ask = [POST, &[("expect", "100-continue"), ("content-length", "5")]].concat();
    link.send(&headers(0, 1, &ask)).await;
    let go_on = link.until(HEADERS, 1).await;
    assert_eq!((go_on.status(), go_on.flags & END_STREAM), (Some(100), 0), "{go_on:?}");
    link.send(&data(END_STREAM, 1, "hello")).await;
    assert_eq!(link.until(HEADERS, 1).await.status(), Some(200));

    // Who sends its body unasked is not asked for it.
    link.send(&[headers(0, 3, &ask), data(END_STREAM, 3, "hello")].concat()).await;
    let first = link.until(HEADERS, 3).await;
    assert_eq!(first.status(), Some(200), "{first:?}");
}

#[tokio::test]
async fn an_upload_goes_on_while_the_client_takes_nothing_of_the_response() {
    const SENT: usize = 200_000;
    const ANSWERED: usize = 100_000;
    let (backend, mut heard) = telling(|mut raw, say| async move {
        raw.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWERED}\r\n\r\n")).await;
        raw.send("x".repeat(ANSWERED)).await;
        raw.read_exact(SENT).await;
        say.send("whole").expect("the test listens");
        raw.read_to_end().await;
    })
    .await;
    let house = patient(&backend, "").await;
    let mut link = Link::open(house.gateway()).await;
    // No room for any of a response's body (RFC 9113 §6.9.2).
    link.send(&[PREFACE, &frame(SETTINGS, 0, 0, &setting(4, 0))].concat()).await;
    // The house's own room for bodies counts once the client knows of it.
    link.until(SETTINGS, 0).await;
    link.send(&frame(SETTINGS, ACK, 0, &[])).await;
    let length = SENT.to_string();
    let ask = [POST, &[("content-length", length.as_str())]].concat();
    link.send(&headers(0, 1, &ask)).await;
    assert_eq!(link.until(HEADERS, 1).await.status(), Some(200));
    let piece = "y".repeat(10_000);
    for number in 1..=20 {
        let last = if number == 20 { END_STREAM } else { 0 };
        link.send(&data(last, 1, &piece)).await;
    }
    hears(&mut heard, "whole").await;
    let room = u32::try_from(ANSWERED).expect("it is small").to_be_bytes();
    let update = |stream| frame(WINDOW_UPDATE, 0, stream, &room);
    link.send(&[update(0), update(1)].concat()).await;
    let mut received = 0;
    while received < ANSWERED {
        received += link.until(DATA, 1).await.payload.len();
    }
    assert_eq!(received, ANSWERED);
}

#[tokio::test]
async fn a_reset_ends_the_call_to_the_instance_at_once() {
    for begins in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let (backend, mut heard) = telling(move |mut raw, say| async move {
            raw.send(begins).await;
            say.send("asked").expect("the test listens");
            raw.read_to_end().await;
            say.send("left").expect("the test listens");
        })
        .await;
        let house = patient(&backend, "").await;
        let mut link = Link::begin(house.gateway()).await;
        link.send(&headers(END_STREAM, 1, GET)).await;
        hears(&mut heard, "asked").await;
        if !begins.is_empty() {
            link.until(DATA, 1).await;
        }
        link.send(&frame(RST_STREAM, 0, 1, &CANCEL)).await;
        hears(&mut heard, "left").await;
        // The connection, and the instance, serve on.
        link.send(&headers(END_STREAM, 3, GET)).await;
        hears(&mut heard, "asked").await;
    }
}

/// Rapid reset at a pace at which every stream has been taken on before it is given up: each must
/// have left nothing behind.
#[tokio::test]
async fn streams_that_are_begun_and_reset_leave_nothing_behind() {
    let recorder = Recorder::start().await;
    let house = house(recorder.address(), "http").await;
    let mut link = Link::begin(house.gateway()).await;
    for index in 0..400_u32 {
        let stream = 2 * index + 1;
        let begin = [headers(0, stream, POST), frame(PING, 0, 0, &[7; 8])].concat();
        link.send(&begin).await;
        let answer = link.until(PING, 0).await;
        assert_eq!(answer.flags & ACK, ACK, "{answer:?}");
        link.send(&frame(RST_STREAM, 0, stream, &CANCEL)).await;
    }
    // More than may be under way at once have been begun, so that none of them is any more.
    let received = nothing_but_innocent(&house, &recorder, 0).await;
    assert!(received.is_ok_and(|received| received.whole.is_empty()));
    link.send(&headers(END_STREAM, 1001, GET)).await;
    assert_eq!(link.until(HEADERS, 1001).await.status(), Some(200));
}

#[tokio::test]
async fn a_house_that_stops_ends_what_was_begun_and_then_the_connection() {
    let (release, wait) = mpsc::unbounded_channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let (backend, mut heard) = telling(move |mut raw, say| {
        let wait = Arc::clone(&wait);
        async move {
            say.send("asked").expect("the test listens");
            wait.lock().await.recv().await;
            raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            raw.read_to_end().await;
        }
    })
    .await;
    let mut house = patient(&backend, "").await;
    let mut link = Link::begin(house.gateway()).await;
    link.send(&headers(END_STREAM, 1, GET)).await;
    hears(&mut heard, "asked").await;
    house.signal(nix::sys::signal::Signal::SIGTERM);
    // RFC 9113 §6.8: first that it will, then, once that is known, up to which stream.
    let notice = about_connection(&mut link, GOAWAY).await;
    assert_eq!((notice.code(), &notice.payload[..4]), (Some(0), &[0x7f, 255, 255, 255][..]));
    let ping = about_connection(&mut link, PING).await;
    link.send(&frame(PING, ACK, 0, &ping.payload)).await;
    let last = about_connection(&mut link, GOAWAY).await;
    assert_eq!((last.code(), &last.payload[..4]), (Some(0), &[0, 0, 0, 1][..]));
    release.send(()).expect("the instance waits");
    assert_eq!(link.until(HEADERS, 1).await.status(), Some(200));
    assert_eq!(link.until(DATA, 1).await.payload, b"ok");
    ends(&mut link).await;
    assert!(house.program().wait().await.success(), "{}", house.log());
}

#[tokio::test]
async fn an_unused_connection_is_told_to_go_and_a_used_one_asked_whether_it_is_there() {
    let (backend, mut heard) = telling(|mut raw, say| async move {
        say.send("asked").expect("the test listens");
        raw.read_to_end().await;
    })
    .await;
    let house = patient(&backend, "gateway:\n  timeouts:\n    keep_alive: 500ms\n").await;
    let mut used = Link::begin(house.gateway()).await;
    used.send(&headers(END_STREAM, 1, GET)).await;
    hears(&mut heard, "asked").await;
    for _ in 0..2 {
        let ping = about_connection(&mut used, PING).await;
        used.send(&frame(PING, ACK, 0, &ping.payload)).await;
    }

    let mut unused = Link::begin(house.gateway()).await;
    let notice = about_connection(&mut unused, GOAWAY).await;
    assert_eq!(notice.code(), Some(0), "{notice:?}");
    let ping = about_connection(&mut unused, PING).await;
    unused.send(&frame(PING, ACK, 0, &ping.payload)).await;
    ends(&mut unused).await;
}
