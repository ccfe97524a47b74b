//! One health probe over HTTP, TCP or gRPC.
//!
//! Neutral on purpose: what a result *means* (thresholds, ejection, status in a catalog) is the
//! caller's rule. A probe opens a connection of its own, because it asks whether a newcomer would
//! be served, and closes it. It starts no task that outlives it: dropping the future ends it.
//!
//! In reading order: the types here, then `http1`, `grpc`, and `tls` which both share.

mod grpc;
mod http1;
mod tls;

pub use tls::AcceptAny;

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Uri};
use tokio::net::TcpStream;

/// How much of a response body is kept as a probe's output, in bytes.
pub const MAX_OUTPUT: usize = 4096;

/// What is probed.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// An HTTP/1.1 request whose status decides.
    Http(Http),
    /// A TCP connection that must be accepted.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// The standard gRPC health service, `grpc.health.v1.Health/Check`.
    Grpc(Grpc),
}

/// An HTTP/1.1 request whose status decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Whether to speak TLS.
    pub tls: bool,
    /// The host and port to connect to, and the `Host` to send.
    pub authority: Authority,
    /// The request target: path and query.
    pub path: String,
    /// The request's method.
    pub method: Method,
    /// More request headers; a `host` here replaces the one made from `authority`.
    pub headers: HeaderMap,
    /// The request's body.
    pub body: Bytes,
    /// Accept any certificate.
    pub tls_skip_verify: bool,
    /// How many redirects in a row are followed. Where none is, a redirect is judged by its status.
    pub redirects: u8,
    /// The statuses that are healthy.
    pub healthy: RangeInclusive<u16>,
    /// The statuses that are healthy but degraded, looked at first.
    pub degraded: RangeInclusive<u16>,
}

/// A call to the standard gRPC health service.
#[derive(Clone, Debug, PartialEq)]
pub struct Grpc {
    /// `host:port`.
    pub authority: Authority,
    /// The service to ask about; empty for the server as a whole.
    pub service: String,
    /// Whether to speak TLS (otherwise h2c with prior knowledge).
    pub tls: bool,
    /// Accept any certificate.
    pub tls_skip_verify: bool,
}

/// The target answered as one that may be sent work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthy {
    /// It asks for less work (for HTTP by default: 429).
    pub degraded: bool,
    /// What it said, at most [`MAX_OUTPUT`] bytes.
    pub output: String,
}

/// The target must not be sent work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unhealthy {
    /// Why, in one line followed, for HTTP, by an excerpt of the body.
    pub reason: String,
}

impl Unhealthy {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// A URL that cannot be probed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not a URL that can be probed: {problem}")]
pub struct BadUrl {
    /// The URL as given.
    pub url: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Http {
    /// A `GET` of an `http://` or `https://` URL: 2xx is healthy and 429 is degraded.
    ///
    /// # Errors
    /// When the URL has another scheme, no host, or does not parse.
    pub fn get(url: &str) -> Result<Self, BadUrl> {
        let bad = |problem: String| BadUrl { url: url.into(), problem };
        let uri: Uri = url.parse().map_err(|error| bad(format!("{error}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(bad(format!("the scheme is {other}, not http or https"))),
            None => return Err(bad("it has no scheme".into())),
        };
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| bad("it has no host".into()))?.clone();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self {
            tls,
            authority,
            path,
            method: Method::GET,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            tls_skip_verify: false,
            redirects: 0,
            healthy: 200..=299,
            degraded: 429..=429,
        })
    }

    /// The same probe of the place that a redirect of this one leads to (RFC 9110 §10.2.2).
    fn moved(&self, location: &str) -> Result<Self, BadUrl> {
        let Self { tls, authority, path, .. } = self;
        let scheme = if *tls { "https" } else { "http" };
        let absolute = if location.contains("://") {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else {
            let path = path.split('?').next().unwrap_or_default();
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{location}")
        };
        let place = Self::get(&absolute)?;
        let Self { tls, authority, path, .. } = place;
        Ok(Self { tls, authority, path, ..self.clone() })
    }

    fn judge(&self, status: StatusCode) -> Option<bool> {
        let status = status.as_u16();
        let degraded = self.degraded.contains(&status);
        (degraded || self.healthy.contains(&status)).then_some(degraded)
    }
}

/// Probes `target` once. A target that has not answered after `timeout` is unhealthy.
///
/// Must be called within a tokio runtime with I/O and time enabled.
///
/// # Errors
/// When the target is not healthy, with the reason.
pub async fn probe(target: &Target, timeout: Duration) -> Result<Healthy, Unhealthy> {
    let work = async {
        match target {
            Target::Http(http) => http1::probe(http).await,
            Target::Tcp { address } => connect(address).await.map(|_connection| Healthy {
                degraded: false,
                output: format!("TCP connect {address}: success"),
            }),
            Target::Grpc(grpc) => grpc::probe(grpc).await,
        }
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Unhealthy::new(format!("no answer within {timeout:?}"))),
    }
}

async fn connect(address: &str) -> Result<TcpStream, Unhealthy> {
    let connected = TcpStream::connect(address).await;
    connected.map_err(|error| Unhealthy::new(format!("connect {address}: {error}")))
}

/// `host:port` of an authority, with the scheme's port when it names none.
fn socket_address(authority: &Authority, default_port: u16) -> String {
    format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(default_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_a_request_or_a_reason() {
        let http = Http::get("http://127.0.0.1:81/health?deep=1").expect("a good URL");
        assert_eq!((http.tls, http.path.as_str()), (false, "/health?deep=1"));
        assert_eq!(socket_address(&http.authority, 80), "127.0.0.1:81");
        let https = Http::get("https://[::1]").expect("a good URL");
        assert_eq!((https.tls, https.path.as_str()), (true, "/"));
        assert_eq!(socket_address(&https.authority, 443), "[::1]:443");
        for bad in ["", "/health", "ftp://a/", "http://", "http:///x", "http://a b/", "a:1"] {
            assert!(Http::get(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_redirect_leads_where_it_says() {
        let http = Http::get("http://a:1/up/now?x=1").expect("a good URL");
        for (location, leads) in [
            ("https://b/y", "true b /y"),
            ("//b/y", "false b /y"),
            ("/y?z", "false a:1 /y?z"),
            ("later/", "false a:1 /up/later/"),
        ] {
            let Http { tls, authority, path, .. } = http.moved(location).expect(location);
            assert_eq!(format!("{tls} {authority} {path}"), leads);
        }
        assert!(http.moved("ftp://b/").is_err());
    }

    #[test]
    fn statuses_are_judged_by_the_ranges_of_the_target() {
        let mut http = Http::get("http://a/").expect("a good URL");
        let judge = |http: &Http, status: u16| {
            http.judge(StatusCode::from_u16(status).expect("a status of three digits"))
        };
        assert_eq!(judge(&http, 204), Some(false));
        assert_eq!(judge(&http, 429), Some(true));
        assert_eq!(judge(&http, 302), None);
        http.healthy = 200..=399;
        assert_eq!(judge(&http, 302), Some(false));
    }

    #[tokio::test]
    async fn a_tcp_target_is_healthy_while_it_listens() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let target = Target::Tcp { address };
        assert!(probe(&target, Duration::from_secs(5)).await.is_ok());
        drop(listener);
        let unhealthy = probe(&target, Duration::from_secs(5)).await.expect_err("nobody listens");
        assert!(unhealthy.reason.contains("connect"), "{unhealthy}");
    }
}
