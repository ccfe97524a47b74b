//! API management: which APIs there are, in which versions, who may use them, and what becomes of
//! their calls.
//!
//! An API has versions, told apart by path, header, media type or host. A version has routes, written
//! down or made from its OpenAPI document or `.proto` file; it is a draft, published, deprecated or
//! retired. All of it is told by events: who changed what, when and why, shown, compared and rolled
//! back. What the file declares is changed there and nowhere else.
//!
//! In reading order: [`state`] (the rules, pure), [`contract`] with [`openapi`] and [`proto`] (the
//! descriptions), [`routes`] (what the gateway is to do), [`history`] (what differs), [`config`] (the
//! form of the file, in and out), [`plan`] (what an import would change), `stored` (how events and
//! state are written down), `service` (the rules on the journal's driver), `metrics`.
//!
//! What must hold: only the rules change the state; a description that cannot be read is refused
//! with the place named, and what is in force stays; this knows no gateway: it makes routes in the
//! form of the file, and whoever starts it has them checked.

pub mod config;
pub mod contract;
mod date;
mod error;
pub mod history;
mod metrics;
pub mod openapi;
pub mod plan;
pub mod proto;
pub mod routes;
mod service;
pub mod state;
mod stored;

pub use config::Raw;
pub use error::Error;
pub use service::{Handle, Inspection, Preview, Standing};
pub use state::{Applied, Apply, Change, Key, Lifecycle, Limits, Mark, Name, Refusal, Revision};
