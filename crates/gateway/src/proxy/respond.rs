//! Phase `respond`: what the client gets. An instance's answer is cleaned of what concerned its
//! connection; a fault becomes a problem (RFC 9457), or for gRPC a status.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::STRICT_TRANSPORT_SECURITY;
use http::{Method, StatusCode};
use posthouse_base::problem::{MEDIA_TYPE, Problem};

use super::body::Body;
use super::call::Call;
use super::forward::Answered;
use super::relay::Relay;
use super::request::{Length, Local, Reply, Request, closes};
use crate::cluster::Service;
use crate::config::model::{self, Respond};
use crate::fault::Fault;
use crate::guard::{Answer, Guard};
use crate::http::head::{Fields, Known};
use crate::route::{Route, rewrite};
use crate::upstream::BodyKind;
use std::sync::Arc;

/// Hands an instance's answer to the client's connection.
pub(super) fn relay(
    call: Call,
    request: &Request,
    route: Option<&Route<Arc<Service>>>,
    mut answered: Box<Answered>,
    mut body: Body,
) -> Reply {
    let upgraded = request.upgrade && answered.head.is_switched();
    let mut fields = std::mem::take(&mut answered.head.fields);
    let upgrade = fields.get(Known::Upgrade).filter(|_| upgraded).map(<[u8]>::to_vec);
    fields.strip_hop_by_hop();
    if upgraded {
        fields.set_known(Known::Connection, b"upgrade");
        fields.set_known(Known::Upgrade, upgrade.as_deref().unwrap_or(b"websocket"));
        if let Some(key) = &request.websocket_key {
            key.prove(answered.head.status, &mut fields);
        }
    }
    if let Some(route) = route {
        rewrite::edit(&route.config.response_headers, &mut fields);
    }
    if let Some(share) = &call.share {
        share.show(&mut fields);
    }
    let length = match answered.head.body {
        BodyKind::None => Length::Known(0),
        BodyKind::Length(length) => Length::Known(length),
        BodyKind::Unknown => Length::Unknown,
    };
    let cuts_streams = route.is_some_and(|route| route.config.timeout_streams);
    // A gRPC caller's deadline is its own word on its stream; any other total time is not.
    let asked = call.is_grpc && request.grpc_timeout.is_some();
    let may_cut = asked || cuts_streams || (length.is_known() && !upgraded);
    let cut_at = answered.deadline.filter(|_| may_cut);
    body.settle();
    let mut relay = Box::new(Relay::new(call, answered, fields, length, body));
    relay.cut_at = cut_at;
    if upgraded { Reply::Upgraded(relay) } else { Reply::Relay(relay) }
}

/// Notes a response that the gateway makes itself.
pub(super) fn local(call: &mut Call, local: Local) -> Local {
    call.status = Some(local.status);
    if call.method.as_ref() != Some(&Method::HEAD) {
        call.sent = local.body.len() as u64;
    }
    local
}

/// Turns a fault into a response.
pub(super) fn fault(call: &mut Call, fault: Fault, allow: Option<&[Method]>) -> Local {
    call.fault = Some(fault);
    let mut fields = date();
    call.tell_id(&mut fields);
    if let Some(share) = &call.share {
        share.show(&mut fields);
    }
    if call.is_grpc {
        call.status = Some(StatusCode::OK);
        call.grpc_status = Some(fault.grpc_status());
        fields.append_known(Known::ContentType, b"application/grpc");
        fields.append_known(Known::GrpcStatus, fault.grpc_status().to_string().as_bytes());
        fields.append_known(Known::GrpcMessage, fault.detail().as_bytes());
        return Local { status: StatusCode::OK, fields, body: Bytes::new(), closes: closes(fault) };
    }
    let status = fault.status();
    fields.append_known(Known::ContentType, MEDIA_TYPE.as_bytes());
    if let Some(allow) = allow {
        let names: Vec<&str> = allow.iter().map(Method::as_str).collect();
        fields.append(b"allow", names.join(", ").as_bytes());
    }
    let said = call.take_said();
    if let Some(answer) = said.as_ref().and_then(|said| said.answer.as_deref()) {
        return local(call, authorisers(fields, answer));
    }
    if let Some(challenge) = said.as_ref().and_then(|said| said.challenge.as_ref()) {
        fields.append_known(Known::WwwAuthenticate, challenge.as_bytes());
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        fields.append_known(Known::RetryAfter, b"1");
    }
    let title = status.canonical_reason().unwrap_or("Error");
    let mut problem = Problem::new(status.as_u16(), title).detail(fault.detail());
    problem.kind = format!("urn:posthouse:problem:{}", fault.label());
    if let Some(violation) = said.and_then(|said| said.violation) {
        problem = problem.detail(violation.message).field(violation.pointer);
    }
    local(call, Local { status, fields, body: problem.to_json().into(), closes: closes(fault) })
}

/// The words of an external authoriser, without what frames a message.
fn authorisers(mut fields: Fields, answer: &Answer) -> Local {
    fields.remove(Known::ContentType);
    for (name, value) in &answer.fields {
        let known = Known::of(name.as_str().as_bytes());
        if !known.is_hop_by_hop() && !matches!(known, Known::ContentLength | Known::Date) {
            fields.append(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    Local { status: answer.status, fields, body: answer.body.clone(), closes: false }
}

/// What the guard adds to every response: whether pages of other origins may read it, and headers for
/// browsers that the service did not send itself.
pub(super) fn dress(guard: &Guard, is_tls: bool, request: &Fields, fields: &mut Fields) {
    if let Some(cors) = &guard.cors
        && request.get(Known::Origin).is_some()
    {
        cors.mark(request, fields);
    }
    browsers(guard, is_tls, fields);
}

/// The headers for browsers that a response does not have yet.
pub(super) fn browsers(guard: &Guard, is_tls: bool, fields: &mut Fields) {
    let hsts = guard.hsts.as_ref().filter(|_| is_tls);
    let hsts = hsts.map(|value| (&STRICT_TRANSPORT_SECURITY, value));
    let others = guard.headers.iter().map(|(name, value)| (name, value));
    for (name, value) in others.chain(hsts) {
        if fields.get_named(name.as_str().as_bytes()).is_none() {
            fields.append(name.as_str().as_bytes(), value.as_bytes());
        }
    }
}

/// A redirect.
pub(super) fn redirect(route: &model::Route, status: StatusCode, location: &str) -> Local {
    let mut fields = date();
    fields.append_known(Known::Location, location.as_bytes());
    rewrite::edit(&route.response_headers, &mut fields);
    Local { status, fields, body: Bytes::new(), closes: false }
}

/// A fixed response.
pub(super) fn fixed(route: &model::Route, response: &Respond) -> Local {
    let mut fields = date();
    fields.append_known(Known::ContentType, response.content_type.as_bytes());
    rewrite::edit(&route.response_headers, &mut fields);
    let body = Bytes::copy_from_slice(response.body.as_bytes());
    Local { status: response.status, fields, body, closes: false }
}

/// The fields of a response of the gateway's own.
pub(super) fn date() -> Fields {
    let mut fields = Fields::new();
    let now = httpdate::fmt_http_date(SystemTime::now());
    fields.append_known(Known::Date, now.as_bytes());
    fields
}
