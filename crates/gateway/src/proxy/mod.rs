//! The life of a call, in the order in which it happens:
//! `accept → validate → route → guard → limit → balance → forward → respond → record`.
//!
//! Every phase either passes the call on or ends it with a [`Fault`]; there is one exit,
//! [`handle`], which turns a fault into a response. Recording happens when the ledger
//! ([`call::Call`]) is dropped, so that no way out forgets it.

mod body;
mod call;
mod forward;
mod guard;
mod headers;
mod hedge;
mod limit;
mod relay;
mod request;
mod respond;
mod websocket;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

pub(crate) use relay::Relay;
pub(crate) use request::{Client, Length, Local, Reply, Request, grpc_timeout};
pub(crate) use websocket::Key as WebsocketKey;

use self::body::Body;
use self::call::Call;
use self::forward::{Answered, Outgoing};
use crate::cluster::{self, Service};
use crate::config::model::{self, Action, HashKey};
use crate::downstream::Session;
use crate::fault::Fault;
use crate::guard::telling::tell;
use crate::guard::{Guard, cors, twin};
use crate::http::head::{Fields, Known};
use crate::http1::Refusal;
use crate::route::{Caught, Found, Lookup, Outcome, Route, rewrite};
use crate::shared::Snapshot;
use crate::upstream::BodyKind;

/// What names a service in `Host` without a route (`names: true`).
const NAME_SUFFIX: &str = ".service.consul";

/// Where a call goes.
struct Plan {
    service: Arc<Service>,
    route: Option<Arc<Route<Arc<Service>>>>,
    caught: Caught,
    deadline: Option<Instant>,
    admission: Option<limit::Admitted>,
}

/// Handles a call up to the head of its response.
pub(crate) async fn handle(
    session: &Session,
    request: &mut Request,
    client: &mut dyn Client,
) -> Reply {
    let snapshot = session.worker.shared.snapshot.load_full();
    if let Some(telling) = &snapshot.telling {
        telling.strip(&mut request.fields);
    }
    let mut call = accept(session, &snapshot, request);
    let way = match route(&snapshot, &mut call, request) {
        Ok(way) => way,
        Err(local) => return Reply::Local(*local),
    };
    let guard = way.guard(&snapshot);
    let mut body = way.body(&snapshot, request);
    let passed = match guard {
        Some(guard) => guard::guard(guard, &mut call, request, &mut body, client).await,
        None => Ok(None),
    };
    let mut reply = match passed {
        Ok(None) => go(&snapshot, call, way, request, body, client).await,
        // What the guard answers itself, it has dressed.
        Ok(Some(local)) => return Reply::Local(local),
        Err(fault) => Reply::Local(respond::fault(&mut call, fault, None)),
    };
    if let Some(guard) = guard {
        respond::dress(guard, session.door.tls.is_some(), &request.fields, reply.fields());
    }
    reply
}

/// The phases of a call that may pass.
async fn go(
    snapshot: &Snapshot,
    mut call: Call,
    way: Way<'_>,
    request: &mut Request,
    body: Body,
    client: &mut dyn Client,
) -> Reply {
    let mut plan = match decide(snapshot, &mut call, way, request) {
        Ok(Decided::Forward(plan)) => plan,
        Ok(Decided::Local(mut local)) => {
            if let Err(fault) = limit::share(snapshot, &mut call, request) {
                return Reply::Local(respond::fault(&mut call, fault, None));
            }
            if let Some(share) = &call.share {
                share.show(&mut local.fields);
            }
            return Reply::Local(respond::local(&mut call, local));
        }
        Err(fault) => return Reply::Local(respond::fault(&mut call, fault, None)),
    };
    match run(snapshot, &mut call, request, &mut plan, body, client).await {
        Ok((answered, body)) => {
            respond::relay(call, request, plan.route.as_deref(), answered, body)
        }
        Err(fault) => Reply::Local(respond::fault(&mut call, fault, None)),
    }
}

/// Answers a request whose head could not be read.
pub(crate) fn refuse(session: &Session, fault: Fault) -> Local {
    let mut call = Call::unread(session, session.peer);
    respond::fault(&mut call, fault, None)
}

