//! Phases `balance` and `forward`: a call is tried on one instance after the other until one
//! answers, within what is safe, what the budget allows and what time is left.

use std::borrow::Cow;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, StatusCode};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::body::Body;
use super::call::Call;
use super::request::Client;
use super::{is_idempotent, is_safe};
use crate::cluster::budget::{Budget, backoff};
use crate::cluster::{
    Coarse, Endpoint, EndpointId, Failure, InFlight, Outcome, PickContext, Service,
};
use crate::config::model::{self, Retries};
use crate::fault::{Fault, connect_failure, exchange_failure};
use crate::http::head::{Fields, Known};
use crate::http1::Limits;
use crate::upstream::{self, BodyKind, Exchange, Head, Retry};

/// Instances that are tried for want of a connection, however few retries are configured.
const MOST_CONNECTS: u32 = 8;

/// A call as instances get it.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path_and_query: Cow<'a, str>,
    pub(crate) authority: &'a str,
    pub(crate) scheme: &'static str,
    pub(crate) fields: &'a Fields,
    pub(crate) body: BodyKind,
    pub(crate) upgrade: Option<Vec<u8>>,
    pub(crate) te_trailers: bool,
    /// Hash for consistent hashing, if the service wants one.
    pub(crate) hash: Option<u64>,
    /// When the whole call must have its response's head.
    pub(crate) deadline: Option<Instant>,
    /// What the head of a response may be.
    pub(crate) limits: Limits,
}

impl Outgoing<'_> {
    fn as_call(&self) -> upstream::Call<'_> {
        upstream::Call {
            method: self.method,
            path_and_query: &self.path_and_query,
            authority: self.authority,
            scheme: self.scheme,
            fields: self.fields,
            body: self.body,
            upgrade: self.upgrade.as_deref(),
            te_trailers: self.te_trailers,
        }
    }
}

/// An instance's answer.
pub(crate) struct Answered {
    pub(crate) head: Head,
    pub(crate) exchange: Exchange,
    pub(crate) tried: Try,
    pub(crate) settings: Arc<model::Service>,
    pub(crate) deadline: Option<Instant>,
}

/// A try at an instance: what its end teaches about it.
pub(crate) struct Try {
    in_flight: InFlight,
    begun: std::time::Instant,
    since: Coarse,
    /// How long the head took, and when it was here.
    heard: Option<(Duration, Coarse)>,
}

impl Try {
    /// The instance's head is here: it owes nothing more.
    fn heard(&mut self) {
        let latency = self.begun.elapsed();
        let now = self.since.plus(latency);
        self.heard = Some((latency, now));
        self.in_flight.heard(now);
    }

    /// The try ended.
    pub(crate) fn finish(self, outcome: Outcome) {
        let passed = self.begun.elapsed();
        let latency = self.heard.map_or(passed, |(latency, _)| latency);
        self.in_flight.finish(outcome, latency, self.since.plus(passed));
    }

    /// [`Try::finish`] for one that ends with the head of its answer: the clock need not be read.
    pub(crate) fn finish_with_head(self, outcome: Outcome) {
        match self.heard {
            Some((latency, now)) => self.in_flight.finish(outcome, latency, now),
            None => self.finish(outcome),
        }
    }
}

/// A try that gave no answer.
pub(super) struct Failed {
    fault: Fault,
    retry: Retry,
    /// There was no connection to the instance.
    is_unconnected: bool,
}

impl Failed {
    pub(super) const fn on_connection(fault: Fault, retry: Retry) -> Self {
        Self { fault, retry, is_unconnected: false }
    }
}

/// Which limit a wait for a head runs into first.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) at: Option<Instant>,
    pub(super) fault: Fault,
    pub(super) retry: Retry,
}

/// One call being forwarded.
pub(super) struct Forward<'a> {
    outgoing: &'a Outgoing<'a>,
    service: &'a Arc<Service>,
    settings: Arc<model::Service>,
    retries: &'a Retries,
    tried: SmallVec<[EndpointId; 4]>,
    /// Instances that could not be connected to since the last pause, and why the last could not.
    unconnected: SmallVec<[EndpointId; 4]>,
    why: Fault,
}

