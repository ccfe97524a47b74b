//! A response on its way from an instance to the client: its head is known, its body is moved by
//! the client's connection. It keeps the call's ledger and the instance's, and closes both.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;

use super::body::Body;
use super::call::Call;
use super::forward::{Answered, Try};
use super::request::Length;
use crate::cluster::{Failure, Outcome};
use crate::fault::Fault;
use crate::http::head::Fields;
use crate::upstream::{Frame, Source, Tunnel};

/// A response on its way.
pub(crate) struct Relay {
    /// Status.
    pub(crate) status: StatusCode,
    /// Header fields as the client gets them, without those that frame the body unless its length
    /// is known.
    pub(crate) fields: Fields,
    /// What is known of the body's length.
    pub(crate) length: Length,
    /// The exchange with the instance, until it has ended.
    answered: Option<Box<Answered>>,
    /// The try whose connection became a tunnel.
    tried: Option<Try>,
    /// What is left of the request's body.
    body: Body,
    call: Call,
    idle_timeout: Duration,
    /// When the call is cut, if it may be.
    pub(super) cut_at: Option<tokio::time::Instant>,
    /// Nothing was waited for since the head came, so that it is still that time.
    pub(crate) at_once: bool,
    ended: bool,
}

impl Relay {
    /// Takes over the call from the phases. `fields` are those of the answer as the client gets them.
    pub(super) fn new(
        mut call: Call,
        answered: Box<Answered>,
        fields: Fields,
        length: Length,
        body: Body,
    ) -> Self {
        let status = answered.head.status;
        call.status = Some(status);
        call.note_grpc_status(&fields);
        Self {
            status,
            fields,
            length,
            idle_timeout: answered.settings.idle_timeout,
            answered: Some(answered),
            tried: None,
            body,
            call,
            cut_at: None,
            at_once: false,
            ended: false,
        }
    }

    /// The next part of the response's body. What is left of the request's is moved meanwhile.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
    ) -> Poll<Option<Result<Frame, Fault>>> {
        let Some(Answered { exchange, .. }) = self.answered.as_deref_mut() else {
            return Poll::Ready(None);
        };
        let mut source = self.body.over(source);
        let frame = match ready!(exchange.poll_frame(cx, &mut source)) {
            Some(Ok(frame)) => frame,
            None => {
                self.finish(None);
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                let fault = error.kind.into();
                self.finish(Some(fault));
                return Poll::Ready(Some(Err(fault)));
            }
        };
        match &frame {
            Frame::Data(data) => {
                self.call.sent += data.len() as u64;
                self.call.charge_as_it_passes(self.body.received);
            }
            Frame::Trailers(trailers) => self.call.note_grpc_status(trailers),
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// Moves what is left of the request's body while the client takes nothing of the response: some
    /// clients read nothing before they have sent everything.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>, source: &mut dyn Source) {
        if let Some(Answered { exchange, .. }) = self.answered.as_deref_mut() {
            // What fails here shows when the response is polled next.
            let _moved = exchange.poll_upload(cx, &mut self.body.over(source));
        }
    }

    /// Bytes moved to and from the instance so far: while they grow, the call is not idle.
    pub(crate) fn progress(&self) -> u64 {
        self.answered.as_ref().map_or(0, |answered| answered.exchange.progress())
    }

    /// Until when something must move, and what it means when nothing did. `since` is when
    /// something last moved.
    pub(crate) fn deadline(
        &self,
        since: tokio::time::Instant,
    ) -> (Option<tokio::time::Instant>, Fault) {
        let idle = since + self.idle_timeout;
        match self.cut_at {
            Some(cut) if cut < idle => (Some(cut), Fault::Timeout("timeout")),
            _ => (Some(idle), Fault::Timeout("idle-timeout")),
        }
    }

    /// Ends the call. Later calls of this change nothing.
    pub(crate) fn finish(&mut self, fault: Option<Fault>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.call.fault = fault;
        self.call.received += self.body.received;
        let outcome = match fault {
            None => self.outcome_by_status(),
            Some(Fault::Timeout(_)) => Outcome::Failure(Failure::Timeout),
            Some(Fault::Answer(_)) => Outcome::Failure(Failure::Malformed),
            Some(Fault::Closed) => Outcome::Failure(Failure::Reset),
            Some(_) => Outcome::Cancelled,
        };
        let tried = match self.answered.take() {
            Some(answered) => answered.tried,
            None => match self.tried.take() {
                Some(tried) => tried,
                None => return,
            },
        };
        if self.at_once { tried.finish_with_head(outcome) } else { tried.finish(outcome) }
    }

    /// [`Relay::finish`], and the end of the call's ledger: returns when that was.
    pub(crate) fn end(mut self: Box<Self>, fault: Option<Fault>) -> tokio::time::Instant {
        self.finish(fault);
        tokio::time::Instant::from_std(self.call.end())
    }

    /// What the answer says about the instance: 502, 503 and 504 and the gRPC statuses UNAVAILABLE
    /// and INTERNAL are failures of its own.
    fn outcome_by_status(&self) -> Outcome {
        let failed = matches!(self.status.as_u16(), 502..=504)
            || matches!(self.call.grpc_status, Some(13 | 14));
        if failed { Outcome::Failure(Failure::Status) } else { Outcome::Success }
    }

    /// The connection that stopped being HTTP. `None` when the relay has ended.
    pub(crate) fn take_tunnel(&mut self) -> Option<Tunnel> {
        let Answered { exchange, tried, .. } = *self.answered.take()?;
        self.tried = Some(tried);
        Some(exchange.into_tunnel())
    }

    /// Notes bytes that a tunnel carried.
    pub(crate) fn note_carried(&mut self, received: u64, sent: u64) {
        self.call.received += received;
        self.call.sent += sent;
    }

    /// Whether the body ends with the part that was returned last.
    pub(crate) fn is_last(&self) -> bool {
        self.answered.as_ref().is_some_and(|answered| answered.exchange.is_end())
    }

    /// The client is told of the change of protocols by another status than the instance's: each
    /// version of HTTP has its own.
    pub(crate) fn answer_with(&mut self, status: StatusCode) {
        self.status = status;
        self.call.status = Some(status);
    }

    /// How long a tunnel may be idle.
    pub(crate) const fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.finish(Some(Fault::ClientGone));
    }
}
