//! Which connection a call gets, and what becomes of it.

use super::*;
use crate::upstream::{ConnectErrorKind, ErrorKind, Retry};

/// Whether a connection is used again after this response.
async fn is_reused_after(response: &str) -> bool {
    let stage = Stage::new(Protocol::Http).await;
    let (mut exchange, mut peer) = stage.begin(&Ask::get("/")).await;
    let (answer, ()) = tokio::join!(answer(&mut exchange, Empty), async {
        peer.request().await;
        peer.say(response).await;
    });
    answer.unwrap();
    stage.lease(&Ask::get("/")).await.unwrap().is_reused()
}

#[test]
fn a_connection_is_used_again() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let mut peer = stage.warm_up().await;
        for _ in 0..3 {
            let lease = stage.lease(&Ask::get("/")).await.unwrap();
            assert!(lease.is_reused());
            let mut exchange = lease.send(&Ask::get("/").call());
            let (answer, ()) = tokio::join!(answer(&mut exchange, Empty), async {
                peer.request().await;
                peer.say(OK).await;
            });
            assert_eq!(answer.unwrap().text(), "ok");
        }
        assert_eq!(stage.endpoint().connections(), 1);
    });
}

#[test]
fn a_connection_that_the_instance_ends_is_not() {
    run(async {
        assert!(is_reused_after(OK).await);
        assert!(
            is_reused_after(
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"
            )
            .await
        );
        assert!(!is_reused_after("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").await);
        assert!(
            !is_reused_after("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                .await
        );
    });
}

#[test]
fn bytes_after_a_response_end_the_connection() {
    run(async {
        assert!(!is_reused_after(&format!("{OK}HTTP/1.1 200 OK\r\n")).await);
        assert!(!is_reused_after(&format!("{OK}\r\n")).await);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(is_reused_after(chunked).await);
        assert!(!is_reused_after(&format!("{chunked}x")).await);
    });
}

/// What arrives later, on a connection that is unused: a call would take it for its own answer.
#[test]
fn bytes_on_an_unused_connection_end_it() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let mut peer = stage.warm_up().await;
        peer.say(OK).await;
        // The kernel is asked for a POST.
        let lease = stage.lease(&Ask::post(BodyKind::None)).await.unwrap();
        assert!(!lease.is_reused());
        assert!(peer.rest().await.is_empty());
    });
}

#[test]
fn a_get_on_a_connection_that_was_just_closed_may_be_repeated() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        // The thread has not heard of it yet when the call begins.
        drop(stage.warm_up().await);
        let lease = stage.lease(&Ask::get("/")).await.unwrap();
        assert!(lease.is_reused());
        let mut exchange = lease.send(&Ask::get("/").call());
        let error = head(&mut exchange, Empty).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Closed | ErrorKind::Io(_)), "{error}");
        assert!(error.reused);
        assert_ne!(error.retry, Retry::Never);
        assert!(!stage.lease(&Ask::get("/")).await.unwrap().is_reused());
    });
}

/// Some instances say goodbye to a connection that was unused for too long.
#[test]
fn a_farewell_is_no_answer() {
    const FAREWELL: &str =
        "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let mut peer = stage.warm_up().await;
        let mut exchange = stage.send(&Ask::get("/")).await;
        let (error, ()) = tokio::join!(head(&mut exchange, Empty), peer.say(FAREWELL));
        let error = error.unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::Closed, Retry::IfIdempotent));
        assert!(error.reused);

        let answer = answered_with(FAREWELL).await.unwrap();
        assert_eq!(answer.status(), 408, "on a new connection it is meant");
    });
}

#[test]
fn a_post_never_gets_a_connection_that_was_closed() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        drop(stage.warm_up().await);
        let ask = Ask::post(BodyKind::Length(2));
        let (mut exchange, mut peer) = stage.begin(&ask).await;
        let (answer, ()) = tokio::join!(answer(&mut exchange, Pieces::of(&["hi"])), async {
            peer.request().await;
            assert_eq!(peer.hear(2).await, "hi");
            peer.say(OK).await;
        });
        assert_eq!(answer.unwrap().text(), "ok");
    });
}

