//! Certificates that clients show: asked for, verified against the listener's authorities, handed to
//! whoever proves identities, and read again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::stage::{Stage, exchange, header, status};

/// An authority and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
struct Signed {
    cert: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, name: &str) -> Signed {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Signed { cert: cert.der().clone(), pem: cert.pem(), key }
    }

    fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("ca.pem");
        std::fs::write(&file, self.0.pem()).unwrap();
        file
    }
}

/// The sections of a gateway that asks for certificates of this authority.
fn sections(folder: &Path, server: &Signed, ca: &Path, required: bool) -> Value {
    let (cert, key) = (folder.join("server.pem"), folder.join("server.key"));
    std::fs::write(&cert, &server.pem).unwrap();
    std::fs::write(&key, server.key.serialize_pem()).unwrap();
    json!({
        "listeners": [{ "address": "127.0.0.1:0", "tls": {
            "certificates": [{ "cert": cert, "key": key }],
            "client": { "ca": ca, "required": required },
        } }],
        "routes": [{ "service": "a", "guard": {
            "identity": ["mtls"], "forward": { "headers": { "x-user": "subject" } },
            "headers": { "hsts": "1h" },
        } }],
    })
}

/// The answer to a call over TLS with this certificate; nothing when there is no connection.
async fn call(stage: &Stage, trusted: &Authority, shown: Option<&Signed>) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(signed) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signed.key.serialize_der()));
            builder.with_client_auth_cert(vec![signed.cert.clone()], key).unwrap()
        }
    };
    let stream = TcpStream::connect(stage.address).await.unwrap();
    let name = ServerName::try_from("gateway.example").unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let Ok(stream) = connected else { return String::new() };
    exchange(stream, "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-user: root\r\n\r\n")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_known_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (servers, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let server = servers.sign("gateway.example");
    let ca = clients.write(folder.path());
    let stage = Stage::new(sections(folder.path(), &server, &ca, false)).await;
    let client = clients.sign("client.example");
    let answer = call(&stage, &servers, Some(&client)).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(header(&answer, "strict-transport-security"), Some("max-age=3600"));
    let expected = format!("certificate of {} bytes", client.cert.len());
    assert_eq!(header(&stage.seen().remove(0), "x-user"), Some(&*expected));
    assert_eq!(status(&call(&stage, &servers, None).await), 401, "the route decides");
    let stranger = others.sign("client.example");
    assert_eq!(call(&stage, &servers, Some(&stranger)).await, "", "no handshake");
    assert!(stage.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_may_be_required_and_authorities_change() {
    let folder = tempfile::tempdir().unwrap();
    let (servers, clients, next) = (Authority::new(), Authority::new(), Authority::new());
    let server = servers.sign("gateway.example");
    let ca = clients.write(folder.path());
    let stage = Stage::new(sections(folder.path(), &server, &ca, true)).await;
    let (before, after) = (clients.sign("client.example"), next.sign("client.example"));
    assert_eq!(call(&stage, &servers, None).await, "", "no handshake without one");
    assert_eq!(status(&call(&stage, &servers, Some(&before)).await), 200);
    assert_eq!(call(&stage, &servers, Some(&after)).await, "");
    next.write(folder.path());
    stage.reload(&sections(folder.path(), &server, &ca, true));
    // Port 0 took the listener over as it was, so only the authorities are others.
    assert_eq!(status(&call(&stage, &servers, Some(&after)).await), 200);
    assert_eq!(call(&stage, &servers, Some(&before)).await, "");
}
