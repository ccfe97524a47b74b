//! AMQP 0-9-1, as RabbitMQ's clients speak it. What RabbitMQ adds to the specification is here too,
//! and what it leaves out (`immediate`, sizes of prefetch) is left out; the texts of faults are its
//! own where clients are known to look at them.
//!
//! In reading order: [`Server`] (addresses and who is let in), `handshake` (from the protocol header
//! to `open-ok`; `login` is who a client says it is), `connection` (the socket of one that is in),
//! `session` (what its frames mean, with `channel`, `content`, `request` and `answer`), `input` and
//! `output` (the bytes), [`wire`] (the codec), `tls`; with an engine `pass` (clients passed through to
//! it), `client` and `order` (the house as a client of it).
//!
//! What must hold: what is read is bounded by what the rules have taken on, and what waits to be
//! written by what the client takes; every answer is written in the order in which the rules told
//! it; nobody is told of what is not durable, because the rules tell of nothing else.

mod answer;
mod channel;
pub(crate) mod client;
mod connection;
mod content;
mod handshake;
mod input;
mod login;
mod order;
mod output;
mod pass;
mod request;
mod server;
mod session;
mod tls;
pub mod wire;

pub use server::Server;