/// The phases of a call that an instance is to answer.
async fn run(
    snapshot: &Snapshot,
    call: &mut Call,
    request: &mut Request,
    plan: &mut Plan,
    mut body: Body,
    client: &mut dyn Client,
) -> Result<(Box<Answered>, Body), Fault> {
    limit::limit(snapshot, call, request, plan)?;
    let retries = plan.route.as_ref().map_or(&snapshot.named.retries, |one| &one.config.retries);
    let answered = {
        let settings = Arc::clone(&plan.service.settings());
        let outgoing = prepare(snapshot, call, request, plan, &settings);
        forward::forward(call, &outgoing, (&plan.service, settings), retries, &mut body, client)
            .await
    };
    if let (Ok(_) | Err(Fault::Timeout(_)), Some(admitted)) = (&answered, plan.admission.take()) {
        admitted.answered(call);
    }
    let answered = answered?;
    if let (Some(key), true) = (&request.websocket_key, answered.head.is_switched())
        && let Err(fault) = key.check(answered.head.status, &answered.head.fields)
    {
        answered.tried.finish(cluster::Outcome::Failure(cluster::Failure::Malformed));
        return Err(fault);
    }
    Ok((answered, body))
}

/// `accept`: the call gets its ledger, its place in a trace and its client's address.
fn accept(session: &Session, snapshot: &Snapshot, request: &Request) -> Call {
    let trusted = &snapshot.engine.trusted_proxies;
    let client = headers::client_address(&request.fields, session.peer, trusted);
    Call::begin(session, request, client)
}

/// Which way a call takes.
enum Way<'s> {
    /// By a route.
    Route(Found<'s, Arc<Service>>),
    /// To a service by its name.
    Named(Arc<Service>),
}

impl Way<'_> {
    /// Who may take it.
    fn guard<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Guard>
    where
        Self: 's,
    {
        match self {
            Self::Route(found) => snapshot.guard_of(found.route.index),
            Self::Named(_) => snapshot.guard.as_deref(),
        }
    }

    /// The request's body on this way.
    fn body(&self, snapshot: &Snapshot, request: &Request) -> Body {
        let route = match self {
            Self::Route(found) => Some(&found.route.config),
            Self::Named(_) => None,
        };
        let retries = route.map_or(&snapshot.named.retries, |route| &route.retries);
        let max = route.and_then(|route| route.max_body);
        // Only what has a body has trailers.
        let telling = snapshot.telling.as_ref().filter(|_| request.body != BodyKind::None);
        Body::new(max, keep_limit(request, retries), telling.cloned())
    }
}

/// `route`: which way. `validate` came before it: nothing gets here that the codecs did not
/// understand whole.
fn route<'s>(
    snapshot: &'s Snapshot,
    call: &mut Call,
    request: &Request,
) -> Result<Way<'s>, Box<Local>> {
    let target = &request.target;
    let lookup = Lookup {
        host: target.host(),
        path: target.path(),
        query: target.query(),
        method: &request.method,
        fields: &request.fields,
    };
    let found = match preflight(snapshot, &lookup) {
        Some(found) => found,
        None => match snapshot.routes.find(&lookup) {
            Outcome::Found(found) => found,
            Outcome::MethodNotAllowed { allow } => {
                return Err(Box::new(respond::fault(call, Fault::Method, Some(&allow))));
            }
            Outcome::NotFound => {
                let named = named(call, request).map(Way::Named);
                return named.map_err(|fault| Box::new(respond::fault(call, fault, None)));
            }
        },
    };
    call.route = Some(Arc::clone(found.route));
    if leads_around(snapshot, &lookup, found.route) {
        let refusal = Refusal { status: 400, reason: "path-ambiguous" };
        return Err(Box::new(respond::fault(call, Fault::Refused(refusal), None)));
    }
    Ok(Way::Route(found))
}

/// The route whose guard answers a preflight request: that of the call which the browser has in mind.
fn preflight<'s>(snapshot: &'s Snapshot, lookup: &Lookup<'_>) -> Option<Found<'s, Arc<Service>>> {
    let method = cors::preflight(lookup.method, lookup.fields)?;
    match snapshot.routes.find(&Lookup { method: &method, ..*lookup }) {
        Outcome::Found(found) => {
            let guard = snapshot.guard_of(found.route.index);
            guard.is_some_and(|guard| guard.cors.is_some()).then_some(found)
        }
        Outcome::NotFound | Outcome::MethodNotAllowed { .. } => None,
    }
}

