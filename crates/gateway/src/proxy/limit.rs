//! Phase `limit`: how large, how fast, how much, and whether the service can take it.

use std::time::Instant;

use posthouse_base::time::Timestamp;
use smallvec::SmallVec;

use super::call::Call;
use super::request::Request;
use super::{Plan, guard};
use crate::cluster::{self, Refused};
use crate::config::model::Priority;
use crate::fault::Fault;
use crate::guard::facts;
use crate::limit::{self, Caller, Now, Policy, Waiting};
use crate::shared::Snapshot;
use crate::upstream::BodyKind;

/// A call that its service takes, until the answer begins.
pub(super) struct Admitted {
    _admission: cluster::Admission,
    waiting: Option<Waiting>,
}

impl Admitted {
    /// The answer has begun.
    pub(super) fn answered(self, call: &Call) {
        if let Some(waiting) = self.waiting {
            waiting.answered(call.session.worker.shared.book.nanos(Instant::now()));
        }
    }
}

/// `limit`: the body is not too large, the limits of the route and of the consumer's plan let the call
/// pass, and the service takes it.
pub(super) fn limit(
    snapshot: &Snapshot,
    call: &mut Call,
    request: &Request,
    plan: &mut Plan,
) -> Result<(), Fault> {
    let max_body = plan.route.as_ref().and_then(|route| route.config.max_body);
    if let (Some(max), BodyKind::Length(length)) = (max_body, request.body)
        && length > max
    {
        return Err(Fault::BodyTooLarge);
    }
    // What is refused for want of room has used up nothing of its limits.
    let priority = plan.route.as_ref().map_or(Priority::Normal, |route| route.config.priority);
    let book = &call.session.worker.shared.book;
    let waiting = book.wait(&snapshot.limits, plan.service.name(), priority, call.begun);
    let waiting = waiting.map_err(|_| Fault::Shed)?;
    share(snapshot, call, request)?;
    let admission = plan.service.admit(call.since).map_err(|refused| {
        Fault::Circuit(match refused {
            Refused::TooManyRequests => "too-many-requests",
            Refused::Open => "circuit-open",
            Refused::Pending => "too-many-pending",
        })
    })?;
    plan.admission = Some(Admitted { _admission: admission, waiting });
    Ok(())
}

/// Asks the limits, and notes what they give.
pub(super) fn share(snapshot: &Snapshot, call: &mut Call, request: &Request) -> Result<(), Fault> {
    let route = call.route.as_deref();
    let identity = call.identity.as_deref();
    let by_plan = identity.and_then(|known| known.plan.as_deref());
    let policies = snapshot.limits.of(route.map(|route| route.index), by_plan);
    let policies: SmallVec<[&Policy; 2]> = policies.into_iter().flatten().collect();
    if policies.is_empty() {
        return Ok(());
    }
    let book = &call.session.worker.shared.book;
    let time = match policies.iter().any(|policy| policy.has_quotas()) {
        true => Timestamp::now(),
        false => Timestamp::default(),
    };
    let now = Now { nanos: book.nanos(call.begun), time };
    let caller = Caller {
        identity,
        address: call.client.ip(),
        route: route.map_or("", |route| &route.config.name),
        value: &|program| facts::key(program, &guard::known(call, request)),
    };
    match limit::admit(&policies, &caller, book, now) {
        Ok(share) => call.share = Some(share),
        Err(refused) => {
            book.metrics.refused(&refused.limit, refused.why.label());
            call.share = Some(refused.share);
            return Err(Fault::Limited(refused.why));
        }
    }
    Ok(())
}
