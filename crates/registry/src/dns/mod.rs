//! Names over DNS, as Consul's clients and plain resolvers ask for them.
//!
//! In reading order: `name` (what a name asks for), `zone` (the records that answer it), `message`
//! (bytes to bytes: what is malformed, what fits), `serve` (sockets and their limits), `metrics`.
//! The first three are pure: state, bytes and chance come in, an answer goes out.
//!
//! The message format is hickory-proto's. Its server is not used, because it accepts any number of
//! connections and logs a line for each query.

mod message;
mod metrics;
mod name;
mod serve;
mod zone;

pub use message::{MAX_UDP, Transport};
pub(crate) use metrics::Metrics;
pub(crate) use serve::Sockets;
pub use zone::Zone;
