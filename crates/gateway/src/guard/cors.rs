//! What pages of other origins may do (the Fetch standard's CORS protocol). The gateway answers preflight
//! requests itself, and says of every response whether the page may read it; what a service says about it
//! is taken out, so that there is one answer.

use http::Method;

use super::settings::Cors;
use crate::http::head::Fields;
use crate::http::known::Known;

const PREFIX: &[u8] = b"access-control-";

/// The method that a preflight request asks about.
pub(crate) fn preflight(method: &Method, fields: &Fields) -> Option<Method> {
    if *method != Method::OPTIONS || fields.get(Known::Origin).is_none() {
        return None;
    }
    let asked = fields.get_named(b"access-control-request-method")?;
    Method::from_bytes(asked).ok()
}

impl Cors {
    /// The origin of a request as it is told back, if it is allowed.
    fn allowed<'f>(&self, fields: &'f Fields) -> Option<&'f [u8]> {
        let mut origins = fields.all(Known::Origin);
        let origin = origins.next().filter(|_| origins.next().is_none())?;
        let Some(allowed) = &self.origins else { return Some(b"*") };
        let is_allowed = allowed.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(origin));
        is_allowed.then_some(origin)
    }

    /// The answer's fields to a preflight request. What is not allowed is not named, which is how a
    /// browser is told no.
    pub(crate) fn answer(&self, method: &Method, request: &Fields, response: &mut Fields) {
        self.vary(response);
        response.append(b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers");
        let is_allowed = self.methods.is_empty() || self.methods.contains(method);
        let Some(origin) = self.allowed(request).filter(|_| is_allowed) else { return };
        response.append(b"access-control-allow-origin", origin);
        let methods = if self.methods.is_empty() { method.as_str() } else { &self.methods_text };
        response.append(b"access-control-allow-methods", methods.as_bytes());
        if let Some(headers) = &self.headers {
            response.append(b"access-control-allow-headers", headers.as_bytes());
        }
        if self.credentials {
            response.append(b"access-control-allow-credentials", b"true");
        }
        response.append(b"access-control-max-age", self.max_age.as_bytes());
    }

    /// Says of a response whether the page may read it.
    pub(crate) fn mark(&self, request: &Fields, response: &mut Fields) {
        response.remove_where(|known, name| {
            known == Known::Other
                && name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
        });
        self.vary(response);
        let Some(origin) = self.allowed(request) else { return };
        response.append(b"access-control-allow-origin", origin);
        if self.credentials {
            response.append(b"access-control-allow-credentials", b"true");
        }
        if let Some(expose) = &self.expose {
            response.append(b"access-control-expose-headers", expose.as_bytes());
        }
    }

    /// An answer that depends on the origin is another for another.
    fn vary(&self, response: &mut Fields) {
        if self.origins.is_some() {
            response.append_known(Known::Vary, b"Origin");
        }
    }
}
