//! Reads of a service's instances, waiting ones above all, without the library's server: it is what
//! thousands of clients ask for all day, and reading and answering it here costs a fraction. Whatever
//! else is asked, and whatever is unusual about how, goes on to the library with what was read of it,
//! and the connection stays there.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::App;
use super::ask::{Ask, Carried, X_TOKEN, takes_gzip, timer};
use super::health::{self, Found};
use super::reply::{self, Fault};

/// Longer requests, and those with more fields, are the library's.
const LONGEST: usize = 4096;
const MOST_FIELDS: usize = 32;

const PATH: &str = "/v1/health/service/";

/// A request for what is answered here.
struct Request<'a> {
    service: &'a str,
    query: &'a str,
    carried: Carried<'a>,
}

/// Serves a connection until it is over, or until something is asked that is not for here: what was
/// read of that is returned.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn serve(stream: &mut TcpStream, app: &App) -> io::Result<Option<Vec<u8>>> {
    let limit = app.config().limits.header_timeout.0;
    // They stay, so that they need not be entered and taken out for each request.
    let (mut closing, mut idle) = (pin!(app.closing()), pin!(tokio::time::sleep(limit)));
    let mut until = pin!(timer());
    let mut waits_for = None;
    let mut read = Vec::new();
    loop {
        if read.is_empty() {
            idle.as_mut().reset(Instant::now() + limit);
            let first = poll_fn(|context| {
                if app.shared().watchers.wave().holds(&mut waits_for, context.waker()) {
                    return Poll::Pending;
                }
                poll_more(stream, &mut read, context)
            });
            tokio::select! {
                first = first => if first? == 0 { return Ok(None) },
                () = idle.as_mut() => return Ok(None),
                () = closing.as_mut() => return Ok(None),
            }
        }
        let Some(Request { service, query, carried }) = request(&read) else {
            return Ok(Some(read));
        };
        let service = service.to_owned();
        let ask = Ask::new(app, query, &carried);
        // Nothing is kept of it while it waits.
        read = Vec::new();
        let answered = pin!(answer(app, &service, ask, until.as_mut()));
        let Some((head, body)) = while_there(stream, &mut read, answered).await? else {
            return Ok(None);
        };
        write(stream, &head, &body).await?;
    }
}

/// The answer to a request; `None` if whoever asked goes away meanwhile. What it sends meanwhile is put
/// into `read`.
async fn while_there<T>(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    mut answered: Pin<&mut impl Future<Output = io::Result<T>>>,
) -> io::Result<Option<T>> {
    loop {
        tokio::select! {
            biased;
            answer = answered.as_mut() => return answer.map(Some),
            more = poll_fn(|context| poll_more(stream, read, context)), if read.len() < LONGEST => {
                if more? == 0 {
                    return Ok(None);
                }
            }
        }
    }
}

/// An answer as it is written.
async fn answer(
    app: &App,
    service: &str,
    ask: Result<Ask, Fault>,
    until: Pin<&mut Sleep>,
) -> io::Result<(Vec<u8>, Bytes)> {
    let refused = match ask {
        Ok(ask) => match health::find(app, service, &ask, until).await {
            Ok(Found::Before(index, body)) => return Ok(reply::written_before(&ask, index, &body)),
            Ok(Found::Now(answer)) => {
                return reply::written(answer).await.map_err(io::Error::other);
            }
            Err(fault) => fault,
        },
        Err(fault) => fault,
    };
    reply::written(refused.into_response()).await.map_err(io::Error::other)
}

/// What was read, if it is one whole request for what is answered here, and nothing else.
fn request(read: &[u8]) -> Option<Request<'_>> {
    let mut fields = [MaybeUninit::uninit(); MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(read, &mut fields);
    if !matches!(parsed, Ok(httparse::Status::Complete(length)) if length == read.len()) {
        return None;
    }
    if request.method != Some("GET") || request.version != Some(1) {
        return None;
    }
    let target = request.path?.strip_prefix(PATH)?;
    let (service, query) = target.split_once('?').unwrap_or((target, ""));
    if service.is_empty() || service.contains(['/', '%']) || target.contains('#') {
        return None;
    }
    let mut carried = Carried::default();
    for field in request.headers.iter() {
        let is = |name: &http::HeaderName| field.name.eq_ignore_ascii_case(name.as_str());
        if is(&X_TOKEN) {
            carried.token = carried.token.or(Some(value(field)?));
        } else if is(&AUTHORIZATION) {
            carried.authorization = carried.authorization.or(Some(value(field)?));
        } else if is(&http::header::ACCEPT_ENCODING) {
            carried.takes_gzip |= takes_gzip([value(field)?]);
        } else if is(&CONNECTION) {
            value(field).filter(|value| value.eq_ignore_ascii_case("keep-alive"))?;
        } else if is(&CONTENT_LENGTH) {
            value(field).filter(|value| *value == "0")?;
        } else if [TRANSFER_ENCODING, UPGRADE, EXPECT].iter().any(is) {
            return None;
        }
    }
    Some(Request { service, query, carried })
}

/// A field's value, if it is of visible characters.
fn value<'a>(field: &httparse::Header<'a>) -> Option<&'a str> {
    let is_plain = field.value.iter().all(|byte| (b' '..=b'~').contains(byte));
    str::from_utf8(field.value).ok().filter(|_| is_plain)
}

/// Reads what is there; 0 at the end. Waiting needs no memory.
fn poll_more(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut room = [MaybeUninit::uninit(); LONGEST];
    let mut room = ReadBuf::uninit(&mut room);
    ready!(Pin::new(stream).poll_read(context, &mut room))?;
    read.extend_from_slice(room.filled());
    Poll::Ready(Ok(room.filled().len()))
}

async fn write(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let written = stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]).await?;
    if written < head.len() {
        stream.write_all(&head[written..]).await?;
    }
    stream.write_all(&body[written.saturating_sub(head.len())..]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_whole_and_plain_is_taken() {
        let path = "GET /v1/health/service/web?index=7&wait=1m HTTP/1.1\r\n";
        let taken = format!(
            "{path}Host: h\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\nX-Consul-Token: t\r\n\
             accept-encoding: br, gzip\r\n\r\n"
        );
        let request_of_it = request(taken.as_bytes()).expect("plain");
        assert_eq!((request_of_it.service, request_of_it.query), ("web", "index=7&wait=1m"));
        let carried = request_of_it.carried;
        assert_eq!(
            (carried.token, carried.authorization, carried.takes_gzip),
            (Some("t"), None, true)
        );
        for other in [
            format!("{path}\r\nGET"),
            path.to_owned(),
            path.replace("GET", "PUT") + "\r\n",
            path.replace("1.1", "1.0") + "\r\n",
            path.replace("web", "we%62") + "\r\n",
            path.replace("web", "") + "\r\n",
            path.replace("web", "a/b") + "\r\n",
            path.replace("health/service", "health/connect") + "\r\n",
            format!("{path}Connection: close\r\n\r\n"),
            format!("{path}Content-Length: 1\r\n\r\nx"),
            format!("{path}Transfer-Encoding: chunked\r\n\r\n"),
            format!("{path}Upgrade: h2c\r\n\r\n"),
            format!("{path}Expect: 100-continue\r\n\r\n"),
            format!("{path}X-Consul-Token: \u{e4}\r\n\r\n"),
            format!("{path}A: b\nC: d\r\n e\r\n\r\n"),
        ] {
            assert!(request(other.as_bytes()).is_none(), "{other:?}");
        }
    }
}
