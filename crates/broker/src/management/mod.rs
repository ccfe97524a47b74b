//! RabbitMQ's own JSON: how it writes arguments, headers and properties, and what it exports of what
//! there is; and its HTTP API, as far as tools read it. What its clients and tools write is read within the bounds that AMQP has too.

mod api;
mod definitions;
mod json;

pub use api::Server;
pub use definitions::{Definitions, Imported, Mistake};
pub(crate) use json::fits;
pub use json::{
    Unfit, body, payload, properties, properties_from, short, table, table_from, value,
};
