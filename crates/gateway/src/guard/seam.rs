//! What the gateway asks of others about a call, as narrow traits: it knows no tokens, keys or
//! documents. All of it is asked on the engine's threads, so nothing here may block; what takes time
//! is a future.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value};

use crate::http::head::Fields;

/// Who calls, as far as something proved it. Immutable: a cache and the calls share it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// The provider that proved it, by its name in the file.
    pub provider: Arc<str>,
    /// Who: unique within the provider.
    pub subject: Arc<str>,
    /// The consumer that it belongs to.
    pub consumer: Option<Arc<str>>,
    /// The consumer's plan.
    pub plan: Option<Arc<str>>,
    /// The credential, by a name that is no secret: limits may count by it.
    pub key: Option<Arc<str>>,
    /// What it was allowed to ask for.
    pub scopes: Vec<Box<str>>,
    /// What it is.
    pub roles: Vec<Box<str>>,
    /// Everything else that was proved.
    pub claims: Map<String, Value>,
    /// Fields that whoever proved it adds to the call, each in place of what the client sent.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// What of a call may be looked at to say who calls.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// `https` when TLS ended at the gateway, else `http`.
    pub scheme: &'static str,
    /// Its host and perhaps port, as the client sent them.
    pub authority: &'a [u8],
    /// Its path and query, as the client sent them.
    pub path_and_query: &'a [u8],
    /// Its header section, as the client sent it.
    pub fields: &'a Fields,
    /// The client: the other end of the connection, or what a trusted proxy says.
    pub client: SocketAddr,
    /// The certificate of the connection, verified.
    pub certificate: Option<&'a Arc<ClientCertificate>>,
}

/// The certificates that a client showed, verified against the listener's authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// In DER, the client's own first.
    pub chain: Vec<Box<[u8]>>,
}

/// A verdict that takes time.
pub type Later = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A verdict that takes the whole body.
pub type WithBody = Box<dyn FnOnce(&[u8]) -> Verdict + Send>;

/// Who calls.
pub enum Verdict {
    /// This one.
    Known(Arc<Identity>),
    /// Nobody: none of the credentials that are looked for was shown.
    Nobody,
    /// Somebody whose credential does not hold.
    Refused(Refusal),
    /// It takes time to know: a key must be fetched, or somebody asked.
    Later(Later),
    /// It takes the whole body to know, since the credential covers it; this is given it.
    WithBody(WithBody),
}

impl fmt::Debug for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(identity) => formatter.debug_tuple("Known").field(identity).finish(),
            Self::Nobody => formatter.write_str("Nobody"),
            Self::Refused(refusal) => formatter.debug_tuple("Refused").field(refusal).finish(),
            Self::Later(_) => formatter.write_str("Later"),
            Self::WithBody(_) => formatter.write_str("WithBody"),
        }
    }
}

/// Why a credential does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong, unknown, expired or replayed: from outside all look alike.
    Invalid,
    /// It could not be found out, and is refused until it can.
    Unavailable,
    /// An external authoriser said no, perhaps in its own words.
    Forbidden(Option<Box<Answer>>),
}

/// The words of an external authoriser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status, 400 to 599.
    pub status: StatusCode,
    /// Fields to pass on; those of the connection and the body's framing are left out.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub body: bytes::Bytes,
}

/// Says who calls.
pub trait Identifier: Send + Sync + 'static {
    /// Asks the providers, in this order: the first that finds a credential of its kind decides.
    fn identify(&self, asked: &Asked<'_>, providers: &[Arc<str>]) -> Verdict;

    /// The headers that identities may add to calls ([`Identity::fields`]): they are taken out of every
    /// call from outside. Asked when a configuration is put in force.
    fn adds(&self) -> Vec<HeaderName> {
        Vec::new()
    }

    /// The path and query that a service is sent in place of these: without the credentials that the
    /// providers look for in them. `None` when there are none.
    fn conceal(&self, path_and_query: &[u8], providers: &[Arc<str>]) -> Option<Vec<u8>> {
        let _ = (path_and_query, providers);
        None
    }

    /// A short-lived signed JWT for this audience that tells a service who calls. `None` when nothing
    /// can be signed: the call is refused then.
    fn mint(&self, identity: &Arc<Identity>, audience: &str) -> Option<Arc<[u8]>>;
}

/// Compares calls with the description of their API.
pub trait Inspector: Send + Sync + 'static {
    /// Whether the body is needed for it.
    fn wants_body(&self, api: &str, version: &str, asked: &Asked<'_>) -> bool;

    /// Compares a call, with its body if that was wanted.
    ///
    /// # Errors
    /// The first difference that was found.
    fn inspect(
        &self,
        api: &str,
        version: &str,
        asked: &Asked<'_>,
        body: Option<&[u8]>,
    ) -> Result<(), Violation>;
}

/// How a call differs from what its API says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: `/body/lines/0/sku`, `/query/limit`, `/header/x-tenant`.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

/// Knows nobody: for a gateway without identity.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIdentifier;

impl Identifier for NoIdentifier {
    fn identify(&self, _: &Asked<'_>, _: &[Arc<str>]) -> Verdict {
        Verdict::Nobody
    }

    fn mint(&self, _: &Arc<Identity>, _: &str) -> Option<Arc<[u8]>> {
        None
    }
}

/// Compares with nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoInspector;

impl Inspector for NoInspector {
    fn wants_body(&self, _: &str, _: &str, _: &Asked<'_>) -> bool {
        false
    }

    fn inspect(&self, _: &str, _: &str, _: &Asked<'_>, _: Option<&[u8]>) -> Result<(), Violation> {
        Ok(())
    }
}
