//! The key type that all proxies of a comparison serve: ECDSA P-256, since the type of key decides
//! what a handshake costs.

use std::path::PathBuf;

use anyhow::Context;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder that gets `cert.pem`, `key.pem` and `both.pem` (HAProxy wants one file).
    folder: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let both = format!("{certificate}{key}");
    for (name, content) in [("cert.pem", &certificate), ("key.pem", &key), ("both.pem", &both)] {
        let path = options.folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