#[test]
fn a_post_that_was_sent_is_repeated_only_if_that_is_safe() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let ask = Ask::post(BodyKind::Length(2));
        let (mut exchange, mut peer) = stage.begin(&ask).await;
        let (error, ()) = tokio::join!(head(&mut exchange, Pieces::of(&["hi"])), async {
            peer.request().await;
            drop(peer);
        });
        let error = error.unwrap_err();
        assert_eq!(error.retry, Retry::IfIdempotent);
        assert!(!error.reused);
    });
}

#[test]
fn closing_one_unused_connection_makes_the_others_be_looked_at() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let mut calls = Vec::new();
        for _ in 0..5 {
            calls.push(stage.begin(&Ask::get("/")).await);
        }
        let mut peers = Vec::new();
        for (mut exchange, mut peer) in calls {
            peers.push(peer.0.local_addr().unwrap());
            let (answer, ()) = tokio::join!(answer(&mut exchange, Empty), async {
                peer.request().await;
                peer.say(OK).await;
            });
            answer.unwrap();
            drop(peer);
        }
        assert_eq!(peers.len(), 5);
        let mut exchange = stage.send(&Ask::get("/")).await;
        let failed = head(&mut exchange, Empty).await;
        if let Err(error) = failed {
            assert!(error.reused);
        }
        assert_eq!(stage.endpoint().connections(), 0, "all of them are gone");
    });
}

#[test]
fn abandoned_calls_close_their_connection() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let (mut exchange, mut peer) = stage.begin(&Ask::get("/")).await;
        let (head, ()) = tokio::join!(head(&mut exchange, Empty), async {
            peer.request().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart").await;
        });
        head.unwrap();
        drop(exchange);
        assert!(peer.rest().await.is_empty());
        assert_eq!(stage.endpoint().connections(), 0);
        assert!(!stage.lease(&Ask::get("/")).await.unwrap().is_reused());
    });
}

#[test]
fn connections_are_not_kept_when_nothing_is() {
    run(async {
        let mut settings = settings(Protocol::Http);
        settings.keep_alive = Duration::ZERO;
        let stage = Stage::with(settings).await;
        let mut peer = stage.warm_up().await;
        assert!(peer.rest().await.is_empty());
        assert!(!stage.lease(&Ask::get("/")).await.unwrap().is_reused());
    });
}

#[test]
fn unused_connections_are_closed_in_time() {
    run(async {
        let mut settings = settings(Protocol::Http);
        settings.keep_alive = Duration::from_millis(1);
        let stage = Stage::with(settings).await;
        let mut peer = stage.warm_up().await;
        assert!(peer.rest().await.is_empty(), "the gateway closes it");
        assert_eq!(stage.endpoint().connections(), 0);
    });
}

#[test]
fn connections_to_an_instance_that_left_are_closed() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let mut peer = stage.warm_up().await;
        stage.service.set_instances(Vec::new(), Coarse(2));
        assert!(peer.rest().await.is_empty());
    });
}

#[test]
fn nobody_listening_is_known_at_once() {
    run(async {
        let stage = Stage::new(Protocol::Http).await;
        let Stage { listener, pools, settings, service, .. } = stage;
        drop(listener);
        let endpoint = Arc::clone(&service.endpoints()[0]);
        let ask = Ask::get("/");
        let leased = pools.lease(&endpoint, &settings, &ask.call(), Limits::default()).await;
        let error = leased.unwrap_err();
        assert_eq!(error.kind, ConnectErrorKind::Refused);
        assert!(error.kind.is_instance_at_fault());
        assert_eq!(endpoint.connections(), 0);
    });
}

