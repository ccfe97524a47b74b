//! Guards at work: a whole gateway on real sockets, an instance that notes every byte it gets, and whoever
//! proves identities played by the test. What is refused must never reach the instance.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod calls;
mod certificates;
mod protocols;
mod stage;
mod told;
mod tricks;
