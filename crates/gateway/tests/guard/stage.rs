//! The gateway under test, its instance, its clients, and who they are.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use posthouse_base::config::Report;
use posthouse_base::task::Tasks;
use posthouse_gateway::access::{Record, Recorder};
use posthouse_gateway::config::{Config, check};
use posthouse_gateway::guard::{
    Answer, Asked, Identifier, Identity, Inspector, Refusal, Verdict, Violation,
};
use posthouse_gateway::{Gateway, Seams};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How long anything may take before the test counts as hanging.
const LIMIT: Duration = Duration::from_secs(20);

/// A gateway, and what its instance has seen.
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    instance: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    _tasks: Tasks,
}

struct Silent;

impl Recorder for Silent {
    fn record(&self, _: &Record<'_>) {}
}

/// Knows those whom `Authorization: Bearer NAME` names.
struct Names;

impl Identifier for Names {
    fn identify(&self, asked: &Asked<'_>, providers: &[Arc<str>]) -> Verdict {
        if let (Some(certificate), "mtls") = (asked.certificate, &*providers[0]) {
            return known(&format!("certificate of {} bytes", certificate.chain[0].len()));
        }
        let Some(shown) = asked.fields.get_named(b"authorization") else { return Verdict::Nobody };
        match shown.strip_prefix(b"Bearer ").unwrap_or_default() {
            b"down" => Verdict::Refused(Refusal::Unavailable),
            b"no" => Verdict::Refused(Refusal::Forbidden(None)),
            b"words" => Verdict::Refused(Refusal::Forbidden(Some(Box::new(Answer {
                status: StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
                fields: vec![
                    (HeaderName::from_static("x-why"), HeaderValue::from_static("law")),
                    (HeaderName::from_static("content-length"), HeaderValue::from_static("999")),
                    (HeaderName::from_static("connection"), HeaderValue::from_static("x-why")),
                ],
                body: Bytes::from_static(b"so says the law"),
            })))),
            b"later" => Verdict::Later(Box::pin(async {
                tokio::task::yield_now().await;
                known("later")
            })),
            b"signed" => Verdict::WithBody(Box::new(|body| {
                if body == b"hello world" {
                    known("signed")
                } else {
                    Verdict::Refused(Refusal::Invalid)
                }
            })),
            name @ (b"ann" | b"bob" | b"unsigned") => known(&String::from_utf8_lossy(name)),
            _ => Verdict::Refused(Refusal::Invalid),
        }
    }

    fn adds(&self) -> Vec<HeaderName> {
        vec![HeaderName::from_static("x-added")]
    }

    fn mint(&self, identity: &Arc<Identity>, audience: &str) -> Option<Arc<[u8]>> {
        let token = format!("{}.for.{audience}", identity.subject);
        (&*identity.subject != "unsigned").then(|| token.into_bytes().into())
    }
}

fn known(subject: &str) -> Verdict {
    let scopes = if subject == "ann" { vec!["read".into()] } else { Vec::new() };
    let claims = json!({ "tenant": "t1" });
    Verdict::Known(Arc::new(Identity {
        provider: "names".into(),
        subject: subject.into(),
        consumer: Some(subject.into()),
        scopes,
        claims: claims.as_object().unwrap().clone(),
        ..Identity::default()
    }))
}

/// Finds everything wrong that is `bad`.
struct Strict;

impl Inspector for Strict {
    fn wants_body(&self, _: &str, _: &str, asked: &Asked<'_>) -> bool {
        asked.method != http::Method::GET
    }

    fn inspect(
        &self,
        api: &str,
        version: &str,
        asked: &Asked<'_>,
        body: Option<&[u8]>,
    ) -> Result<(), Violation> {
        assert_eq!((api, version), ("users", "v2"));
        let wrong =
            |pointer: &str| Violation { pointer: pointer.into(), message: "it is bad".into() };
        if asked.path_and_query.ends_with(b"?q=bad") {
            return Err(wrong("/query/q"));
        }
        if body.is_some_and(|body| body == b"bad") { Err(wrong("/body")) } else { Ok(()) }
    }
}

impl Stage {
    /// A gateway with these sections; in any text, INSTANCE is the address of the instance.
    pub(crate) async fn new(sections: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let instance = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        tokio::spawn(instance_of(listener, Arc::clone(&seen)));
        let tasks = Tasks::new();
        let seams = Seams {
            identifier: Arc::new(Names),
            inspector: Arc::new(Strict),
            ..Seams::new(Arc::new(Silent))
        };
        let gateway = Gateway::start(configured(&sections, instance), seams, &tasks).unwrap();
        let address = gateway.addresses()[0];
        Self { gateway, address, instance, seen, _tasks: tasks }
    }