/// Tries instances until one answers.
pub(crate) async fn forward(
    call: &mut Call,
    outgoing: &Outgoing<'_>,
    (service, settings): (&Arc<Service>, Arc<model::Service>),
    retries: &Retries,
    body: &mut Body,
    client: &mut dyn Client,
) -> Result<Box<Answered>, Fault> {
    let mut forward = Forward {
        outgoing,
        service,
        settings,
        retries,
        tried: SmallVec::new(),
        unconnected: SmallVec::new(),
        why: Fault::Connect,
    };
    let mut made = 0;
    let mut refused = 0;
    loop {
        let endpoint = forward.pick(call).ok_or(Fault::NoEndpoint)?;
        if forward.unconnected.contains(&endpoint.id) {
            // There is no other. It may be back after a pause, which counts as a retry.
            if made >= retries.attempts || !forward.budget_allows() {
                return Err(forward.why);
            }
            made += 1;
            forward.unconnected.clear();
            forward.back_off(call, made + 1).await;
            continue;
        }
        forward.note(call, &endpoint);
        body.rewind();
        let failed = match forward.attempt(call, &endpoint, body, client).await {
            Ok(answered) if !forward.is_worth_repeating(call, &answered, made, body) => {
                return Ok(answered);
            }
            Ok(answered) => {
                answered.tried.finish(Outcome::Failure(Failure::Status));
                None
            }
            Err(failed) => Some(failed),
        };
        if let Some(failed) = failed {
            if body.too_large {
                return Err(Fault::BodyTooLarge);
            }
            if failed.retry == Retry::Always {
                // Nobody has seen the call: another instance gets it, whatever the method.
                refused += 1;
                if refused >= MOST_CONNECTS || forward.is_late() || !body.can_repeat() {
                    return Err(failed.fault);
                }
                if failed.is_unconnected {
                    forward.unconnected.push(endpoint.id);
                    forward.why = failed.fault;
                }
                continue;
            }
            if failed.retry == Retry::Never || !forward.may_repeat(made, body) {
                return Err(failed.fault);
            }
        }
        made += 1;
        // Boxed, like every wait that few calls have: the others do not carry its room about.
        Box::pin(forward.back_off(call, made)).await;
    }
}

