//! What the end-to-end and interoperability tests stand on. They start the shipped binary and
//! real clients; everything listens on free loopback ports, lives in temporary folders, is waited
//! for by condition and killed on drop. A failing test shows the programs' logs.
//!
//! In reading order: [`house`] (Posthouse itself), [`backend`] (scripted services in this
//! process), [`client`] (whole HTTP calls), [`raw`] (bytes on a socket), [`program`] (any other
//! program), [`python`] (programs in Python), [`wait`] (conditions with a deadline).
//!
//! Everything here panics when something is wrong: it is the test that fails.

use std::path::{Path, PathBuf};

pub mod backend;
pub mod client;
pub mod house;
pub mod program;
pub mod python;
pub mod raw;
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

/// A loopback port that was free a moment ago, for programs that cannot take port 0.
#[must_use]
pub fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("it is bound").port()
}
