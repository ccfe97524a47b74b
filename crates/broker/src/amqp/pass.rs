//! Connections that are passed through to an engine: every octet, both ways, unread. What one side has
//! ended is ended on the other, which may go on with its own; heartbeats are between client and engine.

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::engine::Engine;

/// Passes a client through until either is gone, or the house closes. An engine that cannot be
/// reached closes the connection at once, so that the client tries again in its own way.
pub(super) async fn pass(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    engine: &Engine,
    handshake: OwnedSemaphorePermit,
    mut closing: watch::Receiver<bool>,
) {
    let passing = async {
        let Some(mut reached) = engine.reach().await else { return };
        drop(handshake);
        if let Err(error) = copy_bidirectional(&mut client, &mut reached).await {
            tracing::debug!("a connection to the engine broke off: {error}");
        }
    };
    tokio::select! {
        () = passing => {}
        _closing = closing.wait_for(|closing| *closing) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::engine::{EngineAddress, EngineConfig};

    /// A client that is passed through to `engine`, what passes it, and what closes the house.
    async fn passed(engine: SocketAddr) -> (DuplexStream, JoinHandle<()>, watch::Sender<bool>) {
        let address = EngineAddress::parse(&format!("amqp://{engine}")).expect("an address");
        let engine = Engine::new(&EngineConfig::at(address)).expect("a way there");
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("a place");
        let (closing, is_closing) = watch::channel(false);
        let (client, ours) = duplex(64);
        let passing = async move { pass(ours, &engine, place, is_closing).await };
        (client, tokio::spawn(passing), closing)
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    #[tokio::test]
    async fn octets_go_both_ways_and_who_has_ended_may_still_be_answered() {
        let (listener, address) = listener().await;
        let (mut client, passing, _closing) = passed(address).await;
        client.write_all(b"AMQP").await.expect("sent");
        client.shutdown().await.expect("ended");
        let (mut engine, _) = listener.accept().await.expect("a connection");
        let mut read = Vec::new();
        engine.read_to_end(&mut read).await.expect("all of it");
        assert_eq!(read, b"AMQP");
        engine.write_all(&[7; 1000]).await.expect("sent");
        drop(engine);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("all of it");
        assert_eq!(answer, [7; 1000]);
        passing.await.expect("it ends");
    }

    #[tokio::test]
    async fn an_engine_that_is_away_ends_the_connection_and_so_does_the_house() {
        let (listener, address) = listener().await;
        let (mut client, passing, closing) = passed(address).await;
        let (_engine, _) = listener.accept().await.expect("a connection");
        closing.send_replace(true);
        passing.await.expect("it ends");
        assert_eq!(client.read(&mut [0; 8]).await.expect("an end"), 0);
        drop(listener);
        let (mut client, passing, _closing) = passed(address).await;
        passing.await.expect("it ends");
        assert_eq!(client.read(&mut [0; 8]).await.expect("an end"), 0);
    }
}
