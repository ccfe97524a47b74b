//! What a service is told of the caller. The same headers from outside are taken out of every call, before
//! anything looks at it, on every route: whoever trusts them must be able to.

use http::HeaderName;

use super::seam::Identity;
use super::settings::{Forward, Guard, Told};
use crate::http::head::Fields;
use crate::http::known::Known;

/// The headers that tell a service who calls, over all guards of a configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Telling {
    /// In lower case, with hyphens; sorted, each once.
    names: Vec<Box<[u8]>>,
    /// Their lengths, one bit each: most fields are of none of them.
    lengths: u64,
}

impl Telling {
    /// The headers that these guards forward, and those that whoever proves identities adds. One that means something of its own
    /// (`Authorization`) stays, since credentials come in it.
    pub(crate) fn new<'g>(
        guards: impl Iterator<Item = &'g Guard>,
        added: &'g [HeaderName],
    ) -> Self {
        let mut names: Vec<Box<[u8]>> = guards
            .flat_map(|guard| guard.forward.names())
            .chain(added)
            .filter(|name| Known::of(name.as_str().as_bytes()) == Known::Other)
            .map(|name| name.as_str().bytes().map(plain).collect())
            .collect();
        names.sort_unstable();
        names.dedup();
        let lengths = names.iter().fold(0, |bits, name| bits | length_bit(name.len()));
        Self { names, lengths }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Takes the headers out, whatever their case, and also where an underscore or a dot stands for a
    /// hyphen: many servers take `X_User` for `X-User`.
    pub(crate) fn strip(&self, fields: &mut Fields) {
        fields.remove_where(|known, name| {
            known == Known::Other
                && self.lengths & length_bit(name.len()) != 0
                && self.names.iter().any(|told| is_same(told, name))
        });
    }
}

const fn length_bit(length: usize) -> u64 {
    1 << (length % 64)
}

/// A byte of a name as the most generous of servers compares it.
const fn plain(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        byte => byte.to_ascii_lowercase(),
    }
}

fn is_same(told: &[u8], name: &[u8]) -> bool {
    told.len() == name.len() && told.iter().zip(name).all(|(told, byte)| *told == plain(*byte))
}

/// Tells a service who calls.
pub(crate) fn tell(
    forward: &Forward,
    identity: Option<&Identity>,
    token: Option<&[u8]>,
    fields: &mut Fields,
) {
    for name in &forward.remove {
        fields.remove_named(name.as_str().as_bytes());
    }
    for name in forward.names() {
        // What is not told now must not be told by anybody else.
        fields.remove_named(name.as_str().as_bytes());
    }
    let Some(identity) = identity else { return };
    for (name, told) in &forward.headers {
        append(name, told, identity, fields);
    }
    if let (Some((name, _)), Some(token)) = (&forward.jwt, token) {
        fields.append(name.as_str().as_bytes(), token);
    }
    for (name, value) in &identity.fields {
        fields.set(name.as_str().as_bytes(), value.as_bytes());
    }
}

fn append(name: &HeaderName, told: &Told, identity: &Identity, fields: &mut Fields) {
    let name = name.as_str().as_bytes();
    let list = |list: &[Box<str>]| (!list.is_empty()).then(|| list.join(" "));
    let made = match told {
        Told::Subject => return fields.append(name, identity.subject.as_bytes()),
        Told::Provider => return fields.append(name, identity.provider.as_bytes()),
        Told::Consumer => identity.consumer.as_deref().map(str::to_owned),
        Told::Plan => identity.plan.as_deref().map(str::to_owned),
        Told::Scopes => list(&identity.scopes),
        Told::Roles => list(&identity.roles),
        Told::Claim(claim) => identity.claims.get(&**claim).and_then(claim_text),
    };
    if let Some(value) = made {
        fields.append(name, value.as_bytes());
    }
}

/// A claim as the value of a header: a scalar, or scalars separated by spaces.
fn claim_text(claim: &serde_json::Value) -> Option<String> {
    use serde_json::Value as Json;
    Some(match claim {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        Json::Bool(value) => value.to_string(),
        Json::Array(values) => {
            let texts: Vec<String> = values.iter().filter_map(claim_text).collect();
            texts.join(" ")
        }
        Json::Null | Json::Object(_) => return None,
    })
}
