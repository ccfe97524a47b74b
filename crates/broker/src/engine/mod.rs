//! A RabbitMQ in the place of the embedded broker. Clients are passed through to it on the addresses
//! that they have (`amqp::pass`); what the house itself publishes and takes, it does as a client of it
//! (`amqp::client`).
//!
//! In reading order: [`address`] (where it is, and who logs in), this file (the way to it), `standing`
//! (how it is).
//!
//! What must hold: its password is shown nowhere; its name is looked up anew for every connection, so
//! that it may move; that it is away is said once, with what to do.

mod address;
mod standing;

use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use posthouse_base::config::{Path, Report};
use prometheus_client::registry::Registry;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub use address::EngineAddress;
pub use standing::EngineView;

use crate::config::Raw;
use crate::error::Error;
use standing::Standing;

/// The engine that is none: the broker in the house.
pub(crate) const EMBEDDED: &str = "embedded";
/// How long connecting may take, TLS included.
const PATIENCE: Duration = Duration::from_secs(10);

/// The engine, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    pub(crate) address: EngineAddress,
    /// The authorities of its certificate; those of the system if left out.
    pub(crate) ca: Option<PathBuf>,
}

/// What an engine is spoken with over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The way to an engine.
#[derive(Debug)]
pub(crate) struct Engine {
    address: EngineAddress,
    tls: Option<Arc<ClientConfig>>,
    standing: Standing,
    /// Whether it is the configured one, so that how it is matters to all.
    is_ours: bool,
}

impl EngineConfig {
    /// The engine that is named, if one is and rightly.
    pub(crate) fn check(raw: &Raw, path: &Path, report: &mut Report) -> Option<Self> {
        let written = raw.engine.as_str();
        if written == EMBEDDED {
            if raw.engine_ca.is_some() {
                let message = "authorities of an engine, and no engine";
                let help = "name the `engine` whose certificate they are to check";
                report.warning(&path.key("engine_ca"), message).help(help);
            }
            return None;
        }
        let here = path.key("engine");
        let parsed = match EngineAddress::parse(written) {
            Ok(address) => Some(address),
            // A word that is nearly right; an address may hold a password, and is not repeated.
            Err(_) if !written.contains([':', '@', '/']) => {
                let message = format!("there is no engine `{written}`");
                report.error(&here, message).suggest(written, [EMBEDDED]);
                None
            }
            Err(message) => {
                let help = "`embedded` is the broker in the house; special characters of a \
                            password are written like `%40`";
                report.error(&here, message).help(help);
                None
            }
        };
        if raw.management.is_some() {
            report
                .error(&path.key("management"), "with an engine there is no management API here")
                .help("ask the engine's own, which shows what there is");
        }
        if !raw.users.is_empty() && raw.http.is_none() {
            let message = "with an engine these users only publish over HTTP, which is off";
            let help = "clients of AMQP log in to the engine, which has users of its own";
            report.warning(&path.key("users"), message).help(help);
        }
        let address = parsed?;
        if raw.engine_ca.is_some() && !address.tls {
            let message = "authorities for an engine that is spoken to in the clear";
            report.warning(&path.key("engine_ca"), message).help("write `amqps://…`");
        }
        Some(Self { address, ca: raw.engine_ca.clone() })
    }

    /// The same, with paths that are not absolute starting at `base`.
    pub(crate) fn relative_to(&mut self, base: &FilePath) {
        self.ca = self.ca.as_ref().map(|ca| base.join(ca));
    }

    /// One that is named while the house runs, and trusts whom the system trusts.
    #[must_use]
    pub const fn at(address: EngineAddress) -> Self {
        Self { address, ca: None }
    }
}

impl Engine {
    /// The way there; nothing is asked of it yet.
    ///
    /// # Errors
    /// When the authorities of its certificate cannot be read.
    pub(crate) fn new(config: &EngineConfig) -> Result<Self, Error> {
        let EngineConfig { address, ca } = config;
        let tls = address.tls.then(|| configure(ca.as_deref())).transpose()?;
        let standing = Standing::new(address.to_string());
        Ok(Self { address: address.clone(), tls, standing, is_ours: true })
    }

