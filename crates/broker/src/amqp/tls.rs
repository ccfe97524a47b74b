//! AMQP over TLS. Certificate and key are read again when their files change; connections that are
//! open keep what they began with.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;
use crate::error::Error;

/// How often files are looked at, at most.
const LOOK: Duration = Duration::from_secs(5);

/// How TLS is spoken.
#[derive(Debug)]
pub(super) struct Terminator {
    files: Tls,
    now: Mutex<Standing>,
}

#[derive(Debug)]
struct Standing {
    config: Arc<ServerConfig>,
    modified: Vec<Option<SystemTime>>,
    looked: Instant,
}

impl Terminator {
    /// Reads the files.
    ///
    /// # Errors
    /// Naming the file and what is wrong with it.
    pub(super) fn new(files: &Tls) -> Result<Self, Error> {
        let (modified, looked) = (modified(files), Instant::now());
        let standing = Standing { config: configure(files)?, modified, looked };
        Ok(Self { files: files.clone(), now: Mutex::new(standing) })
    }

    /// What accepts the next connection. Files that have changed are read; when they cannot be
    /// used, what was in force stays so.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.looked.elapsed() >= LOOK {
            now.looked = Instant::now();
            let seen = modified(&self.files);
            if seen != now.modified {
                now.modified = seen;
                match configure(&self.files) {
                    Ok(config) => {
                        tracing::info!("certificates for AMQP were read again");
                        now.config = config;
                    }
                    Err(error) => tracing::warn!("the old certificates stay in force: {error}"),
                }
            }
        }
        TlsAcceptor::from(Arc::clone(&now.config))
    }
}

fn configure(files: &Tls) -> Result<Arc<ServerConfig>, Error> {
    let wrong = |path: &Path, reason: &dyn std::fmt::Display| {
        Error::Tls(format!("{}: {reason}", path.display()))
    };
    let chain = certificates(&files.cert).map_err(|error| wrong(&files.cert, &error))?;
    if chain.is_empty() {
        return Err(wrong(&files.cert, &"no certificate in it"));
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &error))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&files.cert, &error))?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            let authorities = certificates(path).map_err(|error| wrong(path, &error))?;
            roots.add_parsable_certificates(authorities);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| wrong(path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config =
        builder.with_single_cert(chain, key).map_err(|error| wrong(&files.cert, &error))?;
    Ok(Arc::new(config))
}

fn certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect)
}

fn modified(files: &Tls) -> Vec<Option<SystemTime>> {
    let time = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let paths = [Some(&files.cert), Some(&files.key), files.clients.as_ref()];
    paths.into_iter().flatten().map(|path| time(path)).collect()
}

/// The common name in a certificate that was verified: the user that EXTERNAL lets in.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}