#[test]
fn connecting_takes_no_longer_than_it_may() {
    run(async {
        // A handshake that nobody answers.
        let mut settings = settings(Protocol::H2c);
        settings.connect_timeout = Duration::from_millis(20);
        let stage = Stage::with(settings).await;
        let error = stage.lease(&Ask::get("/")).await.unwrap_err();
        assert_eq!(error.kind, ConnectErrorKind::Timeout);
    });
}

#[test]
fn at_the_limit_a_call_waits_for_a_connection() {
    run(async {
        let mut settings = settings(Protocol::Http);
        settings.circuit.connections = 1;
        let stage = Stage::with(settings).await;
        let (mut exchange, mut peer) = stage.begin(&Ask::get("/")).await;
        let ask = Ask::get("/");
        let (answer, lease, ()) = tokio::join!(
            async {
                let answer = answer(&mut exchange, Empty).await;
                answer.unwrap().text().to_owned()
            },
            stage.lease(&ask),
            async {
                peer.request().await;
                peer.say(OK).await;
            }
        );
        assert_eq!(answer, "ok");
        assert!(lease.unwrap().is_reused());
    });
}

#[test]
fn a_call_that_waits_takes_the_place_of_one_that_closes() {
    run(async {
        let mut settings = settings(Protocol::Http);
        settings.circuit.connections = 1;
        let stage = Stage::with(settings).await;
        let (exchange, _peer) = stage.begin(&Ask::get("/")).await;
        let ask = Ask::get("/");
        let (lease, ()) = tokio::join!(stage.lease(&ask), async {
            tokio::task::yield_now().await;
            drop(exchange);
        });
        assert!(!lease.unwrap().is_reused());
    });
}

#[test]
fn who_may_not_wait_is_told_so() {
    run(async {
        let mut settings = settings(Protocol::Http);
        settings.circuit.connections = 1;
        settings.circuit.pending = 0;
        let stage = Stage::with(settings).await;
        let _first = stage.begin(&Ask::get("/")).await;
        let error = stage.lease(&Ask::get("/")).await.unwrap_err();
        assert_eq!(error.kind, ConnectErrorKind::Limit);
        assert!(!error.kind.is_instance_at_fault());
    });
}

#[test]
fn who_waits_too_long_is_told_so() {
    run(async {
        let mut settings = settings(Protocol::Http);
        settings.circuit.connections = 1;
        settings.connect_timeout = Duration::from_millis(30);
        let stage = Stage::with(settings).await;
        let _first = stage.begin(&Ask::get("/")).await;
        let error = stage.lease(&Ask::get("/")).await.unwrap_err();
        assert_eq!(error.kind, ConnectErrorKind::Limit);
    });
}

/// Two threads' pools and one limit: what one keeps unused, the other may need.
#[test]
fn a_connection_that_another_thread_needs_is_given_up() {
    run(async {
        let mut settings = settings(Protocol::Http);
        settings.circuit.connections = 1;
        let stage = Stage::with(settings).await;
        let other = Pools::new(Arc::clone(&stage.tls));
        let _peer = stage.warm_up().await;
        let endpoint = stage.endpoint();
        let ask = Ask::get("/");
        let call = ask.call();
        let lease = other.lease(&endpoint, &stage.settings, &call, Limits::default()).await;
        assert!(!lease.unwrap().is_reused());
    });
}

#[test]
fn a_tcp_service_gets_its_connection() {
    run(async {
        let mut settings = settings(Protocol::Tcp);
        settings.circuit.connections = 1;
        let stage = Stage::with(settings).await;
        let endpoint = stage.endpoint();
        let lease = stage.pools.connect_tcp(&endpoint, &stage.settings).await.unwrap();
        assert_eq!(lease.stream.peer_addr().unwrap(), stage.address());
        let error = stage.pools.connect_tcp(&endpoint, &stage.settings).await.unwrap_err();
        assert_eq!(error.kind, ConnectErrorKind::Limit);
        drop(lease);
        assert_eq!(endpoint.connections(), 0);
    });
}
