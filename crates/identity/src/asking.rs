//! Asking others over HTTP: issuers for keys, and whoever may decide about a call.
//!
//! What must hold: nothing secret travels in the clear unless asked for or within the machine; no
//! redirection is followed; an answer has a size and a time; connections belong to the runtime of
//! whoever asks, which is never one that carries calls.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::OnceCell;

/// How long a connection may rest.
const RESTING: Duration = Duration::from_secs(30);

/// Connections that rest, to one place.
const RESTING_MOST: usize = 32;

type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Asks one other party.
pub(crate) struct Asker {
    /// Made when it is first needed: reading the system's roots takes a while.
    pool: OnceCell<Pool>,
    ca: Option<PathBuf>,
    timeout: Duration,
    limit: usize,
}

/// Why there is no answer. Says nothing of what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Unreachable(String),
    #[error("no answer in time")]
    Late,
    #[error("the answer is longer than {0} bytes, or was cut off")]
    TooLong(usize),
    #[error("it answered {0}")]
    Status(u16),
    #[error("{0}")]
    Content(String),
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Asker {
    /// Trusts the system's authorities, or only those in the file `ca`. An answer takes at most
    /// `timeout` as a whole, and has at most `limit` bytes.
    pub(crate) fn new(ca: Option<&Path>, timeout: Duration, limit: usize) -> Self {
        let ca = ca.map(Path::to_owned);
        Self { pool: OnceCell::new(), ca, timeout, limit }
    }

    /// Asks, and reads the whole answer, whatever its status.
    pub(crate) async fn ask(&self, request: Request<Full<Bytes>>) -> Result<(Parts, Bytes), Fault> {
        let asked = async {
            let pool = self.pool.get_or_try_init(|| self.connect()).await?;
            let answer = pool.request(request).await.map_err(|error| unreachable(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, self.limit).collect().await;
            let body = body.map_err(|_| Fault::TooLong(self.limit))?.to_bytes();
            Ok((head, body))
        };
        tokio::time::timeout(self.timeout, asked).await.map_err(|_late| Fault::Late)?
    }

    /// Reads a document: only 200 has one.
    pub(crate) async fn read(&self, uri: &Uri) -> Result<Bytes, Fault> {
        let request = Request::get(uri).header(http::header::ACCEPT, "application/json");
        let request = request.body(Full::default());
        let request = request.map_err(|error| Fault::Content(error.to_string()))?;
        match self.ask(request).await? {
            (head, body) if head.status == http::StatusCode::OK => Ok(body),
            (head, _) => Err(Fault::Status(head.status.as_u16())),
        }
    }

    async fn connect(&self) -> Result<Pool, Fault> {
        let roots = match self.ca.clone() {
            Some(file) => roots_of(file).await?,
            None => system_roots().await,
        };
        let failed = |error: rustls::Error| Fault::Unreachable(error.to_string());
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.timeout));
        // Whether a place may be asked in the clear is decided before.
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(RESTING)
            .pool_max_idle_per_host(RESTING_MOST)
            .build(connector.wrap_connector(tcp)))
    }
}

/// What is wrong with asking at `uri`: only `https`, or `http` within the machine or where `plain`
/// allows it.
pub(crate) fn objection(uri: &Uri, plain: bool) -> Option<&'static str> {
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Some("is not a whole URL");
    };
    if authority.as_str().contains('@') {
        return Some("has a user in it");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let within = host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match scheme {
        "https" => None,
        "http" if plain || within => None,
        "http" => Some("is not encrypted"),
        _ => Some("is neither `https` nor `http`"),
    }
}

async fn roots_of(file: PathBuf) -> Result<Arc<RootCertStore>, Fault> {
    let failed = format!("{} has no certificates that can be read", file.display());
    let read = tokio::task::spawn_blocking(move || {
        let mut roots = RootCertStore::empty();
        let found = CertificateDer::pem_file_iter(file).ok()?;
        roots.add_parsable_certificates(found.filter_map(Result::ok));
        (!roots.is_empty()).then(|| Arc::new(roots))
    });
    read.await.ok().flatten().ok_or(Fault::Unreachable(failed))
}

async fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceCell<Arc<RootCertStore>> = OnceCell::const_new();
    let load = || async {
        let found = tokio::task::spawn_blocking(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        });
        Arc::new(found.await.unwrap_or_else(|_cancelled| RootCertStore::empty()))
    };
    Arc::clone(ROOTS.get_or_init(load).await)
}

/// What went wrong at the bottom: the layers above only say that something did.
fn unreachable(error: &hyper_util::client::legacy::Error) -> Fault {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Fault::Unreachable(cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::objection;

    #[test]
    fn only_what_is_encrypted_or_near_is_asked() {
        let refused = |uri: &str, plain| objection(&uri.parse().expect("a URI"), plain).is_some();
        for uri in
            ["https://idp/jwks", "http://127.0.0.1:1/x", "http://[::1]/", "http://localhost:80/"]
        {
            assert!(!refused(uri, false), "{uri}");
        }
        for uri in
            ["http://idp/", "http://localhost.evil/", "http://127.0.0.1.evil/", "http://10.0.0.1/"]
        {
            assert!(refused(uri, false), "{uri}");
            assert!(!refused(uri, true), "{uri}");
        }
        for uri in ["/jwks", "ftp://idp/", "https://me:secret@idp/", "http://127.0.0.1@evil/"] {
            assert!(refused(uri, true), "{uri}");
        }
    }
}
