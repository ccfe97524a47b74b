//! AMQP 0-9-1 as bytes: frames, methods, properties, tables. No socket, no task, no rules.
//!
//! In reading order: `fault` (what may be wrong, and what AMQP calls it), `frame` (cutting what was
//! received into frames), `read` and `write` (the elementary types, §4.2.5), `table`, `method` (every
//! method of the specification and of RabbitMQ's extensions), `properties` (the content header).
//!
//! Our own and not the crate `amq-protocol`: that one copies each body, checks no frame's size
//! before it waits for all of it, calls everything malformed the same (AMQP has a reply code for
//! each kind), and brings TCP, URL and ICU crates along. Methods and tables would have to be
//! checked again anyway.
//!
//! What must hold: nothing that a client sends makes more memory be taken than a small multiple of
//! one frame; what is malformed is told from what is not allowed; a body is never copied when it
//! is read.

mod fault;
mod frame;
mod method;
mod properties;
mod read;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use fault::Fault;
pub use frame::{AROUND, Frame, Kind, PROTOCOL_HEADER, Splitter};
pub use method::{Method, methods};
pub use properties::{read_header, write_header};
pub use read::{Malformed, Reader};
pub use table::{read_bare_table, read_table, write_table};
pub use write::{Writer, write_body, write_heartbeat, write_method};
