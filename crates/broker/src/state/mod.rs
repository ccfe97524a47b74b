//! The rules, pure: *(state, command, now) → (events, effects)*. No clock, chance, socket or file.
//!
//! In reading order: `command` (what may be asked), `effect` (what clients are told), `refusal`
//! (what went wrong, in AMQP's codes).

mod command;
mod effect;
mod refusal;

pub use command::{
    Act, Ask, BindExchange, BindQueue, Command, Consume, DeclareExchange, DeclareQueue,
    DeleteExchange, DeleteQueue, Get, Kind, Loaded, Open, Permissions, Publish, Qos, User,
};
pub use effect::{Answer, Delivered, Effect, Note, Output};
pub use refusal::{Code, Method, Refusal, Scope};
