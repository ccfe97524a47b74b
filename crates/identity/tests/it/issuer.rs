//! An HTTP server on loopback that answers what a test says, and counts what it is asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
    came: Vec<(String, Came)>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    after: Duration,
}

/// A server that runs until it is dropped.
pub(crate) struct Issuer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&shared), request));
                    let connection = hyper::server::conn::http1::Builder::new();
                    drop(connection.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, state, accepting }
    }

    /// Its name, as tokens have it.
    pub(crate) fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on `path` is answered so.
    pub(crate) fn set(&self, path: &str, status: u16, body: &Value) {
        self.set_full(path, status, &[], body.to_string(), Duration::ZERO);
    }

    pub(crate) fn set_full(
        &self,
        path: &str,
        status: u16,
        headers: &[(&'static str, &str)],
        body: impl Into<Bytes>,
        after: Duration,
    ) {
        let status = StatusCode::from_u16(status).expect("a status");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        let answer = Answer { status, headers: map, body: body.into(), after };
        self.state.lock().expect("sound").answers.insert(path.to_owned(), answer);
    }

    /// From now on these are its keys.
    pub(crate) fn set_keys(&self, keys: &[Value]) {
        self.set("/jwks", 200, &json!({ "keys": keys }));
    }

    /// How often `path` was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.came(path).len()
    }

    /// What was asked of `path`.
    pub(crate) fn came(&self, path: &str) -> Vec<Came> {
        let state = self.state.lock().expect("sound");
        state.came.iter().filter(|(at, _)| at == path).map(|(_, came)| came.clone()).collect()
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    let path = head.uri.path().to_owned();
    let answer = {
        let mut state = state.lock().expect("sound");
        state.came.push((path.clone(), Came { headers: head.headers, body }));
        state.answers.get(&path).cloned()
    };
    let mut response = Response::new(Full::default());
    match answer {
        None => *response.status_mut() = StatusCode::NOT_FOUND,
        Some(answer) => {
            if !answer.after.is_zero() {
                tokio::time::sleep(answer.after).await;
            }
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            *response.body_mut() = Full::new(answer.body);
        }
    }
    Ok(response)
}