impl Forward<'_> {
    /// `balance`: chooses an instance that was not tried yet, if there is one.
    pub(super) fn pick(&self, call: &Call) -> Option<Arc<Endpoint>> {
        let mut rng = call.session.worker.rng.borrow_mut();
        self.service.pick(&mut PickContext {
            hash: self.outgoing.hash,
            exclude: &self.tried,
            rng: &mut rng,
            now: if call.tries == 0 { call.since } else { Coarse::now() },
        })
    }

    /// Notes that an instance is tried.
    pub(super) fn note(&mut self, call: &mut Call, endpoint: &Endpoint) {
        self.tried.push(endpoint.id);
        call.tries += 1;
        call.endpoint = Some(endpoint.address);
    }

    /// `forward`: one try. It connects before anything of the body is taken, sends, and waits for
    /// the response's head. An instance that falls silent is raced against another.
    async fn attempt(
        &mut self,
        call: &mut Call,
        endpoint: &Arc<Endpoint>,
        body: &mut Body,
        client: &mut dyn Client,
    ) -> Result<Box<Answered>, Failed> {
        let (mut exchange, tried, sent) = self.send(call, endpoint).await?;
        let limit = self.limit(sent);
        let mut look = self.next_look(endpoint, sent);
        loop {
            match await_head(&mut exchange, body, client, limit.at, look).await {
                Awaited::Head(head) => return Ok(self.answered(head, exchange, tried)),
                Awaited::Failed(failed, failure) => {
                    tried.finish(failure.map_or(Outcome::Cancelled, Outcome::Failure));
                    return Err(failed);
                }
                Awaited::Late => {
                    exchange.condemn();
                    tried.finish(Outcome::Failure(Failure::Timeout));
                    return Err(Failed::on_connection(limit.fault, limit.retry));
                }
                Awaited::Look => {
                    let silent = self.service.is_silent(endpoint, Coarse::now());
                    if silent && self.may_hedge() {
                        return Box::pin(self.hedge(call, exchange, tried, limit)).await;
                    }
                    look = match self.settings.silence {
                        Some(silence) if silent => Instant::now().checked_add(silence),
                        _ => self.next_look(endpoint, Instant::now()),
                    };
                }
            }
        }
    }

    /// Connects and begins to send; says when that was.
    pub(super) async fn send(
        &self,
        call: &Call,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(Exchange, Try, Instant), Failed> {
        let (begun, since) = if call.tries == 1 {
            (call.begun, call.since)
        } else {
            let now = std::time::Instant::now();
            (now, Coarse::of(now))
        };
        let in_flight = self.service.begin(endpoint, since);
        let tried = Try { in_flight, begun, since, heard: None };
        let pools = &call.session.worker.pools;
        let outgoing = self.outgoing.as_call();
        let lease = pools.lease(endpoint, &self.settings, &outgoing, self.outgoing.limits);
        let mut lease = pin!(lease);
        let mut waited = false;
        let leased = poll_fn(|cx| {
            let leased = lease.as_mut().poll(cx);
            waited |= leased.is_pending();
            leased
        });
        match leased.await {
            Ok(lease) => {
                // The clock is not read again for a call that found a connection.
                let sent = if waited { Instant::now() } else { Instant::from_std(begun) };
                Ok((lease.send(&outgoing), tried, sent))
            }
            Err(error) => {
                tried.finish(
                    connect_failure(error.kind).map_or(Outcome::Cancelled, Outcome::Failure),
                );
                Err(Failed { fault: error.kind.into(), retry: Retry::Always, is_unconnected: true })
            }
        }
    }

    pub(super) fn answered(&self, head: Head, exchange: Exchange, mut tried: Try) -> Box<Answered> {
        tried.heard();
        let settings = Arc::clone(&self.settings);
        let deadline = self.outgoing.deadline;
        Box::new(Answered { head, exchange, tried, settings, deadline })
    }

    /// The first of the limits on the wait for a head: of the try, of the service, of the call.
    fn limit(&self, sent: Instant) -> Limit {
        let header = (self.settings.header_timeout, Fault::Timeout("header-timeout"));
        let (limit, fault) = match self.retries.per_try {
            Some(per_try) if per_try < header.0 => (per_try, Fault::Timeout("per-try-timeout")),
            _ => header,
        };
        let at = sent.checked_add(limit);
        match self.outgoing.deadline {
            Some(deadline) if at.is_none_or(|at| deadline <= at) => {
                Limit { at: Some(deadline), fault: Fault::Timeout("timeout"), retry: Retry::Never }
            }
            _ => Limit { at, fault, retry: Retry::IfIdempotent },
        }
    }

    /// When it is worth asking whether the instance is silent.
    fn next_look(&self, endpoint: &Endpoint, now: Instant) -> Option<Instant> {
        let silence = self.settings.silence?;
        let coarse = Coarse::of(now.into_std());
        let from = self.service.silent_from(endpoint).map_or(silence, |from| from.since(coarse));
        // A little later than the rule's own time, which is exclusive and in whole milliseconds.
        now.checked_add(from + Duration::from_millis(2))
    }

    /// Whether the call may be asked of two instances at once.
    fn may_hedge(&self) -> bool {
        let safe = is_safe(self.outgoing.method) || self.retries.idempotent;
        safe && self.outgoing.body == BodyKind::None
            && self.outgoing.upgrade.is_none()
            && self.retries.attempts > 0
            && self.budget_allows()
    }

    /// Whether an instance may be asked again after one may have seen the call.
    fn may_repeat(&self, made: u32, body: &Body) -> bool {
        made < self.retries.attempts
            && (self.retries.idempotent || is_idempotent(self.outgoing.method))
            && self.outgoing.upgrade.is_none()
            && body.can_repeat()
            && !self.is_late()
            && self.budget_allows()
    }

    fn budget_allows(&self) -> bool {
        let budget =
            Budget { percent: self.retries.budget_percent, floor: self.retries.budget_floor };
        self.service.retry_allowed(budget, Coarse::now())
    }

    /// Whether an answer is of the kind that another instance may better.
    fn is_worth_repeating(&self, call: &Call, answered: &Answered, made: u32, body: &Body) -> bool {
        let status = answered.head.status;
        let grpc = || {
            let status = answered.head.fields.get(Known::GrpcStatus)?;
            std::str::from_utf8(status).ok()?.parse::<u16>().ok()
        };
        let asked = if call.is_grpc && status == StatusCode::OK {
            grpc().is_some_and(|status| self.retries.grpc_statuses.contains(&status))
        } else {
            self.retries.statuses.contains(&status)
        };
        asked && self.may_repeat(made, body)
    }

    fn is_late(&self) -> bool {
        self.outgoing.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The pause before a retry: none before the first.
    async fn back_off(&self, call: &Call, made: u32) {
        if made < 2 {
            return;
        }
        let (base, max) = (self.retries.backoff, self.retries.max_backoff);
        let pause = backoff(made - 1, base, max, &mut call.session.worker.rng.borrow_mut());
        tokio::time::sleep(pause).await;
    }
}

/// What a wait for a head has come to.
pub(super) enum Awaited {
    Head(Head),
    Failed(Failed, Option<Failure>),
    /// A limit has passed.
    Late,
    /// It is time to see whether the instance is silent.
    Look,
}

/// Waits for the response's head, moving the request's body and passing on 1xx meanwhile.
async fn await_head(
    exchange: &mut Exchange,
    body: &mut Body,
    client: &mut dyn Client,
    limit: Option<Instant>,
    look: Option<Instant>,
) -> Awaited {
    poll_fn(|cx| {
        loop {
            let head = match exchange.poll_head(cx, &mut body.over(&mut *client)) {
                Poll::Ready(Ok(head)) => head,
                Poll::Ready(Err(error)) => {
                    let failed = Failed::on_connection(error.kind.into(), error.retry);
                    return Poll::Ready(Awaited::Failed(failed, exchange_failure(&error)));
                }
                Poll::Pending => break,
            };
            if !head.is_informational() {
                return Poll::Ready(Awaited::Head(head));
            }
            client.informational(head.status, &head.fields);
            let _sent = client.poll_flush(cx);
        }
        if client.poll_gone(cx).is_ready() {
            let failed = Failed::on_connection(Fault::ClientGone, Retry::Never);
            return Poll::Ready(Awaited::Failed(failed, None));
        }
        let first = match (limit, look) {
            (Some(limit), Some(look)) => Some(limit.min(look)),
            (one, other) => one.or(other),
        };
        if client.timer().poll_until(cx, first).is_pending() {
            return Poll::Pending;
        }
        let late = limit.is_some_and(|limit| Instant::now() >= limit);
        Poll::Ready(if late { Awaited::Late } else { Awaited::Look })
    })
    .await
}