/// Whether the path, as the most generous of services would read it, comes under another guard.
pub(crate) fn leads_around(
    snapshot: &Snapshot,
    lookup: &Lookup<'_>,
    route: &Route<Arc<Service>>,
) -> bool {
    if !snapshot.has_ways_around {
        return false;
    }
    let Some(read) = twin::other_reading(lookup.path) else { return false };
    let Ok(path) = std::str::from_utf8(&read) else { return true };
    let Outcome::Found(other) = snapshot.routes.find(&Lookup { path, ..*lookup }) else {
        return false;
    };
    let (here, there) = (snapshot.guard_of(route.index), snapshot.guard_of(other.route.index));
    let is_same = match (here, there) {
        (Some(here), Some(there)) => std::ptr::eq(here, there),
        (_, None) => true,
        (None, Some(there)) => !there.demands(),
    };
    !is_same && !route.config.matching.path.tells_case()
}

/// What is done with a call that may pass.
enum Decided {
    Forward(Plan),
    Local(Local),
}

/// What the way says is done: which service, or which fixed answer.
fn decide(
    snapshot: &Snapshot,
    call: &mut Call,
    way: Way<'_>,
    request: &Request,
) -> Result<Decided, Fault> {
    let found = match way {
        Way::Route(found) => found,
        Way::Named(service) => {
            let deadline = deadline(call, request, snapshot.named.timeout);
            let caught = Caught::default();
            let plan = Plan { service, route: None, caught, deadline, admission: None };
            return Ok(Decided::Forward(plan));
        }
    };
    let route = Arc::clone(found.route);
    match &route.config.action {
        Action::Forward { .. } => {
            let mut rng = call.session.worker.rng.borrow_mut();
            let service = route.choose(&mut rng).cloned().ok_or(Fault::NoEndpoint)?;
            drop(rng);
            call.service = Some(Arc::clone(&service));
            let deadline = deadline(call, request, route.config.timeout);
            let caught = found.caught;
            let plan = Plan { service, route: Some(route), caught, deadline, admission: None };
            Ok(Decided::Forward(plan))
        }
        Action::Redirect(redirect) => {
            let scheme = call.session.scheme();
            let location = route.location(redirect, &found.caught, &request.target, scheme);
            Ok(Decided::Local(respond::redirect(&route.config, redirect.status, &location)))
        }
        Action::Respond(response) => Ok(Decided::Local(respond::fixed(&route.config, response))),
    }
}

/// A service that is reached by its name.
fn named(call: &mut Call, request: &Request) -> Result<Arc<Service>, Fault> {
    if !call.session.door.names() {
        return Err(Fault::NoRoute);
    }
    let name = service_name(request.target.host()).ok_or(Fault::NoRoute)?;
    let directory = &call.session.worker.shared.directory;
    let service = directory.get(&name).ok_or(Fault::NoRoute)?;
    call.service = Some(Arc::clone(&service));
    Ok(service)
}

/// The service's name in `NAME.service.consul`.
fn service_name(host: &str) -> Option<Cow<'_, str>> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let cut = host.len().checked_sub(NAME_SUFFIX.len())?;
    let suffix = host.get(cut..)?;
    let name = suffix.eq_ignore_ascii_case(NAME_SUFFIX).then_some(&host[..cut])?;
    (!name.is_empty()).then_some(Cow::Borrowed(name))
}

/// Until when the response's head must be there: by the route, and for gRPC by the caller.
fn deadline(call: &Call, request: &Request, timeout: Option<Duration>) -> Option<Instant> {
    let shorter = match (timeout, request.grpc_timeout) {
        (Some(timeout), Some(asked)) => Some(timeout.min(asked)),
        (one, other) => one.or(other),
    };
    Instant::from_std(call.begun).checked_add(shorter?)
}

