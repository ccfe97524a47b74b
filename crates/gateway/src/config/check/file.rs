//! Files that the configuration names, loaded as the server would, so that a missing or wrong one
//! is found before it is needed.

use std::fs::File;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use posthouse_base::config::Path;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::Check;
use crate::config::model::Certificate;
use crate::config::raw;

/// The largest file of certificates or keys; the system's authorities fit several times.
const LARGEST: u64 = 4 << 20;

impl Check<'_> {
    /// A certificate chain and the key that belongs to it.
    pub(super) fn certificate(&mut self, path: &Path, written: &raw::Certificate) -> Certificate {
        let (cert_path, key_path) = (path.key("cert"), path.key("key"));
        let certificate = Certificate {
            cert: self.base_dir.join(&written.cert),
            key: self.base_dir.join(&written.key),
        };
        let chain = self.certificates(&cert_path, &certificate.cert);
        let key = self.private_key(&key_path, &certificate.key);
        if let (Some(chain), Some(key)) = (chain, key) {
            self.pair(&cert_path, &key_path, chain, key);
        }
        certificate
    }

    /// A file of authorities to trust.
    pub(super) fn authorities(&mut self, path: &Path, written: &str) -> PathBuf {
        let file = self.base_dir.join(written);
        if let Some(chain) = self.certificates(path, &file) {
            let mut store = RootCertStore::empty();
            let (taken, _) = store.add_parsable_certificates(chain);
            if taken == 0 {
                self.error(path, format!("{} holds no usable certificate", file.display()));
            }
        }
        file
    }

    /// The certificates of a PEM file, of which there is at least one.
    fn certificates(
        &mut self,
        path: &Path,
        file: &FilePath,
    ) -> Option<Vec<CertificateDer<'static>>> {
        let read = self.open(path, file)?;
        match CertificateDer::pem_reader_iter(read).collect::<Result<Vec<_>, _>>() {
            Ok(chain) if !chain.is_empty() => return Some(chain),
            Ok(_) => self.error_with_help(
                path,
                format!("{} holds no certificate", file.display()),
                "a PEM file with `-----BEGIN CERTIFICATE-----` is wanted",
            ),
            Err(error) => self.error(path, format!("{} is no PEM file: {error}", file.display())),
        }
        None
    }

    fn private_key(&mut self, path: &Path, file: &FilePath) -> Option<PrivateKeyDer<'static>> {
        let read = self.open(path, file)?;
        match PrivateKeyDer::from_pem_reader(read) {
            Ok(key) => return Some(key),
            Err(pem::Error::NoItemsFound) => self.error_with_help(
                path,
                format!("{} holds no private key", file.display()),
                "a PEM file with `-----BEGIN PRIVATE KEY-----` is wanted, without a password",
            ),
            Err(error) => self.error(path, format!("{} is no PEM file: {error}", file.display())),
        }
        None
    }

    fn pair(
        &mut self,
        cert_path: &Path,
        key_path: &Path,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) {
        let signing = match provider().key_provider.load_private_key(key) {
            Ok(signing) => signing,
            Err(error) => {
                return self.error(key_path, format!("the private key is of no use: {error}"));
            }
        };
        match CertifiedKey::new(chain, signing).keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                self.error(key_path, "the private key does not belong to the certificate");
            }
            Err(error) => self.error(cert_path, format!("the certificate is of no use: {error}")),
        }
    }

    fn open(&mut self, path: &Path, file: &FilePath) -> Option<io::Take<File>> {
        match open_regular(file) {
            Ok(read) => Some(io::Read::take(read, LARGEST)),
            Err(error) => {
                self.error(path, format!("cannot read {}: {error}", file.display()));
                None
            }
        }
    }
}

/// Opens a file, never a directory or a pipe that would be waited for.
fn open_regular(file: &FilePath) -> io::Result<File> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    File::open(file)
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}
