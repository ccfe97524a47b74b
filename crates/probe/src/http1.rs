//! The HTTP/1.1 probe: one request on one connection, polled in the caller's own task.

use std::borrow::Cow;

use http::header::{CONNECTION, HOST, HeaderValue, LOCATION, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Healthy, Http, MAX_OUTPUT, Unhealthy, connect, socket_address, tls};

pub(crate) async fn probe(target: &Http) -> Result<Healthy, Unhealthy> {
    let mut place = Cow::Borrowed(target);
    let mut redirects = target.redirects;
    loop {
        let answer = once(&place).await?;
        match &answer.location {
            Some(location) if redirects > 0 => {
                let moved = place.moved(location);
                place = Cow::Owned(moved.map_err(|error| Unhealthy::new(error.to_string()))?);
                redirects -= 1;
            }
            _ => return answer.judged(&place),
        }
    }
}

/// What a target answered.
struct Answer {
    status: StatusCode,
    /// Where it redirects to, if it does.
    location: Option<String>,
    excerpt: String,
}

async fn once(target: &Http) -> Result<Answer, Unhealthy> {
    let default_port = if target.tls { 443 } else { 80 };
    let stream = connect(&socket_address(&target.authority, default_port)).await?;
    if target.tls {
        let skip = target.tls_skip_verify;
        exchange(target, tls::handshake(stream, &target.authority, skip, b"http/1.1").await?).await
    } else {
        exchange(target, stream).await
    }
}

async fn exchange<S>(target: &Http, stream: S) -> Result<Answer, Unhealthy>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| {
        let scheme = if target.tls { "https" } else { "http" };
        let Http { method, authority, path, .. } = target;
        Unhealthy::new(format!("{method} {scheme}://{authority}{path}: {error}"))
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answer = async {
        let response = sender.send_request(request(target)?).await.map_err(failed)?;
        Ok(answer(response).await)
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        result = &mut answer => result,
        ended = connection => {
            // The peer may close right after its response: what was read is still to be judged.
            ended.map_err(failed)?;
            answer.await
        }
    }
}