/// The call as instances get it.
fn prepare<'a>(
    snapshot: &Snapshot,
    call: &Call,
    request: &'a mut Request,
    plan: &'a Plan,
    settings: &model::Service,
) -> Outgoing<'a> {
    let session = &call.session;
    let upgrade = request.upgrade.then(|| request.fields.get(Known::Upgrade).map(<[u8]>::to_vec));
    let hash = hash_of(settings, request, call);
    let stripped = request.fields.strip_hop_by_hop();
    request.fields.remove(Known::Expect);
    headers::tell_about_client(
        &mut request.fields,
        &snapshot.engine,
        session,
        request.target.authority_bytes(),
    );
    call.mark(&mut request.fields);
    let (path_and_query, authority) = match &plan.route {
        Some(route) => {
            let path = route.path_and_query(&plan.caught, &request.target);
            let authority = route.authority(&request.target);
            if let Some(rewrite) = route.rewrite() {
                rewrite::edit(&rewrite.headers, &mut request.fields);
            }
            (path, authority)
        }
        None => (Cow::Borrowed(request.target.path_and_query()), request.target.authority()),
    };
    let index = plan.route.as_ref().map(|route| route.index);
    if let Some(guard) = index.map_or(snapshot.guard.as_deref(), |index| snapshot.guard_of(index)) {
        let (identity, token) = (call.identity.as_deref(), call.minted.as_deref());
        tell(&guard.forward, identity, token, &mut request.fields);
    }
    let authority = if authority.is_empty() { &**plan.service.name() } else { authority };
    if request.fields.get(Known::Host) != Some(authority.as_bytes()) {
        request.fields.set_known(Known::Host, authority.as_bytes());
    }
    Outgoing {
        method: &request.method,
        path_and_query,
        authority,
        scheme: session.scheme(),
        fields: &request.fields,
        body: request.body,
        upgrade: upgrade.flatten(),
        te_trailers: stripped.te_trailers,
        hash,
        deadline: plan.deadline,
        limits: snapshot.engine.limits,
    }
}

/// What consistent hashing goes by: the first key that the call has.
fn hash_of(service: &model::Service, request: &Request, call: &Call) -> Option<u64> {
    service.hash.iter().find_map(|key| match key {
        HashKey::Header(name) => {
            request.fields.get_named(name.as_str().as_bytes()).map(crate::balance::ring::hash)
        }
        HashKey::Cookie(name) => {
            cookie(&request.fields, name.as_bytes()).map(crate::balance::ring::hash)
        }
        HashKey::ClientAddress => Some(crate::downstream::tunnel::hash_address(call.client.ip())),
    })
}

/// The value of a cookie (RFC 6265 §4.2).
fn cookie<'a>(fields: &'a Fields, name: &[u8]) -> Option<&'a [u8]> {
    fields.all(Known::Cookie).flat_map(|list| list.split(|byte| *byte == b';')).find_map(|pair| {
        let rest = pair.trim_ascii().strip_prefix(name)?;
        rest.strip_prefix(b"=")
    })
}

/// How much of a body is worth keeping: nothing, when no retry could send it again.
fn keep_limit(request: &Request, retries: &model::Retries) -> usize {
    let repeatable = retries.idempotent || is_idempotent(&request.method);
    if repeatable && retries.attempts > 0 { retries.buffer } else { 0 }
}

/// Whether a method may be repeated without asking (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Whether a method asks for nothing but an answer (RFC 9110 §9.2.1).
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_as_the_specification_writes_them() {
        assert_eq!(grpc_timeout(b"100m"), Some(Duration::from_millis(100)));
        assert_eq!(grpc_timeout(b"2H"), Some(Duration::from_secs(7200)));
        for bad in [&b""[..], b"m", b"100", b"123456789S", b"-1S", b"1x"] {
            assert_eq!(grpc_timeout(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_service_is_named_by_its_host() {
        assert_eq!(service_name("users.service.consul").as_deref(), Some("users"));
        assert_eq!(service_name("Users.Service.Consul.").as_deref(), Some("Users"));
        assert_eq!(service_name("service.consul"), None);
        assert_eq!(service_name(".service.consul"), None);
        assert_eq!(service_name("users.example"), None);
    }
}
