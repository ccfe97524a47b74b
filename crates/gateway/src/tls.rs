//! TLS towards clients: certificates chosen by the name asked for, and read again when their files
//! change, without a listener noticing. Protocols are offered by ALPN.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::config::model::{Certificate, ClientCertificates};
use crate::error::Error;

/// How a listener terminates TLS. Shared by its connections.
#[derive(Debug)]
pub(crate) struct ServerTls {
    files: Vec<Certificate>,
    client: Option<ClientCertificates>,
    keys: Arc<Keys>,
    seen: std::sync::Mutex<Vec<Option<SystemTime>>>,
    /// Replaced when the clients' authorities change.
    config: ArcSwap<ServerConfig>,
}

/// When files are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// When their times have changed since the last look.
    IfChanged,
    /// In any case: not every change leaves another time.
    Always,
}

impl ServerTls {
    /// Loads the certificates, the first being the default, and the authorities of clients.
    pub(crate) fn new(
        files: &[Certificate],
        client: Option<&ClientCertificates>,
    ) -> Result<Self, Error> {
        let keys = Arc::new(Keys { now: ArcSwap::from_pointee(ByName::load(files)?) });
        let config = ArcSwap::new(configure(&keys, client)?);
        let seen = std::sync::Mutex::new(modified(files, client));
        Ok(Self { files: files.to_vec(), client: client.cloned(), keys, seen, config })
    }

    /// What the next handshake goes by.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Loads the certificates and authorities again. Returns whether they were replaced.
    ///
    /// # Errors
    /// When the new files cannot be used; the old certificates and authorities serve on.
    pub(crate) fn refresh(&self, look: Look) -> Result<bool, Error> {
        let now = modified(&self.files, self.client.as_ref());
        if let Ok(mut seen) = self.seen.lock() {
            if look == Look::IfChanged && *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        let by_name = ByName::load(&self.files)?;
        if self.client.is_some() {
            // Another configuration also knows no sessions to resume, which the old authorities let in.
            self.config.store(configure(&self.keys, self.client.as_ref())?);
        }
        self.keys.now.store(Arc::new(by_name));
        Ok(true)
    }
}

fn configure(
    keys: &Arc<Keys>,
    client: Option<&ClientCertificates>,
) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Certificate { path: PathBuf::new(), reason: error.to_string() })?;
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(client) => builder.with_client_cert_verifier(verifier(client, provider)?),
    };
    let resolver = Arc::clone(keys) as Arc<dyn ResolvesServerCert>;
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What checks the certificates of clients.
fn verifier(
    client: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let wrong = |reason: String| Error::Certificate { path: client.ca.clone(), reason };
    let mut roots = RootCertStore::empty();
    let authorities = CertificateDer::pem_file_iter(&client.ca)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(error.to_string()))?;
    roots.add_parsable_certificates(authorities);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if client.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| wrong(error.to_string()))
}

/// When each file was last changed. A file that is gone for a moment differs from one that is not.
fn modified(files: &[Certificate], client: Option<&ClientCertificates>) -> Vec<Option<SystemTime>> {
    let time = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let files = files.iter().flat_map(|file| [time(&file.cert), time(&file.key)]);
    files.chain(client.map(|client| time(&client.ca))).collect()
}

#[derive(Debug)]
struct Keys {
    now: ArcSwap<ByName>,
}

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now.load().find(hello.server_name()))
    }
}

#[derive(Debug)]
struct ByName {
    /// Names in lower case; a wildcard as `.example.org`.
    names: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl ByName {
    fn load(files: &[Certificate]) -> Result<Self, Error> {
        let mut names = HashMap::new();
        let mut default = None;
        for file in files {
            let key = Arc::new(load(file)?);
            for name in dns_names(&key) {
                names.entry(name).or_insert_with(|| Arc::clone(&key));
            }
            default.get_or_insert(key);
        }
        let default = default.ok_or_else(|| Error::Certificate {
            path: PathBuf::new(),
            reason: "at least one certificate is needed".into(),
        })?;
        Ok(Self { names, default })
    }

    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let parent = name.find('.').map(|dot| &name[dot..]);
            self.names.get(&name).or_else(|| self.names.get(parent?))
        });
        Arc::clone(found.unwrap_or(&self.default))
    }
}

/// Loads a certificate chain and its key, and checks that they belong together.
///
/// # Errors
/// Naming the file and what is wrong with it.
pub(crate) fn load(file: &Certificate) -> Result<CertifiedKey, Error> {
    let wrong = |path: &Path, reason: String| Error::Certificate { path: path.into(), reason };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&file.cert)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&file.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(&file.cert, "no certificate in it".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&file.key)
        .map_err(|error| wrong(&file.key, error.to_string()))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|error| wrong(&file.cert, error.to_string()))
}

fn dns_names(key: &CertifiedKey) -> Vec<String> {
    let Some(leaf) = key.cert.first() else { return Vec::new() };
    let Ok(leaf) = webpki::EndEntityCert::try_from(leaf) else { return Vec::new() };
    leaf.valid_dns_names()
        .map(|name| name.strip_prefix('*').unwrap_or(name).to_ascii_lowercase())
        .collect()
}
