//! What the broker reports, as typed events, and figures of each queue whenever they are collected.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::service::Shared;
use crate::state::{Event, How, Outcome, Output, QueueFigures};

/// Queues that are told apart; of more, only the first by name.
const QUEUES: usize = 2000;

/// A figure of a queue.
type Figure = fn(&QueueFigures) -> u64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySubscription {
    subscription: String,
    outcome: &'static str,
}

/// What came of a call for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The service has taken it.
    Taken,
    /// It has not; it may be called again.
    Failed,
    /// The message was given up.
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQueue {
    vhost: String,
    queue: String,
}

/// The broker's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    published: Family<ByOutcome, Counter>,
    delivered: Counter,
    redelivered: Counter,
    settled: Family<ByOutcome, Counter>,
    loaded: Counter,
    closed: Family<ByReason, Counter>,
    pushed: Family<BySubscription, Counter>,
}

impl Metrics {
    /// Enters the counters, and the figures of `shared`, in `registry`.
    pub(crate) fn register(shared: &Arc<Shared>, registry: &mut Registry) {
        let metrics = &shared.metrics;
        let all = registry.sub_registry_with_prefix("posthouse_messages");
        all.register(
            "published",
            "Messages published, by what became of them",
            metrics.published.clone(),
        );
        all.register("delivered", "Messages handed to consumers", metrics.delivered.clone());
        all.register(
            "redelivered",
            "Those of them that may have been delivered before",
            metrics.redelivered.clone(),
        );
        all.register(
            "settled",
            "Deliveries that were acknowledged, rejected or put back",
            metrics.settled.clone(),
        );
        all.register("loaded", "Messages read from the journal", metrics.loaded.clone());
        all.register(
            "refused",
            "Channels and connections closed for a mistake, by its name",
            metrics.closed.clone(),
        );
        all.register(
            "pushed",
            "Calls of push subscriptions, and messages that were given up",
            metrics.pushed.clone(),
        );
        all.register_collector(Box::new(Figures(Arc::downgrade(shared))));
    }

    pub(crate) fn happened(&self, event: &Event) {
        match event {
            Event::Published { outcomes, .. } => {
                for outcome in outcomes {
                    let outcome = match outcome {
                        Outcome::Taken => "taken",
                        Outcome::Unroutable { returned: true, .. } => "returned",
                        Outcome::Unroutable { returned: false, .. } => "unroutable",
                        Outcome::Rejected => "rejected",
                    };
                    self.published.get_or_create(&ByOutcome { outcome }).inc();
                }
            }
            Event::Settled { settlement, .. } => {
                let outcome = match settlement.how {
                    How::Acked => "acknowledged",
                    How::Requeued => "requeued",
                    How::Rejected => "rejected",
                };
                let count = u64::try_from(settlement.tags.len()).unwrap_or(u64::MAX);
                self.settled.get_or_create(&ByOutcome { outcome }).inc_by(count);
            }
            _ => {}
        }
    }

    pub(crate) fn told(&self, output: &Output) {
        match output {
            Output::Deliver(_, _, delivered) => {
                self.delivered.inc();
                if delivered.redelivered {
                    self.redelivered.inc();
                }
            }
            Output::CloseChannel(_, refusal) | Output::CloseConnection(refusal) => {
                let reason = refusal.code.name();
                self.closed.get_or_create(&ByReason { reason }).inc();
            }
            _ => {}
        }
    }

    /// Subscriptions are declared by operators, who bound their number.
    pub(crate) fn pushed(&self, subscription: &str, outcome: Pushed) {
        let outcome = match outcome {
            Pushed::Taken => "taken",
            Pushed::Failed => "failed",
            Pushed::Dead => "dead",
        };
        let subscription = subscription.to_owned();
        self.pushed.get_or_create(&BySubscription { subscription, outcome }).inc();
    }

    pub(crate) fn loaded(&self, count: usize) {
        self.loaded.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// Looks the figures up. Weak, so that metrics keep no broker alive.
#[derive(Debug)]
struct Figures(Weak<Shared>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let (all, queues) =
            shared.driver.peek(|state| (state.figures(), state.queue_figures(QUEUES)));
        for (name, help, value) in all {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let family = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(family)?;
        }
        let kinds: [(&str, &str, Figure); 4] = [
            ("queue_ready", "Messages that wait in a queue", |queue| queue.ready),
            ("queue_ready_bytes", "Bytes of the bodies that wait in a queue", |queue| queue.bytes),
            ("queue_unacknowledged", "Deliveries of a queue that wait", |queue| queue.unacked),
            ("queue_consumers", "Consumers of a queue", |queue| queue.consumers),
        ];
        for (name, help, value) in kinds {
            let mut family: MetricEncoder<'_> =
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for queue in &queues {
                let (vhost, name) = (queue.vhost.to_string(), queue.name.to_string());
                let labels = ByQueue { vhost, queue: name };
                let gauge = ConstGauge::new(i64::try_from(value(queue)).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
