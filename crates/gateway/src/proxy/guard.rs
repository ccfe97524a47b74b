//! Phase `guard`: who calls, whether they may, and whether the call is as its API says. What a refused
//! client is told is the same for every credential that does not hold.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderValue, StatusCode};

use super::body::Body;
use super::call::Call;
use super::request::{Client, Local, Request};
use super::respond;
use crate::fault::Fault;
use crate::guard::rules::{self, Rule};
use crate::guard::settings::Guard;
use crate::guard::{Answer, Asked, Facts, Refusal, Verdict, Violation, cors, facts};
use crate::http::target::Target;
use crate::upstream::{BodyKind, Frame, SourceError};

/// What a refusal says beside its kind.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// What a caller without a credential is asked for.
    pub(super) challenge: Option<HeaderValue>,
    /// Where the call is not as its API says.
    pub(super) violation: Option<Violation>,
    /// The words of an external authoriser.
    pub(super) answer: Option<Box<Answer>>,
}

/// `guard`: lets a call pass, ends it with a fault, or answers a preflight request.
pub(super) async fn guard(
    guard: &Guard,
    call: &mut Call,
    request: &mut Request,
    body: &mut Body,
    client: &mut dyn Client,
) -> Result<Option<Local>, Fault> {
    // Nothing that was looked at may vanish before the service sees it.
    request.fields.strip_named();
    if !rules::allows_address(guard, call.client.ip()) {
        refuse(guard, call, Rule::Address.label(), Fault::Forbidden)?;
    }
    if let Some(cors) = &guard.cors
        && let Some(method) = cors::preflight(&request.method, &request.fields)
    {
        let mut fields = respond::date();
        cors.answer(&method, &request.fields, &mut fields);
        respond::browsers(guard, call.session.door.tls.is_some(), &mut fields);
        let local = Local {
            status: StatusCode::NO_CONTENT,
            fields,
            body: Default::default(),
            closes: false,
        };
        return Ok(Some(respond::local(call, local)));
    }
    if guard.denied {
        refuse(guard, call, Rule::Deny.label(), Fault::Forbidden)?;
    }
    if !guard.providers.is_empty() {
        let identifier = &call.session.worker.shared.seams.identifier;
        match identifier.identify(&asked(call, request), &guard.providers) {
            Verdict::Known(identity) => call.identity = Some(identity),
            verdict => Box::pin(settle(guard, verdict, call, request, body, client)).await?,
        }
        conceal(guard, call, request)?;
    }
    if let Some(rule) = missing(guard, call, request) {
        refuse(guard, call, rule.label(), Fault::Forbidden)?;
    }
    mint(guard, call)?;
    if guard.validate {
        Box::pin(inspect(guard, call, request, body, client)).await?;
    }
    Ok(None)
}

/// Takes credentials out of the query, for whatever comes after: services, redirects, logs.
fn conceal(guard: &Guard, call: &Call, request: &mut Request) -> Result<(), Fault> {
    if request.target.query().is_none() {
        return Ok(());
    }
    let identifier = &call.session.worker.shared.seams.identifier;
    let whole = request.target.path_and_query().as_bytes();
    if let Some(left) = identifier.conceal(whole, &guard.providers) {
        let target = Target::new(request.target.authority_bytes(), &left);
        // What is left of a target that was fine is fine; sent on as it was it must never be.
        request.target = target.map_err(|_| Fault::IdentityUnavailable)?;
    }
    Ok(())
}

/// What of a call may be looked at.
pub(super) fn asked<'a>(call: &'a Call, request: &'a Request) -> Asked<'a> {
    Asked {
        method: &request.method,
        scheme: call.session.scheme(),
        authority: request.target.authority_bytes(),
        path_and_query: request.target.path_and_query().as_bytes(),
        fields: &request.fields,
        client: call.client,
        certificate: call.session.certificate(),
    }
}

/// What is known of a call.
pub(super) fn known<'a>(call: &'a Call, request: &'a Request) -> Facts<'a> {
    Facts { asked: asked(call, request), identity: call.identity.as_deref(), time: facts::now() }
}

/// The permission that whoever calls does not have.
fn missing(guard: &Guard, call: &Call, request: &Request) -> Option<Rule> {
    let asks = guard.when.is_some()
        || !guard.scopes.is_empty()
        || !guard.roles.is_empty()
        || !guard.consumers.is_empty();
    if !asks {
        return None;
    }
    // The clock is read for conditions only.
    let time = if guard.when.is_some() { facts::now() } else { 0 };
    let identity = call.identity.as_deref();
    rules::missing(guard, &Facts { asked: asked(call, request), identity, time })
}

