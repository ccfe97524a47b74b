//! The data folder: locked while in use, and the place where the addresses are told.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;

/// The addresses really listened on, as `DATA/addresses.json` tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Addresses {
    /// In the order of the configuration.
    pub(crate) listeners: Vec<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dns: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) messages: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) messages_tls: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) messages_http: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) messages_management: Option<SocketAddr>,
}

/// A data folder that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// The system unlocks it when the process ends, however it ends.
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if it is missing, and locks it.
    ///
    /// # Errors
    /// When it cannot be made or written, or another process has it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::create_dir_all(path)
            .with_context(|| format!("the data folder {shown} cannot be made"))?;
        let file = path.join("lock");
        let lock = File::options().create(true).append(true).open(&file);
        let lock = lock.with_context(|| format!("{} cannot be written", file.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "the data folder {shown} is used by another Posthouse: stop it, or set `data` to \
                 another folder"
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", file.display()));
            }
        }
        let folder = Self { path: path.to_owned(), _lock: lock };
        // Left behind by one that was killed; nobody is to believe it.
        folder.remove_addresses();
        Ok(folder)
    }

    /// Tells the addresses, in one step: a reader sees all of the old or all of the new.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_addresses(&self, addresses: &Addresses) -> anyhow::Result<()> {
        let (file, new) = (self.addresses(), self.path.join("addresses.json.new"));
        let text = serde_json::to_string_pretty(addresses)?;
        let written = fs::write(&new, text + "\n").and_then(|()| fs::rename(&new, &file));
        written.with_context(|| format!("{} cannot be written", file.display()))
    }

    fn addresses(&self) -> PathBuf {
        self.path.join("addresses.json")
    }

    /// Takes the addresses back, if they were told.
    pub(crate) fn remove_addresses(&self) {
        match fs::remove_file(self.addresses()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{} cannot be removed: {error}", self.addresses().display());
            }
            _ => {}
        }
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        self.remove_addresses();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_and_its_addresses_go_with_it() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("new/data");
        let folder = DataFolder::open(&path).expect("a new folder");
        let refused = DataFolder::open(&path).expect_err("it is in use").to_string();
        assert!(refused.contains("is used by another Posthouse"), "{refused}");
        let listeners = vec![SocketAddr::from(([127, 0, 0, 1], 1234))];
        let addresses = Addresses { listeners, ..Addresses::default() };
        folder.write_addresses(&addresses).expect("a file");
        let text = fs::read_to_string(path.join("addresses.json")).expect("a file");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json, serde_json::json!({ "listeners": ["127.0.0.1:1234"] }));
        drop(folder);
        assert!(!path.join("addresses.json").exists());
        DataFolder::open(&path).expect("it is free again");
    }
}
