//! What a provider may look at, and what it answers. These are this crate's own words: whoever asks
//! translates from and to its own.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use posthouse_base::time::Timestamp;
use serde_json::{Map, Value};

/// The header section of a call.
pub trait Fields {
    /// Shows every field in order: its name in any case, and its value.
    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s [u8], &'s [u8]));

    /// Shows every value under `name`, which is in lower case, in order.
    fn named<'s>(&'s self, name: &str, see: &mut dyn FnMut(&'s [u8])) {
        self.visit(&mut |held, value| {
            if held.eq_ignore_ascii_case(name.as_bytes()) {
                see(value);
            }
        });
    }
}

/// Fields as a list of names and values.
impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Fields for Vec<(N, V)> {
    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s [u8], &'s [u8])) {
        for (name, value) in self {
            see(name.as_ref(), value.as_ref());
        }
    }
}

/// What of a call may be looked at to say who calls.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// Its method.
    pub method: &'a Method,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// Its host and perhaps port, as the client sent them.
    pub authority: &'a [u8],
    /// Its path and query, as the client sent them.
    pub path_and_query: &'a [u8],
    /// Its header section, as the client sent it.
    pub fields: &'a dyn Fields,
    /// The client.
    pub client: SocketAddr,
    /// The certificates of the connection in DER, verified, the client's own first; none without.
    pub chain: &'a [Box<[u8]>],
    /// The time.
    pub now: Timestamp,
}

impl<'a> Credentials<'a> {
    /// The only value under `name` (in lower case). Two of them are a mistake or an attempt to be
    /// read differently by two readers.
    pub(crate) fn single(&self, name: &str) -> Single<'a> {
        let mut found = Single::Absent;
        self.fields.named(name, &mut |value| {
            found = match found {
                Single::Absent => Single::One(value),
                Single::One(_) | Single::Several => Single::Several,
            };
        });
        found
    }
}

/// What there is under a name of which there may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Single<'a> {
    Absent,
    One(&'a [u8]),
    Several,
}

/// Who calls, as far as something proved it. Immutable: caches and calls share it.
#[derive(Default)]
pub struct Identity {
    /// The provider that proved it.
    pub provider: Arc<str>,
    /// Who: unique within the provider.
    pub subject: Arc<str>,
    /// The consumer that it belongs to.
    pub consumer: Option<Arc<str>>,
    /// The consumer's plan.
    pub plan: Option<Arc<str>>,
    /// The credential, by a name that is no secret.
    pub key: Option<Arc<str>>,
    /// What it was allowed to ask for.
    pub scopes: Vec<Box<str>>,
    /// What it is.
    pub roles: Vec<Box<str>>,
    /// Everything else that was proved.
    pub claims: Map<String, Value>,
    /// Fields that whoever proved it adds to the call, each in place of what the client sent.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Itself in the words of whoever asks.
    pub translated: Translated,
}

impl fmt::Debug for Identity {
    /// Without what was proved of a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("provider", &self.provider)
            .field("subject", &self.subject)
            .field("consumer", &self.consumer)
            .finish_non_exhaustive()
    }
}

/// Holds what an [`Identity`] is in the words of another part of the house, so that it is translated
/// once and not for each call.
#[derive(Default)]
pub struct Translated(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Translated {
    /// What was made before, or what `make` makes now. With two types only the first is kept.
    pub fn get_or<T: Send + Sync + 'static>(&self, make: impl Fn() -> T) -> Arc<T> {
        let held: &Arc<dyn Any + Send + Sync> = self.0.get_or_init(|| Arc::new(make()));
        Arc::clone(held).downcast().unwrap_or_else(|_other| Arc::new(make()))
    }
}

/// Says who calls when it is given the body.
pub type Judge = Box<dyn FnOnce(&[u8]) -> Outcome + Send>;

/// Who calls.
pub enum Outcome {
    /// This one.
    Known(Arc<Identity>),
    /// Nobody: none of the credentials that are looked for was shown.
    Nobody,
    /// Somebody whose credential does not hold.
    Refused(Refusal),
    /// It takes time to know. May be polled on any runtime, or none.
    Later(Pin<Box<dyn Future<Output = Outcome> + Send>>),
    /// It takes the whole body to know; this is given it.
    WithBody(Judge),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(identity) => f.debug_tuple("Known").field(identity).finish(),
            Self::Nobody => f.write_str("Nobody"),
            Self::Refused(refusal) => f.debug_tuple("Refused").field(refusal).finish(),
            Self::Later(_) => f.write_str("Later"),
            Self::WithBody(_) => f.write_str("WithBody"),
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
    /// Fields to pass on.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub body: bytes::Bytes,
}