fn request(target: &Http) -> Result<Request<Full<bytes::Bytes>>, Unhealthy> {
    let mut request = Request::new(Full::new(target.body.clone()));
    let uri = target.path.parse();
    *request.uri_mut() =
        uri.map_err(|error| Unhealthy::new(format!("`{}`: {error}", target.path)))?;
    *request.method_mut() = target.method.clone();
    let host = HeaderValue::from_str(target.authority.as_str());
    let host = host.map_err(|error| Unhealthy::new(format!("{}: {error}", target.authority)))?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static("posthouse-probe"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for name in target.headers.keys() {
        headers.remove(name);
    }
    headers.extend(target.headers.clone());
    Ok(request)
}

async fn answer(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let status = head.status;
    let location = head.headers.get(LOCATION).filter(|_| is_redirect(status));
    let location = location.and_then(|location| location.to_str().ok()).map(str::to_owned);
    Answer { status, location, excerpt: excerpt(body).await }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

impl Answer {
    fn judged(self, target: &Http) -> Result<Healthy, Unhealthy> {
        let Http { method, authority, path, .. } = target;
        let said = format!("{method} {authority}{path}: {} Output: {}", self.status, self.excerpt);
        match target.judge(self.status) {
            Some(degraded) => Ok(Healthy { degraded, output: said }),
            None => Err(Unhealthy::new(said)),
        }
    }
}

/// The beginning of the body, as far as it came. A body that breaks off does not change the
/// verdict, which the status has given.
async fn excerpt(mut body: Incoming) -> String {
    let mut kept = Vec::new();
    while kept.len() < MAX_OUTPUT
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Some(data) = frame.data_ref() {
            kept.extend_from_slice(&data[..data.len().min(MAX_OUTPUT - kept.len())]);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::Target;

    /// Answers one connection with `response` and returns the request that it carried.
    async fn serve_once(response: String) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("the probe connects");
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.expect("the probe sends");
            // A probe may close before all is written; that is its right.
            let _closed = stream.write_all(response.as_bytes()).await;
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        (address, served)
    }

    async fn check(response: impl Into<String>) -> (Result<Healthy, Unhealthy>, String) {
        let (address, served) = serve_once(response.into()).await;
        let mut http = Http::get(&format!("http://{address}/up?x=1")).expect("a good URL");
        http.method = http::Method::POST;
        http.body = "ping".into();
        http.headers.insert("x-probe", HeaderValue::from_static("yes"));
        let result = crate::probe(&Target::Http(http), Duration::from_secs(5)).await;
        (result, served.await.expect("the server ends"))
    }

    #[tokio::test]
    async fn the_status_decides_and_the_request_is_as_configured() {
        let (result, request) = check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let healthy = result.expect("2xx is healthy");
        assert!(!healthy.degraded && healthy.output.ends_with("200 OK Output: ok"), "{healthy:?}");
        assert!(request.starts_with("POST /up?x=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("x-probe: yes") && request.ends_with("\r\n\r\nping"), "{request}");

        let (result, _) = check("HTTP/1.1 429 Slow\r\ncontent-length: 0\r\n\r\n").await;
        assert!(result.expect("429 is degraded").degraded);
        let (result, _) = check("HTTP/1.1 503 No\r\n\r\nuntil the connection closes").await;
        let reason = result.expect_err("503 is unhealthy").reason;
        assert!(reason.contains("503") && reason.ends_with("connection closes"), "{reason}");
        let (result, _) = check("nonsense\r\n\r\n").await;
        assert!(result.is_err());
    }

    #[tokio::test]
    async fn redirects_are_followed_as_far_as_allowed() {
        let (end, _) = serve_once("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into()).await;
        let moved = format!("HTTP/1.1 308 X\r\nlocation: http://{end}/\r\n\r\n");
        let (start, _) = serve_once(moved.clone()).await;
        let mut http = Http::get(&format!("http://{start}/")).expect("a good URL");
        http.redirects = 1;
        let followed = crate::probe(&Target::Http(http), Duration::from_secs(5)).await;
        assert!(followed.expect("healthy").output.contains(&end));
        let (result, _) = check(moved).await;
        assert!(result.expect_err("none are followed").reason.contains("308"));
    }

    #[tokio::test]
    async fn a_long_body_is_cut() {
        let body = "é".repeat(MAX_OUTPUT);
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (result, _) = check(response).await;
        let output = result.expect("healthy").output;
        assert!(output.len() < MAX_OUTPUT + 200, "{}", output.len());
    }

    #[tokio::test]
    async fn silence_is_unhealthy_after_the_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let http = Http::get(&format!("http://{address}/")).expect("a good URL");
        let result = crate::probe(&Target::Http(http), Duration::from_millis(20)).await;
        assert!(result.expect_err("silent").reason.contains("no answer within 20ms"));
    }

    #[tokio::test]
    async fn a_certificate_is_verified_unless_told_otherwise() {
        let issued = rcgen::generate_simple_self_signed(["localhost".into()]).expect("issued");
        let key = rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(std::sync::Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.expect("a PKCS #8 key"))
        .expect("a matching key");
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 1024];
                let _read = stream.read(&mut request).await;
                let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                let _closed = stream.shutdown().await;
            }
        });
        let mut http = Http::get(&format!("https://localhost:{port}/")).expect("a good URL");
        http.authority = format!("localhost:{port}").parse().expect("an authority");
        let strict = crate::probe(&Target::Http(http.clone()), Duration::from_secs(5)).await;
        assert!(strict.expect_err("self-signed").reason.contains("TLS"));
        http.tls_skip_verify = true;
        let lax = crate::probe(&Target::Http(http), Duration::from_secs(5)).await;
        assert!(lax.is_ok(), "{lax:?}");
    }
}
