//! Who may ask what: the token tells who it is, its role what they may, and the API's own description
//! which role a question asks for. What is not described asks for the highest. What changes something
//! is entered in the audit log, whoever does it, and so is what they try and may not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State as Shared};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use posthouse_base::problem::Problem;

use super::{Refusal, State};
use crate::audit::Entry;
use crate::config::admin::{AdminKey, Role};

/// Who asks where no tokens are asked for: somebody on this machine.
const LOCAL: &str = "loopback";

/// The page of metrics, which the API's description does not describe: it is not JSON.
const METRICS: &str = "/metrics";

/// The audit log, which nobody wants to read of being read.
const AUDIT: &str = "/api/v1/audit";

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) name: Arc<str>,
    pub(super) role: Role,
    /// Their address, without the port.
    pub(super) from: Option<IpAddr>,
}

/// What an answer says for the audit log: what has changed, in a line without secrets.
#[derive(Clone, Debug)]
pub(super) struct Outcome(pub(super) String);

/// Lets through who may ask, and enters what they change.
pub(super) async fn guard(
    Shared(state): Shared<State>,
    mut request: Request,
    next: Next,
) -> Response {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let from = from.map(|ConnectInfo(address)| address.ip());
    let caller = match who(&state.control.admin_keys(), request.headers(), from) {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let path = request.extensions().get::<MatchedPath>();
    let wanted = path.and_then(|path| match path.as_str() {
        METRICS => Some(Role::Viewer),
        path => state.description.role(request.method(), path),
    });
    // What is nowhere is answered as that, to everybody.
    let Some(wanted) = wanted else { return next.run(request).await };
    let path = request.uri().path();
    let entry = is_entered(request.method(), path, wanted).then(|| Entry {
        who: caller.name.to_string(),
        role: Some(caller.role.name().into()),
        from: caller.from.map(|address| address.to_string()),
        action: format!("{} {path}", request.method()),
        status: None,
        outcome: None,
    });
    let response = if caller.role < wanted {
        Refusal(too_little(&caller, wanted)).into_response()
    } else {
        request.extensions_mut().insert(caller);
        next.run(request).await
    };
    if let Some(entry) = entry {
        let outcome = response.extensions().get::<Outcome>().map(|Outcome(said)| said.clone());
        state
            .audit
            .record(Entry { status: Some(response.status().as_u16()), outcome, ..entry })
            .await;
    }
    response
}

/// Whether it is to be found in the audit log: what changes something, and what takes everything away.
fn is_entered(method: &Method, path: &str, wanted: Role) -> bool {
    let changes = method != Method::GET && method != Method::HEAD;
    let takes_all = wanted == Role::Admin && path != AUDIT;
    wanted > Role::Viewer && (changes || takes_all)
}

/// Who it is, or what they are told instead.
#[expect(clippy::result_large_err, reason = "it is handed on at once")]
fn who(keys: &[AdminKey], headers: &HeaderMap, from: Option<IpAddr>) -> Result<Caller, Response> {
    if keys.is_empty() {
        return match names_this_machine(headers) {
            true => Ok(Caller { name: LOCAL.into(), role: Role::Admin, from }),
            false => Err(Refusal(foreign_name()).into_response()),
        };
    }
    let given = headers.get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok()).and_then(bearer).unwrap_or_default();
    // All of them are looked at, so that the time does not tell which came near.
    let fitting = keys.iter().filter(|key| key.token.is(given));
    if let Some(key) = fitting.max_by_key(|key| key.role) {
        return Ok(Caller { name: Arc::clone(&key.name), role: key.role, from });
    }
    let problem = Problem::new(401, "Unauthorized")
        .detail("bring an admin token as `Authorization: Bearer TOKEN`")
        .field("Authorization");
    let mut response = Refusal(problem).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Err(response)
}

fn too_little(caller: &Caller, wanted: Role) -> Problem {
    let Caller { name, role, .. } = caller;
    let (role, wanted) = (role.name(), wanted.name());
    Problem::new(403, "Forbidden")
        .detail(format!("this takes the role `{wanted}`, and the token `{name}` has `{role}`"))
        .field("Authorization")
}

/// Without a token only this machine can connect; but a web page in one of its browsers can have a
/// name of its own resolve to loopback, and ask in that name (DNS rebinding). So the name asked for
/// must be an address or `localhost`.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn foreign_name() -> Problem {
    Problem::new(403, "Forbidden")
        .detail("without an admin token, ask for an IP address or `localhost`")
        .field("Host")
}

/// The token of `Bearer TOKEN` (RFC 6750 §2.1; the scheme's case does not matter, RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Token;

    fn key(name: &str, role: Role) -> AdminKey {
        AdminKey { name: name.into(), role, token: Token::new(name) }
    }

    #[test]
    fn a_token_tells_who_and_the_highest_role_counts() {
        let keys = [key("ann", Role::Viewer), key("ann", Role::Operator), key("bob", Role::Admin)];
        let asked = |line: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(line).expect("a value"));
            who(&keys, &headers, None).ok().map(|caller| (caller.name.to_string(), caller.role))
        };
        assert_eq!(asked("Bearer ann"), Some(("ann".into(), Role::Operator)));
        assert_eq!(asked("bearer bob"), Some(("bob".into(), Role::Admin)));
        for line in ["Bearer carl", "Bearer ", "Basic bob", "bob"] {
            assert_eq!(asked(line), None, "{line}");
        }
    }

    #[test]
    fn looking_is_not_entered_unless_it_takes_everything() {
        let entered = |method, role| is_entered(&method, "/api/v1/x", role);
        assert!(!entered(Method::GET, Role::Viewer) && !entered(Method::POST, Role::Viewer));
        assert!(entered(Method::POST, Role::Operator) && entered(Method::GET, Role::Admin));
        assert!(!entered(Method::GET, Role::Operator));
        assert!(!is_entered(&Method::GET, AUDIT, Role::Admin));
    }
}
