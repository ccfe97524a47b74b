//! Whole TCP connections, forwarded to an instance of a `tcp` service.

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use super::io::Io;
use super::tunnel::{self, Carried};
use crate::cluster::{Coarse, Outcome, PickContext};
use crate::fault::connect_failure;

/// Instances that are tried for one connection.
const MOST_TRIES: usize = 8;

/// Forwards a connection to an instance of the service, trying another when one cannot be reached:
/// nothing has been read from the client until a connection stands.
pub(crate) async fn forward(session: &Session, mut io: Io, service: &str) {
    let shared = Arc::clone(&session.worker.shared);
    let service = shared.directory.get_or_create(service);
    let Ok(_admission) = service.admit(Coarse::now()) else {
        tracing::debug!(service = %service.name(), "a connection was refused: the circuit is open");
        return;
    };
    let settings = Arc::clone(&service.settings());
    let mut tried = Vec::new();
    while tried.len() < MOST_TRIES {
        let now = Coarse::now();
        let picked = service.pick(&mut PickContext {
            hash: Some(tunnel::hash_address(session.peer.ip())),
            exclude: &tried,
            rng: &mut session.worker.rng.borrow_mut(),
            now,
        });
        let Some(endpoint) = picked else { break };
        tried.push(endpoint.id);
        let begun = Instant::now();
        let mut in_flight = service.begin(&endpoint, now);
        match session.worker.pools.connect_tcp(&endpoint, &settings).await {
            Ok(mut upstream) => {
                in_flight.heard(Coarse::now());
                let latency = begun.elapsed();
                let carried =
                    tunnel::copy(session, &mut io, &mut upstream.stream, settings.idle_timeout)
                        .await;
                in_flight.finish(Outcome::Success, latency, Coarse::now());
                shared.metrics.tcp_ended(service.name(), carried);
                return;
            }
            Err(error) => {
                tracing::debug!(endpoint = %endpoint.address, "cannot connect: {error}");
                let failure =
                    connect_failure(error.kind).map_or(Outcome::Cancelled, Outcome::Failure);
                in_flight.finish(failure, begun.elapsed(), Coarse::now());
            }
        }
    }
    shared.metrics.tcp_ended(service.name(), Carried::default());
    tracing::warn!(service = %service.name(), "no instance took a TCP connection");
}