/// Follows a verdict to its end: it may take time, or the whole body.
async fn settle(
    guard: &Guard,
    mut verdict: Verdict,
    call: &mut Call,
    request: &Request,
    body: &mut Body,
    client: &mut dyn Client,
) -> Result<(), Fault> {
    let rule = Rule::Identity.label();
    loop {
        verdict = match verdict {
            Verdict::Known(identity) => {
                call.identity = Some(identity);
                return Ok(());
            }
            Verdict::Nobody if guard.optional => return Ok(()),
            Verdict::Nobody | Verdict::Refused(Refusal::Invalid) => {
                call.said().challenge = guard.challenge.clone();
                return refuse(guard, call, rule, Fault::Unauthenticated);
            }
            Verdict::Refused(Refusal::Unavailable) => {
                return refuse(guard, call, rule, Fault::IdentityUnavailable);
            }
            Verdict::Refused(Refusal::Forbidden(answer)) => {
                call.said().answer = answer;
                return refuse(guard, call, rule, Fault::Forbidden);
            }
            Verdict::Later(later) => later.await,
            Verdict::WithBody(go_on) => go_on(&take(guard.body, request, body, client).await?),
        }
    }
}

/// Has a token signed that tells the service who calls.
fn mint(guard: &Guard, call: &mut Call) -> Result<(), Fault> {
    let (Some((_, audience)), Some(identity)) = (&guard.forward.jwt, &call.identity) else {
        return Ok(());
    };
    let minted = call.session.worker.shared.seams.identifier.mint(identity, audience);
    match minted {
        Some(token) => call.minted = Some(token),
        None => refuse(guard, call, "jwt", Fault::IdentityUnavailable)?,
    }
    Ok(())
}

/// Compares a call with the description of its API.
async fn inspect(
    guard: &Guard,
    call: &mut Call,
    request: &Request,
    body: &mut Body,
    client: &mut dyn Client,
) -> Result<(), Fault> {
    let Some(route) = call.route.clone() else { return Ok(()) };
    let Some(api) = &route.config.api else { return Ok(()) };
    let inspector = Arc::clone(&call.session.worker.shared.seams.inspector);
    let whole = if inspector.wants_body(&api.name, &api.version, &asked(call, request)) {
        Some(take(guard.body, request, body, client).await?)
    } else {
        None
    };
    let asked = asked(call, request);
    match inspector.inspect(&api.name, &api.version, &asked, whole.as_deref()) {
        Ok(()) => Ok(()),
        Err(violation) => {
            call.said().violation = Some(violation);
            refuse(guard, call, "validate", Fault::Violation)
        }
    }
}

/// Takes a request's body in whole; instances get it from what is kept.
async fn take(
    most: usize,
    request: &Request,
    body: &mut Body,
    client: &mut dyn Client,
) -> Result<Vec<u8>, Fault> {
    let is_too_large = |length: u64| usize::try_from(length).map_or(true, |length| length > most);
    if matches!(request.body, BodyKind::Length(length) if is_too_large(length)) {
        return Err(Fault::BodyTooLarge);
    }
    body.hold(most);
    body.rewind();
    let mut whole = Vec::new();
    loop {
        let frame = poll_fn(|cx| {
            use crate::upstream::Source as _;
            body.over(&mut *client).poll_frame(cx)
        });
        match frame.await {
            None => break,
            Some(Ok(Frame::Data(data))) => whole.extend_from_slice(&data),
            Some(Ok(Frame::Trailers(_))) => {}
            Some(Err(_)) if body.too_large => return Err(Fault::BodyTooLarge),
            Some(Err(SourceError::Gone)) => return Err(Fault::ClientGone),
            Some(Err(SourceError::Broken(refusal))) => return Err(Fault::ClientBody(refusal)),
        }
        if !body.can_repeat() {
            return Err(Fault::BodyTooLarge);
        }
    }
    body.rewind();
    Ok(whole)
}

/// Refuses a call, or says only that it would have been.
fn refuse(guard: &Guard, call: &mut Call, rule: &'static str, fault: Fault) -> Result<(), Fault> {
    let route = call.route.as_ref().map_or("", |route| &*route.config.name);
    call.session.worker.shared.metrics.guards.refused(route, rule, guard.dry_run);
    if !guard.dry_run {
        return Err(fault);
    }
    // A line a second: what is refused without end must not fill a disk.
    let now = facts::now();
    if guard.logged.swap(now, Ordering::Relaxed) != now {
        let (client, fault) = (call.client, fault.label());
        tracing::info!(route, rule, %client, "a guard in a dry run would have refused: {fault}");
    }
    call.forget_said();
    Ok(())
}
