//! `listeners`: addresses that can be bound together, certificates that can be served.

use std::net::SocketAddr;

use posthouse_base::config::Path;

use super::{Check, value};
use crate::config::model::{ClientCertificates, Listener, ListenerKind};
use crate::config::raw;

impl Check<'_> {
    pub(super) fn listeners(&mut self, written: Vec<raw::Listener>) -> Vec<Listener> {
        let all = Path::root().key("listeners");
        let mut listeners: Vec<Listener> = Vec::with_capacity(written.len());
        for (index, raw) in written.into_iter().enumerate() {
            let path = all.index(index);
            let Some(address) = self.listening_address(&path.key("address"), &raw.address) else {
                self.listener_kind(&path, &raw);
                self.listener_tls(&path, raw.tls.as_ref());
                continue;
            };
            if let Some(first) = listeners.iter().position(|other| collide(other.address, address))
            {
                self.error(
                    &path.key("address"),
                    format!("{address} cannot be bound beside listeners[{first}]"),
                );
            }
            let kind = self.listener_kind(&path, &raw);
            let certificates = self.listener_tls(&path, raw.tls.as_ref());
            let client = self.client_certificates(&path, raw.tls.as_ref());
            listeners.push(Listener { address, certificates, client, kind });
        }
        listeners
    }

    fn listener_kind(&mut self, path: &Path, raw: &raw::Listener) -> ListenerKind {
        let Some(service) = &raw.service else { return ListenerKind::Http { names: raw.names } };
        if raw.names {
            self.error_with_help(
                &path.key("names"),
                "a listener with a `service` forwards connections, and sees no names",
                "take away `names` or `service`",
            );
        }
        ListenerKind::Tcp { service: self.named_service(&path.key("service"), service, false) }
    }

    fn listener_tls(
        &mut self,
        path: &Path,
        tls: Option<&raw::ListenerTls>,
    ) -> Vec<crate::config::model::Certificate> {
        let Some(tls) = tls else { return Vec::new() };
        let path = path.key("tls").key("certificates");
        if tls.certificates.is_empty() {
            self.error_with_help(
                &path,
                "TLS needs a certificate",
                "`certificates: [ { cert: FILE.pem, key: FILE.key } ]`",
            );
        }
        let certificates = tls.certificates.iter().enumerate();
        certificates.map(|(index, raw)| self.certificate(&path.index(index), raw)).collect()
    }

    fn client_certificates(
        &mut self,
        path: &Path,
        tls: Option<&raw::ListenerTls>,
    ) -> Option<ClientCertificates> {
        let client = tls?.client.as_ref()?;
        let ca = self.authorities(&path.key("tls").key("client").key("ca"), &client.ca);
        Some(ClientCertificates { ca, required: client.required })
    }

    fn listening_address(&mut self, path: &Path, written: &str) -> Option<SocketAddr> {
        if let Ok(address) = written.parse() {
            return Some(address);
        }
        match value::host_and_port(written) {
            Some(("localhost", port)) => return Some(SocketAddr::from(([127, 0, 0, 1], port))),
            Some((host, port)) => self.error_with_help(
                path,
                format!("a listener needs an IP address, not the name `{host}`"),
                format!("`127.0.0.1:{port}` for this machine, `0.0.0.0:{port}` for everybody"),
            ),
            None => self.error_with_help(
                path,
                format!("`{written}` is no address to listen on"),
                "write `127.0.0.1:8080`; port 0 takes a free one",
            ),
        }
        None
    }
}

/// Whether two addresses cannot both be bound: the same, or one covering the other. Port 0 takes a
/// free port each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || (covers && one.is_ipv4() == other.is_ipv4()))
}
