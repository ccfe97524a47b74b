//! What the tests of the binary share: how it is started, waited for and ended.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command that runs the binary in a folder.
pub(crate) fn posthouse(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthouse"));
    command.current_dir(folder).env("NO_COLOR", "1").stdin(Stdio::null());
    for variable in ["RUST_LOG", "POSTHOUSE_CONFIG", "POSTHOUSE_ADMIN", "POSTHOUSE_ADMIN_TOKEN"] {
        command.env_remove(variable);
    }
    command
}

/// A temporary folder with one file.
pub(crate) fn folder_with(name: &str, text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(name), text).expect("a file");
    folder
}

/// A running house that is killed when dropped.
pub(crate) struct House(Child);

impl House {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> (Self, Value) {
        let mut command = posthouse(folder);
        command.arg("up").args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut house = Self(command.spawn().expect("posthouse starts"));
        let file = folder.join("data/addresses.json");
        let addresses = wait_for("the addresses", || {
            assert!(house.0.try_wait().expect("a child").is_none(), "{}", house.errors());
            serde_json::from_slice(&std::fs::read(&file).ok()?).ok()
        });
        (house, addresses)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.0.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("a signal");
    }

    pub(crate) fn ends_with(&mut self) -> Option<i32> {
        wait_for("the end", || self.0.try_wait().expect("a child")).code()
    }

    /// What it has said; call it when it has ended.
    pub(crate) fn errors(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut errors) = self.0.stderr.take() {
            errors.read_to_string(&mut text).expect("text");
        }
        text
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Looks until there is something to see.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
