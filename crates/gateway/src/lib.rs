//! The gateway: how calls are accepted, routed, balanced and forwarded.

pub mod http;
pub mod http1;
