//! What the end-to-end and interoperability tests stand on. They start the shipped binary and
//! real clients; everything listens on free loopback ports, lives in temporary folders, is waited
//! for by condition and killed on drop. A failing test shows the programs' logs.
//!
//! In reading order: [`house`] (Posthouse itself), [`backend`] (scripted services in this
//! process), [`client`] (whole HTTP calls), [`raw`] (bytes on a socket), [`program`] (any other
//! program), [`rabbitmq`], [`python`] (programs in Python), [`shop`] (the sample services), [`disk`] (a disk that
//! loses its power, or fails), [`ledger`] and [`scribe`] (writers of a journal that are killed, and
//! what must be found of theirs), [`traffic`] and [`tally`] (the same for messages: who sends and takes
//! them, and what must hold of that), [`wait`] (conditions with a deadline).
//!
//! Everything here panics when something is wrong: it is the test that fails.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub mod backend;
pub mod client;
pub mod disk;
pub mod house;
pub mod ledger;
pub mod program;
pub mod python;
pub mod rabbitmq;
pub mod raw;
pub mod scribe;
pub mod shop;
pub mod tally;
pub mod traffic;
pub mod wait;

pub use house::House;
pub use wait::eventually;

/// The root of the source tree.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the tests live one folder below the root").to_owned()
}

/// The folder that cargo builds into, found from where this test runs (`TARGET/debug/deps/…`).
#[must_use]
pub fn target() -> PathBuf {
    let this = std::env::current_exe().expect("a test knows where it is");
    this.ancestors().nth(3).expect("a test runs from TARGET/PROFILE/deps").to_owned()
}

/// A folder that `cargo xtask setup` fills: the one that `variable` names, or the newest that is
/// ready below `TARGET/KIND`.
#[must_use]
pub fn environment(variable: &str, kind: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let folder = target().join(kind);
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    let found = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("ready").exists())
        .max_by_key(|path| path.metadata().and_then(|about| about.modified()).ok());
    found.unwrap_or_else(|| panic!("{} is not set up: run `cargo xtask setup`", folder.display()))
}

/// A free loopback port for programs that cannot take port 0. It lies below the range that the
/// system hands out by itself, in a block of this process's own, so that neither a connection nor
/// a test that runs at the same time takes it before the program does.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let block = std::process::id().wrapping_mul(PORTS_A_PROCESS);
    for _ in 0..PORTS.len() {
        let place = block.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(place % u32::from(PORTS.end - PORTS.start)).expect("it fits");
        let port = PORTS.start + port;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// Where [`free_port`] looks.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How far apart the blocks of two processes are.
const PORTS_A_PROCESS: u32 = 16;
