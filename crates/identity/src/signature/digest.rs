//! Content-Digest (RFC 9530): what a request says of its body, and whether it is so.

use sfv::{ListEntry, Parser};

use crate::credential::Credentials;

/// What the body must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected(Vec<(Function, Vec<u8>)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Sha256,
    Sha512,
}

/// Which digests of the field are covered by a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Covered {
    /// The whole field is.
    pub(super) whole: bool,
    /// These members are.
    pub(super) members: Vec<String>,
}

impl Covered {
    /// Whether any is.
    pub(crate) fn any(&self) -> bool {
        self.whole || !self.members.is_empty()
    }
}

impl Expected {
    /// Those of `request` that are covered and that are understood: SHA-256 and SHA-512, the
    /// functions that RFC 9530 calls active. `None` when there is none, or the field cannot be read.
    pub(crate) fn of(request: &Credentials<'_>, covered: &Covered) -> Option<Self> {
        let mut lines = Vec::new();
        request.fields.named("content-digest", &mut |line| lines.push(line));
        let joined = lines.join(&b","[..]);
        let all: sfv::Dictionary = Parser::new(&joined).parse().ok()?;
        let mut expected = Vec::new();
        for (name, value) in &all {
            let name = name.as_str();
            if !(covered.whole || covered.members.iter().any(|member| member == name)) {
                continue;
            }
            let function = match name {
                "sha-256" => Function::Sha256,
                "sha-512" => Function::Sha512,
                _ => continue,
            };
            let ListEntry::Item(item) = value else { return None };
            expected.push((function, item.bare_item.as_byte_sequence()?.to_vec()));
        }
        (!expected.is_empty()).then_some(Self(expected))
    }

    /// Whether `body` is what all of them say.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        self.0.iter().all(|(function, digest)| {
            let algorithm = match function {
                Function::Sha256 => &ring::digest::SHA256,
                Function::Sha512 => &ring::digest::SHA512,
            };
            ring::digest::digest(algorithm, body).as_ref() == digest.as_slice()
        })
    }
}