    /// Puts other sections in force.
    pub(crate) fn reload(&self, sections: &Value) {
        self.gateway.apply(configured(sections, self.instance)).unwrap();
    }

    /// Sends a whole request over a connection of its own, and reads the answer to its end.
    pub(crate) async fn ask(&self, request: &str) -> String {
        let stream = TcpStream::connect(self.address).await.unwrap();
        exchange(stream, request).await
    }

    /// `GET` with these further lines.
    pub(crate) async fn get(&self, path: &str, lines: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n"))
            .await
    }

    /// `POST` of a body with these further lines.
    pub(crate) async fn post(&self, path: &str, lines: &str, body: &str) -> String {
        let length = body.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
        ))
        .await
    }

    /// The requests that have reached the instance since the last look.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The page of metrics.
    pub(crate) fn metrics(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.gateway.register_metrics(&mut registry);
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        page
    }
}

/// Sends bytes and reads to the end.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> String {
    let read = async {
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(LIMIT, read).await.expect("the answer does not come").unwrap_or_default()
}

fn configured(sections: &Value, instance: SocketAddr) -> Config {
    let mut all = json!({
        "listeners": [{ "address": "127.0.0.1:0" }],
        "services": {
            "a": { "instances": [{ "address": "INSTANCE" }], "timeouts": { "connect": "5s" } },
        },
        "gateway": { "threads": 1 },
    });
    for (name, section) in sections.as_object().unwrap() {
        all[name] = section.clone();
    }
    let text = all.to_string().replace("INSTANCE", &instance.to_string());
    let mut report = Report::new();
    let config = check(serde_json::from_str(&text).unwrap(), Path::new("/"), &mut report);
    assert!(!report.has_errors(), "{:?}", report.findings());
    config
}

/// An instance that notes each request and answers 200.
async fn instance_of(listener: TcpListener, seen: Arc<Mutex<Vec<String>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, Arc::clone(&seen)));
    }
}

async fn answer(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let mut held = Vec::new();
    loop {
        while let Some(length) = whole(&held) {
            let request: Vec<u8> = held.drain(..length).collect();
            let request = String::from_utf8_lossy(&request).into_owned();
            let upgrades = request.to_ascii_lowercase().contains("upgrade: websocket");
            seen.lock().unwrap().push(request);
            let answer: &[u8] = if upgrades {
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n\r\nok"
            };
            if stream.write_all(answer).await.is_err() || upgrades {
                return;
            }
        }
        match stream.read_buf(&mut held).await {
            Ok(1..) => {}
            _ => return,
        }
    }
}

/// The length of the first request, once it is there whole.
fn whole(held: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(held);
    let head = text.find("\r\n\r\n")? + 4;
    let lower = text[..head].to_ascii_lowercase();
    if lower.contains("transfer-encoding: chunked") {
        let end = text[head..].find("0\r\n")? + head;
        return Some(text[end..].find("\r\n\r\n")? + end + 4);
    }
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let whole = head + length.map_or(0, |length| length.trim().parse().unwrap());
    (held.len() >= whole).then_some(whole)
}

/// The status of an answer.
pub(crate) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The first value of a header of a message.
pub(crate) fn header<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    let head = message.split("\r\n\r\n").next()?;
    head.lines().skip(1).find_map(|line| {
        let (held, value) = line.split_once(": ")?;
        held.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The problem in an answer.
pub(crate) fn problem(answer: &str) -> Value {
    assert_eq!(header(answer, "content-type"), Some("application/problem+json"), "{answer}");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}
