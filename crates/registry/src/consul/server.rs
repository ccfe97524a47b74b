//! Accepts connections and speaks HTTP/1.1 on them, within limits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use posthouse_base::task::Tasks;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::{App, express};

/// How long to let be after the system refused to give a connection (out of file descriptors).
const PAUSE: Duration = Duration::from_millis(50);

/// What one connection too many is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

/// Serves `router` on `listener` until `tasks` stops. When `app` closes, no further connection is
/// accepted and those there are end after the request that they are in.
pub(crate) async fn serve(listener: TcpListener, router: Router, app: App, tasks: Tasks) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.closing() => return,
        };
        match accepted {
            Ok((stream, _)) => accept(stream, &router, &app, &tasks),
            Err(error) => {
                if !is_of_one_connection(&error) {
                    tracing::warn!("the registry cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn accept(mut stream: TcpStream, router: &Router, app: &App, tasks: &Tasks) {
    let metrics = &app.shared().metrics;
    if metrics.connections() >= app.config().limits.connections {
        metrics.limited("connections");
        tasks.spawn("registry refusal", async move {
            // A courtesy: whoever does not take it finds the connection closed.
            let _sent = stream.write_all(FULL).await;
        });
        return;
    }
    let connected = metrics.connected();
    let (router, app) = (router.clone(), app.clone());
    tasks.spawn("registry connection", async move {
        connection(stream, router, app).await;
        drop(connected);
    });
}

async fn connection(mut stream: TcpStream, router: Router, app: App) {
    // Answers are small and written at once; waiting for more would only make them late.
    let _best_effort = stream.set_nodelay(true);
    let mut first = Vec::new();
    if app.is_own {
        first = match express::serve(&mut stream, &app).await {
            Ok(Some(first)) => first,
            Ok(None) => return,
            Err(error) => return tracing::debug!("a connection to the registry ended: {error}"),
        };
    }
    // On the heap, so that those that never come here need no room for it.
    Box::pin(by_library(Socket { stream, first, app, waits_for: None }, router)).await;
}

/// Serves a connection by the library, of which something was read already.
async fn by_library(socket: Socket, router: Router) {
    let app = socket.app.clone();
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(app.config().limits.header_timeout.0);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = app.closing() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection to the registry ended: {error}");
    }
}

/// A connection's socket, which is not read from while a crowd is being told
/// ([`Wave`](crate::watch::Wave)). Polled by its connection's task only.
struct Socket {
    stream: TcpStream,
    /// What was read before.
    first: Vec<u8>,
    app: App,
    waits_for: Option<u64>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, first, app, waits_for } = &mut *self;
        if !first.is_empty() {
            let count = first.len().min(buffer.remaining());
            buffer.put_slice(&first[..count]);
            first.drain(..count);
            return Poll::Ready(Ok(()));
        }
        if app.shared().watchers.wave().holds(waits_for, context.waker()) {
            return Poll::Pending;
        }
        Pin::new(stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Whether accepting failed because of what the peer did, so that the next one may be taken at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