    /// The way to one that is not the configured one.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub(crate) fn elsewhere(config: &EngineConfig) -> Result<Self, Error> {
        Ok(Self { is_ours: false, ..Self::new(config)? })
    }

    pub(crate) const fn address(&self) -> &EngineAddress {
        &self.address
    }

    pub(crate) fn view(&self) -> EngineView {
        self.standing.view()
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        self.standing.register(registry);
    }

    /// What a virtual host is called there: `meant`, the one that is meant where none is named, is the
    /// one of the address.
    pub(crate) fn vhost<'a>(&'a self, vhost: &'a str, meant: &str) -> &'a str {
        match &self.address.vhost {
            Some(there) if vhost == meant => there,
            _ => vhost,
        }
    }

    /// Notes whether it lets us in.
    pub(crate) fn note(&self, outcome: Result<(), &str>) {
        match outcome {
            _ if !self.is_ours => {}
            Ok(()) => self.standing.answered(),
            Err(why) => self.standing.failed(why),
        }
    }

    /// Connects for a client of AMQP, which says the rest itself.
    pub(crate) async fn reach(&self) -> Option<Box<dyn Stream>> {
        let reached = self.dial().await;
        self.standing.passed(reached.is_ok());
        reached.inspect_err(|why| self.standing.failed(why)).ok()
    }

    /// Connects.
    ///
    /// # Errors
    /// With why not, and what to look at.
    pub(crate) async fn dial(&self) -> Result<Box<dyn Stream>, String> {
        let (address, patience) = (&self.address, PATIENCE.as_secs());
        match timeout(PATIENCE, self.connect()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!(
                "at {address} is not reached ({error}): is RabbitMQ running there, and \
                 `messages.engine` right?"
            )),
            Err(_elapsed) => Err(format!(
                "at {address} is not reached within {patience} s: is a firewall in between?"
            )),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let EngineAddress { host, port, .. } = &self.address;
        let stream = TcpStream::connect((&**host, *port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(tls));
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

fn configure(ca: Option<&FilePath>) -> Result<Arc<ClientConfig>, Error> {
    let roots = match ca {
        Some(path) => read_roots(path)?,
        None => {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!("an authority of the system cannot be read: {error}");
            }
            let (_added, _left_out) = roots.add_parsable_certificates(found.certs);
            roots
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read_roots(path: &FilePath) -> Result<RootCertStore, Error> {
    let named = |error: &dyn std::fmt::Display| Error::Tls(format!("{}: {error}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| named(&error))? {
        let certificate = certificate.map_err(|error| named(&error))?;
        roots.add(certificate).map_err(|error| named(&error))?;
    }
    if roots.is_empty() { Err(named(&"there is no certificate in it")) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RawHttp, RawManagement, RawUser};

    /// What is found wrong: whether it is an error, where, and what.
    fn found(raw: &Raw) -> Vec<(String, String)> {
        let mut report = Report::new();
        let _checked = EngineConfig::check(raw, &Path::root(), &mut report);
        let findings = report.findings().iter();
        findings.map(|finding| (finding.path.to_string(), finding.message.clone())).collect()
    }

    #[test]
    fn what_does_not_go_with_an_engine_is_told() {
        let raw = |engine: &str| Raw { engine: engine.into(), ..Raw::default() };
        assert_eq!(found(&raw(EMBEDDED)), []);
        assert_eq!(found(&raw("amqp://mq")), []);
        let paths = |raw: &Raw| found(raw).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(found(&raw("embeded"))[0].1, "there is no engine `embeded`");
        assert_eq!(paths(&raw("amqp://a:horse@:1")), ["engine"]);
        let managed = Raw { management: Some(RawManagement::default()), ..raw("amqp://mq") };
        assert_eq!(paths(&managed), ["management"]);
        let ca = Some("ca.pem".into());
        assert_eq!(paths(&Raw { engine_ca: ca.clone(), ..raw(EMBEDDED) }), ["engine_ca"]);
        assert_eq!(paths(&Raw { engine_ca: ca.clone(), ..raw("amqp://mq") }), ["engine_ca"]);
        assert_eq!(found(&Raw { engine_ca: ca, ..raw("amqps://mq") }), []);
        let user: RawUser = serde_json::from_str(r#"{"name":"a","password":"b"}"#).expect("a user");
        let users = Raw { users: vec![user], ..raw("amqp://mq") };
        assert_eq!(paths(&users), ["users"]);
        assert_eq!(found(&Raw { http: Some(RawHttp::default()), ..users }), []);
    }

    #[test]
    fn the_virtual_host_that_is_meant_is_the_one_of_the_address() {
        let engine = |address: &str| {
            let address = EngineAddress::parse(address).expect("an address");
            Engine::new(&EngineConfig::at(address)).expect("a way there")
        };
        let named = engine("amqp://mq/shop");
        assert_eq!((named.vhost("/", "/"), named.vhost("other", "/")), ("shop", "other"));
        assert_eq!(engine("amqp://mq").vhost("/", "/"), "/");
    }
}
