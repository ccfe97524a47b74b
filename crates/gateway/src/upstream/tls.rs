//! TLS towards instances: what is trusted, what is offered. Configurations are made once for all
//! threads; the system's authorities are read when the first of them is needed.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use posthouse_probe::AcceptAny;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::config::model::ServiceTls;

/// What all threads share about connections to instances.
#[derive(Debug, Default)]
pub struct UpstreamTls {
    configs: Mutex<HashMap<Key, Arc<ClientConfig>>>,
    system: OnceLock<Arc<RootCertStore>>,
    /// Calls that wait for a connection because an instance has as many as it may: while there are
    /// any, no thread keeps unused connections that another could open.
    pub(super) wanted: AtomicU32,
}

/// The protocol that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Alpn {
    Http1,
    H2,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    ca: Option<std::path::PathBuf>,
    insecure: bool,
    alpn: Alpn,
}

impl UpstreamTls {
    /// Forgets all configurations, so that certificate files are read again: for a reload. Open
    /// connections stay.
    pub fn forget(&self) {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The configuration for these settings. The first time files are read, off the engine's thread.
    pub(super) async fn config(
        self: &Arc<Self>,
        settings: &ServiceTls,
        alpn: Alpn,
    ) -> io::Result<Arc<ClientConfig>> {
        let key = Key { ca: settings.ca.clone(), insecure: settings.insecure, alpn };
        if let Some(config) = self.known(&key) {
            return Ok(config);
        }
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || this.make(key)).await.map_err(io::Error::other)?
    }

    /// The name that the certificate must carry.
    pub(super) fn server_name(
        settings: &ServiceTls,
        host: &str,
        address: SocketAddr,
    ) -> Result<ServerName<'static>, InvalidDnsNameError> {
        match settings.server_name.as_deref() {
            Some(name) => ServerName::try_from(name.to_owned()),
            None if host.is_empty() => Ok(ServerName::from(address.ip())),
            None => ServerName::try_from(host.trim_matches(['[', ']']).to_owned()),
        }
    }

    fn known(&self, key: &Key) -> Option<Arc<ClientConfig>> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn make(&self, key: Key) -> io::Result<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let mut config = if key.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny::new(provider)))
        } else {
            builder.with_root_certificates(self.roots(key.ca.as_deref())?)
        }
        .with_no_client_auth();
        config.alpn_protocols = match key.alpn {
            Alpn::Http1 => vec![b"http/1.1".to_vec()],
            Alpn::H2 => vec![b"h2".to_vec()],
        };
        let config = Arc::new(config);
        // Whoever came first: sessions to be resumed are kept in the configuration.
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(configs.entry(key).or_insert(config)))
    }

    fn roots(&self, ca: Option<&Path>) -> io::Result<Arc<RootCertStore>> {
        match ca {
            Some(path) => read_roots(path).map(Arc::new),
            None => Ok(Arc::clone(self.system.get_or_init(|| Arc::new(system_roots())))),
        }
    }
}

fn read_roots(path: &Path) -> io::Result<RootCertStore> {
    let named =
        |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| named(&error))? {
        let certificate = certificate.map_err(|error| named(&error))?;
        roots.add(certificate).map_err(|error| named(&error))?;
    }
    if roots.is_empty() { Err(named(&"there is no certificate in it")) } else { Ok(roots) }
}

/// The authorities that the system trusts. What cannot be read is left out: the handshakes that
/// needed it fail and say so.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("an authority of the system cannot be read: {error}");
    }
    let mut roots = RootCertStore::empty();
    let (_added, _left_out) = roots.add_parsable_certificates(found.certs);
    roots
}
