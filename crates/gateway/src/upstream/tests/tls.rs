//! TLS towards instances.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::config::model::ServiceTls;
use crate::upstream::ConnectErrorKind;

/// A certificate for these names, as a server uses it and as a file to be trusted.
struct Identity {
    acceptor: TlsAcceptor,
    ca: tempfile::NamedTempFile,
}

fn identity(names: &[&str], alpn: &[&[u8]]) -> Identity {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), cert.pem()).unwrap();
    Identity { acceptor: TlsAcceptor::from(Arc::new(config)), ca }
}

impl Identity {
    fn trusted(&self) -> ServiceTls {
        ServiceTls { ca: Some(self.ca.path().to_owned()), ..ServiceTls::default() }
    }

    async fn accept(&self, stage: &Stage) -> std::io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stage.accept().await.0).await
    }
}

async fn stage(protocol: Protocol, tls: Option<ServiceTls>) -> Stage {
    Stage::with(model::Service { tls, ..settings(protocol) }).await
}

/// Whether a connection comes about, and if not, why.
async fn connected(
    protocol: Protocol,
    tls: Option<ServiceTls>,
    identity: &Identity,
) -> Result<(), ConnectErrorKind> {
    let stage = stage(protocol, tls).await;
    let ask = Ask::get("/");
    let (lease, _server) = tokio::join!(stage.lease(&ask), identity.accept(&stage));
    lease.map(drop).map_err(|error| error.kind)
}

#[test]
fn a_call_over_tls() {
    run(async {
        let identity = identity(&["localhost"], &[b"http/1.1"]);
        let stage = stage(Protocol::Https, Some(identity.trusted())).await;
        let server = async {
            let mut stream = identity.accept(&stage).await.unwrap();
            assert_eq!(stream.get_ref().1.server_name(), Some("localhost"));
            for _ in 0..2 {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(OK.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
            stream
        };
        let client = async {
            for reused in [false, true] {
                let lease = stage.lease(&Ask::get("/")).await.unwrap();
                assert_eq!(lease.is_reused(), reused);
                let mut exchange = lease.send(&Ask::get("/").call());
                assert_eq!(answer(&mut exchange, Empty).await.unwrap().text(), "ok");
            }
        };
        tokio::join!(client, server);
    });
}

#[test]
fn large_bodies_over_tls() {
    const LEN: usize = 3 << 20;
    run(async {
        let identity = identity(&["localhost"], &[b"http/1.1"]);
        let stage = stage(Protocol::Https, Some(identity.trusted())).await;
        let server = async {
            let mut stream = identity.accept(&stage).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let mut body = vec![1; LEN];
            stream.read_exact(&mut body).await.unwrap();
            assert!(body.iter().all(|byte| *byte == 0));
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let client = async {
            let mut exchange = stage.send(&Ask::post(BodyKind::Length(LEN as u64))).await;
            answer(&mut exchange, Zeros(LEN)).await.unwrap()
        };
        let (answer, _stream) = tokio::join!(client, server);
        assert_eq!(answer.text(), "ok");
    });
}

#[test]
fn certificates_are_checked() {
    run(async {
        let good = identity(&["localhost"], &[]);
        let named = identity(&["other.example"], &[]);
        let trusted = |identity: &Identity| Some(identity.trusted());
        let https = Protocol::Https;
        assert_eq!(connected(https, trusted(&good), &good).await, Ok(()));
        assert_eq!(connected(https, trusted(&named), &good).await, Err(ConnectErrorKind::Tls));
        assert_eq!(connected(https, trusted(&named), &named).await, Err(ConnectErrorKind::Tls));
        assert_eq!(connected(https, None, &good).await, Err(ConnectErrorKind::Tls));

        let mut by_name = named.trusted();
        by_name.server_name = Some("other.example".to_owned());
        assert_eq!(connected(https, Some(by_name), &named).await, Ok(()));
        let anyone = ServiceTls { insecure: true, ..ServiceTls::default() };
        assert_eq!(connected(https, Some(anyone), &named).await, Ok(()));
    });
}

#[test]
fn an_authority_that_cannot_be_read_is_named() {
    run(async {
        let tls = ServiceTls { ca: Some("/nowhere/ca.pem".into()), ..ServiceTls::default() };
        let stage = stage(Protocol::Https, Some(tls)).await;
        let error = stage.lease(&Ask::get("/")).await.unwrap_err();
        assert_eq!(error.kind, ConnectErrorKind::Tls);
        assert!(error.detail.contains("/nowhere/ca.pem"), "{error}");
    });
}

#[test]
fn http_2_is_agreed_on() {
    run(async {
        let none = identity(&["localhost"], &[]);
        let outcome = connected(Protocol::H2, Some(none.trusted()), &none).await;
        assert_eq!(outcome, Err(ConnectErrorKind::Tls));

        let identity = identity(&["localhost"], &[b"h2"]);
        let stage = stage(Protocol::Grpc, Some(identity.trusted())).await;
        let ask = Ask::get("/");
        let (lease, server) = tokio::join!(stage.lease(&ask), async {
            let stream = identity.accept(&stage).await.unwrap();
            h2::server::handshake(stream).await.unwrap()
        });
        assert!(lease.is_ok());
        drop(server);
    });
}

#[test]
fn other_settings_mean_other_connections() {
    run(async {
        let identity = identity(&["localhost"], &[b"http/1.1"]);
        let mut stage = stage(Protocol::Https, Some(identity.trusted())).await;
        let server = async {
            let mut stream = identity.accept(&stage).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let client = async {
            let mut exchange = stage.send(&Ask::get("/")).await;
            answer(&mut exchange, Empty).await.unwrap();
        };
        let ((), _stream) = tokio::join!(client, server);
        stage.settings.tls = Some(ServiceTls { insecure: true, ..ServiceTls::default() });
        let ask = Ask::get("/");
        let (lease, _server) = tokio::join!(stage.lease(&ask), identity.accept(&stage));
        assert!(!lease.unwrap().is_reused(), "what was not verified is not trusted later");
    });
}
