//! How what is said of a message is called in HTTP: spelled here, for what comes in and what goes out.

use std::sync::Arc;

use crate::message::Properties;

/// Before the name of a header of the message.
pub(crate) const HEADER: &str = "amqp-header-";
/// The priority.
pub(crate) const PRIORITY: &str = "amqp-priority";
/// `1` for a message that need not survive a restart.
pub(crate) const DELIVERY_MODE: &str = "amqp-delivery-mode";
/// The queue that a message comes from.
pub(crate) const QUEUE: &str = "amqp-queue";
/// The exchange that it was published to.
pub(crate) const EXCHANGE: &str = "amqp-exchange";
/// The routing key that it was published with.
pub(crate) const ROUTING_KEY: &str = "amqp-routing-key";
/// Whether it may have been delivered before.
pub(crate) const REDELIVERED: &str = "amqp-redelivered";
/// Which call for it this is, from 1.
pub(crate) const ATTEMPT: &str = "amqp-attempt";
/// Where a message stands in a trace (W3C Trace Context), in HTTP as in AMQP.
pub(crate) const TRACE_PARENT: &str = "traceparent";
/// What goes with it.
pub(crate) const TRACE_STATE: &str = "tracestate";
/// Before the name of an attribute, in HTTP (CloudEvents 1.0, HTTP binding §3.1.3.1),
pub(crate) const CLOUD_EVENT_HEADER: &str = "ce-";
/// and in a message, as in the AMQP binding (§3.1.3.1).
pub(crate) const CLOUD_EVENT: &str = "cloudEvents:";

/// Properties that are texts, by the names of their headers.
pub(crate) fn texts(properties: &Properties) -> [(&'static str, &Option<Arc<str>>); 6] {
    [
        ("amqp-message-id", &properties.message_id),
        ("amqp-correlation-id", &properties.correlation_id),
        ("amqp-reply-to", &properties.reply_to),
        ("amqp-expiration", &properties.expiration),
        ("amqp-type", &properties.kind),
        ("amqp-app-id", &properties.app_id),
    ]
}

/// The same, to be set.
pub(crate) fn texts_mut(properties: &mut Properties) -> [(&'static str, &mut Option<Arc<str>>); 6] {
    [
        ("amqp-message-id", &mut properties.message_id),
        ("amqp-correlation-id", &mut properties.correlation_id),
        ("amqp-reply-to", &mut properties.reply_to),
        ("amqp-expiration", &mut properties.expiration),
        ("amqp-type", &mut properties.kind),
        ("amqp-app-id", &mut properties.app_id),
    ]
}
